"""Checks that process 0 answers at MASTER_ADDR and MASTER_PORT, where the processes of a run find each other."""

import os
import threading
from datetime import timedelta

import torch.distributed as distributed

from nonverbal.errors import UserError
from nonverbal.text import one_line

IN_USE = ("EADDRINUSE", "address already in use")
"""Parts of torch's messages if another program uses the port on which process 0 is to listen."""

GRACE = 10.0
"""Seconds that torch may need beyond its timeout, on a busy machine, to report that nothing listens."""

UNREACHABLE = "while trying to connect"
"""Part of torch's message if nothing listens."""


def check_answer(seconds: float) -> None:
    """Return when process 0's store has answered; at once in process 0 itself, or if its address is not set.

    The process group is started only after this, because torch waits without a timeout for the answer of whatever has
    accepted its connection. Process 0 notices by itself if it cannot listen.

    Args:
        seconds: how long to wait.

    Raises:
        UserError: something listens, but does not answer as process 0 would.
        torch.distributed.DistError: nothing listens.
    """
    host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if os.environ.get("RANK", "0") == "0" or not host or not port.isdecimal():
        return
    failed: list[distributed.DistError] = []

    def ask() -> None:
        try:
            distributed.TCPStore(  # type: ignore[attr-defined]
                host, int(port), is_master=False, timeout=timedelta(seconds=seconds), wait_for_workers=False
            )
        except distributed.DistError as error:
            failed.append(error)

    # This runs in a thread, which ends with the process if it waits for ever.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds + GRACE)
    if failed and UNREACHABLE in str(failed[0]):
        raise failed[0]
    if failed or thread.is_alive():
        told = said(failed[0]) if failed else f"no answer for {seconds:g} s"
        raise UserError(
            f"what listens at port {port} of {host} does not answer as process 0 of this run would ({told}): it is "
            f"another program, or process 0 hangs; {_remedy(port)}"
        )


def is_in_use(error: Exception) -> bool:
    """Whether an error says that process 0 could not listen, because its port is in use."""
    return any(sign in str(error) for sign in IN_USE)


def in_use(host: str, port: str) -> str:
    """Return the message that another program uses the port on which process 0 is to listen."""
    return (
        f"port {port} of {host} is in use by another program, such as an earlier run that has not ended: "
        f"{_remedy(port)}"
    )


def _remedy(port: str) -> str:
    return (
        f"end it (ss -ltnp 'sport = :{port}' names it), or give the launcher a free port (MASTER_PORT, or torchrun "
        "--master_port)"
    )


def said(error: Exception) -> str:
    """Return torch's message about an error in one line, without the place in torch's code."""
    return one_line(" ".join(str(error).partition("\nException raised from")[0].split()))[:500]
