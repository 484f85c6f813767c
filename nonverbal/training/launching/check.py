"""Whether the processes of a launch can do a run together: they meet, compare what they see, and measure.

They talk through the key-value store at MASTER_ADDR and MASTER_PORT alone until it is clear that NCCL or gloo can be
started, so that a process that is missing or stuck is named by those that wait for it, and nobody waits for ever.
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
"""Seconds that the clocks of two nodes may differ."""

GRACE = 5.0
"""Seconds in which an answer must come that needs no work any more."""

HEAD_START = 3.0
"""Seconds in which process 0 ends the launch, and the other messages with it, where it misses a process too."""

WORDING = Wording("--processes", "--timeout", "run the check again when that is mended", "start fewer processes")


@dataclass(frozen=True)
class CheckConfig:
    """What a launch is checked for. Without `--out` and `--data`: nodes, devices, network and clocks."""

    processes: int | None = None
    """Processes, one on each GPU. Without another launcher, the command starts them on this machine; under one
    (torchrun, srun) the check fails on any other number."""
    out: Path | None = None
    """The run folder, which must be the same for all processes. The check leaves nothing in it."""
    data: list[Path] = field(default_factory=list)
    """Folders of shards, which must hold the same for all processes."""
    staging: Path | None = None
    """Folder on each node's own disk that the shards will be copied to: is there room?"""
    json: Path | None = None
    """Where to write all that was found, as JSON. Its folder must exist for every process; process 0 writes."""
    timeout: float = 60.0
    """Seconds to wait for a process that does not answer, in each stage of the check. The first stage begins when
    process 0 has started: allow for the others to start later."""

    def __post_init__(self) -> None:
        """Refuse what cannot be checked."""
        if self.processes is not None and self.processes < 1:
            raise UserError(f"--processes must be at least 1, but is {self.processes}")
        if self.timeout <= 0:
            raise UserError(f"--timeout must be above 0 seconds, but is {self.timeout:g}")
        if self.json is not None and not self.json.parent.is_dir():
            raise UserError(f"--json: there is no folder {self.json.parent}; make it first")


@dataclass
class Findings:
    """What a check has found; the same in every process that came to its end."""

    facts: list[Facts]
    measured: list[dict[str, Any]]
    """By process: ``clock_offset`` and ``clock_error`` in seconds, ``network``; empty where nothing was measured."""
    all_reduce: list[dict[str, Any]]
    """By size, as ``launch_measures.summary`` returns it."""
    folder: dict[str, Any] | None
    """What there is to say of ``--out``: ``free`` bytes, and whether ``flock`` works."""
    problems: list[str]
    """What a run would fail on."""
    warnings: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, for ``--json``."""
        return {"ok": not self.problems, **asdict(self)}


class Meeting:
    """What the processes of a launch tell each other through a store, stage by stage.

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
                f"WORLD_SIZE is {self.world}, but MASTER_ADDR is {host!r} and MASTER_PORT {port!r}: a launcher sets "
                "them to the node of process 0 and to a free port there"
            )
        self.place = f"{host}:{port}"
        # torchrun holds the store itself. With multi_tenant, the process group later finds this one at its place.
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
        """Say in one line that the store cannot be reached.

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
                f"({said(error)}): process 0 has ended or never started, or MASTER_ADDR and "
                "MASTER_PORT name a place that this node's network does not lead to"
            ) from error

    def exchange(self, stage: str, content: Any, least: float = 0.0, most: float = math.inf) -> list[Any]:
        """Tell the others ``content``, and return what each process has told, by rank, when all have.

        Args:
            stage: one of ``STAGES``.
            content: what JSON can hold.
            least: seconds that the others have, also where ``self.seconds`` is less.
            most: seconds that they have, also where ``self.seconds`` is more.

        Raises:
            UserError: some have not by then; names them.
        """
        keys = [f"{stage}/{rank}" for rank in range(self.world)]
        seconds = min(max(self.seconds, least), most)
        # Process 0 is the first to say that somebody is missing.
        deadline = time.monotonic() + seconds + (0 if self.rank == 0 else HEAD_START)
        with self.in_reach():
            self.store.set(keys[self.rank], json.dumps(content))
            while not self.store.check(keys):
                if time.monotonic() > deadline:
                    raise UserError(self._missing(stage, keys, seconds))
                time.sleep(0.05)
            return [json.loads(self.store.get(key)) for key in keys]

    def end(self) -> None:
        """Return when all others are here, or are gone: launchers kill the rest when the first process fails.

        Process 0 comes here when it has shown what was found, and holds the store until the others have read that.
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
        told = [f"{ranks([rank])} on {self._host(rank)}" for rank in silent]
        heard = sorted({self._host(rank) for rank in range(self.world) if rank not in silent})
        return (
            f"no answer within {seconds:.3g} s from {', '.join(told)} ({STAGES[stage]}; the others are on "
            f"{', '.join(heard)}): look at their own messages, and at their nodes"
        )

    def _host(self, rank: int) -> str:
        return self.store.get(f"host/{rank}").decode() if self.store.check([f"host/{rank}"]) else "a node not known yet"


STAGES = {
    "facts": "looking at its node and the shards",
    "written": "writing to --out",
    "seen": "looking into --out",
    "measured": "adding up numbers together",
    "shown": "reading what was found",
    "end": "reading what was found",
}
"""What a process does in a stage before it answers."""


def check(settings: CheckConfig, meeting: Meeting) -> Findings:
    """Compare and measure. Every process of the launch must call this; each gets the same findings.

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
        # A process that has failed early waits for what the others will say.
        rest = settings.timeout - (time.monotonic() - started)
        measured = meeting.exchange("measured", own, most=max(rest, 0.0) + GRACE)
        problems += [
            f"{one.name}: the processes cannot work together: {result['error']}"
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
    """Start the process group and measure, or return why that failed. Never takes longer than ``seconds``.

    A process that waits in NCCL cannot be interrupted: it waits in a thread, which ends with the process.
    """
    outcome: dict[str, Any] = {}
    network = note_network()

    def work() -> None:
        try:
            # Longer than anybody waits: NCCL's watchdog would end this process before it has said what is wrong.
            processes = Processes(None, 2 * seconds / 60, Path(tempfile.gettempdir()), WORDING)
            outcome.update(measure(processes, network))
            processes.leave()
        except Exception as error:
            outcome["error"] = " ".join(str(error).split())[:1000]

    try:
        if _ends(work, seconds):
            return outcome
        return {"error": f"an all-reduce or a message took longer than {seconds:g} s"}
    finally:
        # Not in the thread, which may be stuck.
        if network is not None:
            shutil.rmtree(network.parent, ignore_errors=True)


def _ends(work: Callable[[], None], seconds: float) -> bool:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def wrong_sum(row: dict[str, Any]) -> str:
    """Say that an all-reduce gave a wrong sum."""
    return (
        f"the sum of {row['bytes']} bytes over all processes is wrong on {ranks(row['wrong_on'])}: a GPU, a cable or "
        "NCCL is at fault; run again with fewer nodes to find which, and with NCCL_P2P_DISABLE=1"
    )


def skews(facts: list[Facts], measured: list[dict[str, Any]]) -> list[str]:
    """Warn of nodes whose clocks differ from the first's by more than ``SKEW``, beyond what the measure may be off."""
    by_host = {
        one.host: result["clock_offset"]
        for one, result in zip(facts, measured, strict=False)
        if abs(result["clock_offset"]) - result["clock_error"] > SKEW
    }
    return [
        f"the clock of {host} is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} that of {facts[0].host}: "
        "times of files and logs will not agree; synchronise both (chrony, ntpd)"
        for host, offset in by_host.items()
    ]
