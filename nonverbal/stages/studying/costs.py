"""Expected costs of steps: for pretraining from ``nonverbal plan``, otherwise from rates of similar steps."""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.files import read_json
from nonverbal.records import read_record
from nonverbal.stages.studying.contents import file_sha256, likeness, size_of
from nonverbal.stages.studying.planning import PREPARE, Plan, Planned
from nonverbal.system import processor_name
from nonverbal.text import some_of
from nonverbal.training.hardware import gpus

PRETRAIN = "pretrain"
"""The command whose cost depends on its steps, not on the size of its data."""


@dataclass(frozen=True)
class Rate:
    """The cost of one step that was run."""

    run: str
    like: str
    """SHA-256 of the command, its recipe and its settings, without its inputs."""
    models: str
    """Where its models are read from."""
    work: float
    """What the cost is proportional to: seconds of audio times models; for prepare, bytes; for others, 1."""
    seconds: float
    bytes: int
    machine: str


@dataclass(frozen=True)
class Cost:
    """The expected cost of a step, or why it is unknown."""

    seconds: float | None = None
    bytes: float | None = None
    by: str = ""
    """What the estimate is based on, or why the cost is unknown."""


class Costs:
    """Rates of steps that were run, and plans of pretraining runs."""

    def __init__(self, rates: Path, plans: Path) -> None:
        """Read the rates.

        Args:
            rates: JSON Lines; may be missing. Damaged lines are skipped with a warning.
            plans: folder for the results of ``nonverbal plan``.
        """
        self.file, self.plans, self.machine = rates, plans, machine()
        self.rates = _read(rates) if rates.exists() else []
        self.unplanned: dict[Path, str] = {}
        """How ``nonverbal plan`` failed during this run of the study, by the file that it should have written."""

    def of(self, plan: Plan, step: Planned, key: str | None) -> Cost:
        """Return the expected cost of a step on this machine."""
        if step.template.run == PRETRAIN and key is not None and (planned := self._planned(step, key)):
            return planned
        like, models, work = likeness(plan, step), _models(plan, step), work_of(plan, step)
        if work is None:
            return Cost(by="unknown until its shards exist")
        same = [rate for rate in self.rates if rate.like == like and rate.machine == self.machine]
        own = [rate for rate in same if rate.models == models]
        by = "as before" if own else "as other models before"
        unplanned = "" if key is None else self.unplanned.get(self.plan_file(step, key), "")
        return _cost(own or same, work, by) if same else Cost(by=unplanned)

    def plan_file(self, step: Planned, key: str) -> Path:
        """Return the file for the results of ``nonverbal plan``."""
        return self.plans / f"{step.name}-{key[:8]}.json"

    def keep(self, plan: Plan, step: Planned, seconds: float, size: int) -> None:
        """Add the cost of a step that was run."""
        work = work_of(plan, step)
        if work is None:
            return
        rate = Rate(step.template.run, likeness(plan, step), _models(plan, step), work, seconds, size, self.machine)
        self.rates.append(rate)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # A single write at the end of the file, so that several studies can write at the same time.
        with open(self.file, "ab", buffering=0) as file:
            file.write((json.dumps(asdict(rate), ensure_ascii=False) + "\n").encode())

    def _planned(self, step: Planned, key: str) -> Cost | None:
        """Return the cost of a pretraining according to ``nonverbal plan``; None if there is no plan yet."""
        path = self.plan_file(step, key)
        try:
            content = read_json(path)
            return Cost(3600 * float(content["hours"]), float(content["disk_bytes"]), "by nonverbal plan")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, OverflowError) as error:
            raise UserError(f"{path} is not a file that nonverbal plan wrote ({error}); remove it") from error


def _read(path: Path) -> list[Rate]:
    """Return the rates in a file. A lost rate only means one more unknown cost, and is no reason to stop."""
    rates, skipped = [], []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            rates.append(read_record(Rate, json.loads(line), f"in {path}, line {number}"))
        except (UserError, ValueError, RecursionError):
            skipped.append(number)
    if skipped:
        which = some_of([f"line {number}" for number in skipped], 1)
        print(f"nonverbal: warning: {path}, {which}: skipped, because it was not written by a study", file=sys.stderr)
    return rates


def work_of(plan: Plan, step: Planned) -> float | None:
    """Return what a step's cost is proportional to; None if its shards do not exist yet."""
    if step.step == PREPARE:
        path = plan.corpora[step.loop["corpus"]].path
        assert path is not None
        return float(size_of(path))
    if step.template.run == PRETRAIN or not step.corpora:
        return 1.0
    folders = [plan.corpora[name].shards for name in step.corpora]
    if not all((folder / "index.json").is_file() for folder in folders):
        return None
    return sum(seconds_of(folder, file_sha256(folder / "index.json")) for folder in folders) * max(len(step.sources), 1)


@cache
def seconds_of(folder: Path, _: str) -> float:
    """Return the seconds of audio in a folder of shards; the SHA-256 of its index is only the key of the cache."""
    return float(sum(shard["seconds"] for shard in open_shards(folder).shards))


def total(costs: Iterable[Cost]) -> tuple[float, float, int]:
    """Return the known seconds and bytes in total, and how many costs are unknown."""
    known = list(costs)
    seconds = sum(cost.seconds for cost in known if cost.seconds is not None)
    size = sum(cost.bytes for cost in known if cost.bytes is not None)
    return seconds, size, sum(cost.seconds is None for cost in known)


def machine() -> str:
    """Return what a machine's speed depends on: its processor, how many of its cores may be used, and its GPUs."""
    names = [row["name"] or "GPU" for row in gpus()]
    cores = len(os.sched_getaffinity(0))
    return ", ".join([f"{cores} x {processor_name() or 'unknown processor'}", *names])


def _models(plan: Plan, step: Planned) -> str:
    return " ".join(str(plan.sources.get(name, "step")) for name in step.sources)


def _cost(rates: list[Rate], work: float, by: str) -> Cost:
    """Return the cost from the mean of all rates, weighted by their work."""
    done = sum(rate.work for rate in rates)
    share = work / done if done else 0.0
    return Cost(share * sum(rate.seconds for rate in rates), share * sum(rate.bytes for rate in rates), by)
