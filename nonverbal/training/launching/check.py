"""Checks that the processes of a launch can train together: they connect, compare facts, and measure.

Until it is clear that NCCL or gloo can be started, they communicate only through the key-value store at MASTER_ADDR and
MASTER_PORT. Thus the others can name a process that is missing or hangs, and no process waits for ever.
"""

import contextlib
import json
import math
import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as distributed

from nonverbal.errors import UserError
from nonverbal.training.launching.facts import Facts, cautions, gather, launch_problems, other_problems, ranks
from nonverbal.training.launching.measures import measure, note_network, summary
from nonverbal.training.launching.shared_folder import look_together
from nonverbal.training.processes import Processes, Wording
from nonverbal.training.rendezvous import check_answer, in_use, is_in_use, said

SKEW = 1.0
"""Allowed difference between the clocks of two nodes, in seconds."""

GRACE = 5.0
"""Seconds within which a process must answer if it has nothing left to do."""

HEAD_START = 3.0
"""Seconds that the others wait longer than process 0, which ends the launch, so that only one message is printed."""

WORDING = Wording("--processes", "--timeout", "run the check again after the remedy", "start fewer processes")


@dataclass(frozen=True)
class CheckConfig:
    """Settings of the check. Without `--out` and `--data`, it covers nodes, devices, network and clocks."""

    processes: int | None = None
    """Number of processes, one on each GPU. Without another launcher, the command starts them on this machine; under
    one (torchrun, srun), the check fails for any other number."""
    out: Path | None = None
    """The run folder, which must be the same for all processes. The check leaves nothing in it."""
    data: list[Path] = field(default_factory=list)
    """Folders of shards, which must have the same content for all processes."""
    staging: Path | None = None
    """Folder on each node's own disk to which the shards will be copied; the check compares its free space."""
    json: Path | None = None
    """JSON file for the findings, which process 0 writes. Its folder must exist for every process."""
    timeout: float = 60.0
    """Seconds to wait in each stage of the check for a process that does not answer. The first stage begins when
    process 0 has started, so allow for others that start later."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.processes is not None and self.processes < 1:
            raise UserError(f"--processes must be at least 1, but is {self.processes}")
        if self.timeout <= 0:
            raise UserError(f"--timeout must be above 0 seconds, but is {self.timeout:g}")
        if self.json is not None and not self.json.parent.is_dir():
            raise UserError(f"--json: the folder {self.json.parent} does not exist; create it first")


@dataclass
class Findings:
    """The findings of a check, the same in every process that completes it."""

    facts: list[Facts]
    measured: list[dict[str, Any]]
    """By process: ``clock_offset`` and ``clock_error`` in seconds, ``network``; empty if nothing was measured."""
    all_reduce: list[dict[str, Any]]
    """By size, as ``measures.summary`` returns it."""
    folder: dict[str, Any] | None
    """Facts about ``--out``: ``free`` bytes, and whether ``flock`` works."""
    problems: list[str]
    """Problems with which a run would fail."""
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return all findings, for ``--json``."""
        return {"ok": not self.problems, **asdict(self)}


class Meeting:
    """Exchanges messages between the processes of a launch through a key-value store, stage by stage.

    Raises:
        UserError: process 0, which holds the store, does not answer.
    """

    def __init__(self, seconds: float) -> None:
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.seconds = seconds
        self.place = ""
        self.store: Any
        if self.world == 1:
            self.store = distributed.HashStore()  # type: ignore[attr-defined]
            return
        host, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
        if not host or not port.isdecimal():
            raise UserError(
                f"WORLD_SIZE is {self.world}, but MASTER_ADDR is {host!r} and MASTER_PORT {port!r}: a launcher must "
                "set them to the node of process 0 and a free port there"
            )
        self.place = f"{host}:{port}"
        # torchrun holds the store itself. With multi_tenant, the process group later uses this same store.
        serves = self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        with self.in_reach():
            check_answer(seconds)
            server = distributed.TCPStore(  # type: ignore[attr-defined]
                host,
                int(port),
                is_master=serves,
                timeout=timedelta(seconds=seconds),
                wait_for_workers=False,
                multi_tenant=True,
            )
            prefix = f"launch-check-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
            self.store = distributed.PrefixStore(prefix, server)  # type: ignore[attr-defined]
            self.store.set(f"host/{self.rank}", platform.node())

    @contextlib.contextmanager
    def in_reach(self) -> Iterator[None]:
        """Turn errors of the store into one line.

        Raises:
            UserError: the store cannot be reached.
        """
        try:
            yield
        except distributed.DistError as error:
            if is_in_use(error):
                raise UserError(in_use(*self.place.rsplit(":", 1))) from error
            raise UserError(
                f"process {self.rank} on {platform.node()} cannot reach process 0 at {self.place} "
                f"({said(error)}): process 0 has ended or never started, or this node's "
                "network does not reach MASTER_ADDR and MASTER_PORT"
            ) from error

    def exchange(self, stage: str, content: Any, least: float = 0.0, most: float = math.inf) -> list[Any]:
        """Send ``content`` to the others, wait for theirs, and return the content of each process by rank.

        Args:
            stage: one of ``STAGES``.
            content: a value that JSON can represent.
            least: seconds to wait if ``self.seconds`` is less.
            most: seconds to wait if ``self.seconds`` is more.

        Raises:
            UserError: some processes have not sent theirs in time; names them.
        """
        keys = [f"{stage}/{rank}" for rank in range(self.world)]
        seconds = min(max(self.seconds, least), most)
        # Process 0 is the first to report that a process is missing.
        deadline = time.monotonic() + seconds + (0 if self.rank == 0 else HEAD_START)
        with self.in_reach():
            self.store.set(keys[self.rank], json.dumps(content))
            while not self.store.check(keys):
                if time.monotonic() > deadline:
                    raise UserError(self._missing(stage, keys, seconds))
                time.sleep(0.05)
            return [json.loads(self.store.get(key)) for key in keys]

    def end(self) -> None:
        """Wait until all processes have called this or have ended, because launchers kill all when the first one fails.

        Process 0 calls this after it has printed the findings, and holds the store until the others have read them.
        """
        with contextlib.suppress(UserError):
            self.exchange("shown", None, most=GRACE)
            if self.rank == 0:
                self.exchange("end", None, most=GRACE)
            else:
                with self.in_reach():
                    self.store.set(f"end/{self.rank}", "null")

    def _missing(self, stage: str, keys: list[str], seconds: float) -> str:
        silent = [rank for rank, key in enumerate(keys) if not self.store.check([key])]
        names = [f"{ranks([rank])} on {self._host(rank)}" for rank in silent]
        heard = sorted({self._host(rank) for rank in range(self.world) if rank not in silent})
        return (
            f"no answer within {seconds:.3g} s from {', '.join(names)} ({STAGES[stage]}; the others are on "
            f"{', '.join(heard)}): check their own messages and their nodes"
        )

    def _host(self, rank: int) -> str:
        return self.store.get(f"host/{rank}").decode() if self.store.check([f"host/{rank}"]) else "an unknown node"


STAGES = {
    "facts": "examining its node and the shards",
    "written": "writing to --out",
    "seen": "reading --out",
    "measured": "summing numbers together",
    "shown": "reading the findings",
    "end": "reading the findings",
}
"""What a process does in each stage before it answers."""


def check(settings: CheckConfig, meeting: Meeting) -> Findings:
    """Compare and measure. Every process of the launch must call this, and each gets the same findings.

    Raises:
        UserError: a process does not answer; names it.
    """
    mine = gather(meeting.rank, meeting.world, settings.processes, settings.data, settings.staging)
    facts = [Facts(**one) for one in meeting.exchange("facts", asdict(mine))]
    fatal = launch_problems(facts)
    problems, warnings = fatal + other_problems(facts), cautions(facts)
    folder = None
    if settings.out is not None:
        folder, wrong, doubtful = look_together(settings.out, meeting, facts)
        problems, warnings = problems + wrong, warnings + doubtful
    measured: list[dict[str, Any]] = []
    if not fatal and meeting.world > 1:
        started = time.monotonic()
        own = measured_within(settings.timeout)
        # A process that has failed early waits for the results of the others.
        rest = settings.timeout - (time.monotonic() - started)
        measured = meeting.exchange("measured", own, most=max(rest, 0.0) + GRACE)
        problems += [
            f"{one.name}: the processes cannot communicate: {result['error']}"
            for one, result in zip(facts, measured, strict=True)
            if "error" in result
        ]
    if any("error" in result for result in measured):
        measured = []
    rows = summary(measured) if measured else []
    problems += [wrong_sum(row) for row in rows if row["wrong_on"]]
    warnings += skews(facts, measured)
    return Findings(facts, measured, rows, folder, problems, warnings)


def measured_within(seconds: float) -> dict[str, Any]:
    """Start the process group and measure, or return the error. This never takes longer than ``seconds``.

    A call of NCCL cannot be interrupted. Therefore it runs in a thread, which ends with the process.
    """
    outcome: dict[str, Any] = {}
    network = note_network()

    def work() -> None:
        try:
            # With a shorter timeout, NCCL's watchdog would end this process before it could report the problem.
            processes = Processes(None, 2 * seconds / 60, Path(tempfile.gettempdir()), WORDING)
            outcome.update(measure(processes, network))
            processes.leave()
        # Any error is a finding, which all processes report.
        except Exception as error:
            outcome["error"] = " ".join(str(error).split())[:1000]

    try:
        if _ends(work, seconds):
            return outcome
        return {"error": f"an all-reduce or a message took longer than {seconds:g} s"}
    finally:
        # The thread may hang, so it cannot do this.
        if network is not None:
            shutil.rmtree(network.parent, ignore_errors=True)


def _ends(work: Callable[[], None], seconds: float) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def wrong_sum(row: dict[str, Any]) -> str:
    """Return the message that an all-reduce gave a wrong sum."""
    return (
        f"the sum of {row['bytes']} bytes over all processes is wrong on {ranks(row['wrong_on'])}: a GPU, a cable or "
        "NCCL is faulty; to find out which, run again with fewer nodes, and with NCCL_P2P_DISABLE=1"
    )


def skews(facts: list[Facts], measured: list[dict[str, Any]]) -> list[str]:
    """Return warnings about clocks that differ from the first by more than ``SKEW`` plus the measurement error."""
    by_host = {
        one.host: result["clock_offset"]
        for one, result in zip(facts, measured, strict=False)
        if abs(result["clock_offset"]) - result["clock_error"] > SKEW
    }
    return [
        f"the clock of {host} is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} that of {facts[0].host}: "
        "times of files and logs will differ; synchronise both (chrony, ntpd)"
        for host, offset in by_host.items()
    ]
