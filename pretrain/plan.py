"""Estimate the cost of a recipe: ``nonverbal plan RECIPE.yaml --data SHARDS --gpus 8 --network 100``.

By path: ``python pretrain/plan.py RECIPE.yaml --data SHARDS``. It takes every setting of ``nonverbal pretrain``,
trains for a minute on this machine's first device, in a folder that is then deleted, and prints updates, hours and
GPU-hours, memory, disk, and the number of passes over each corpus. The hours on several GPUs are computed from those on
one, and communication from the speed of the network. Nothing is written to --out.
"""

import json
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nonverbal import cli, config
from nonverbal.data.batching.read_ahead import workers_watched
from nonverbal.errors import UserError
from nonverbal.files import room_for, write_atomically
from nonverbal.paths import check_folder_of
from nonverbal.stages.pretraining import PretrainConfig, build, scan_on
from nonverbal.training.cost.cost_table import figures, print_cost
from nonverbal.training.cost.estimate import audio_of, cautions, estimate, refusals
from nonverbal.training.cost.timing import measure


@dataclass
class PlanConfig(PretrainConfig):
    """A pretraining run that is only planned."""

    out: Path = Path("run")
    """As in `nonverbal pretrain`; here nothing is written there, and it need not be given."""
    gpus: int | None = None
    """Number of GPUs that the run will have. Unset: `trainer.processes`, or 1."""
    network: float | None = None
    """Gb/s, in each direction, of the slowest link between the GPUs: of all network adapters of a machine together or,
    within one machine, of a GPU's NVLink (3600 on an H100). Unset: communication is not counted."""
    seconds: float = 60.0
    """How long to train. The first updates are not counted, and at least three are taken."""
    json: Path | None = None
    """File for all numbers, as JSON."""


def main(argv: list[str]) -> None:
    """Train for a minute, and print what the whole run would take."""
    settings = config.load(PlanConfig, argv, prog="nonverbal plan", description=__doc__)
    gpus = checked_gpus(settings)
    objective, data = build(settings)
    micro_batches, trainer = settings.batches.batches_per_step, settings.trainer
    warnings = refusals(objective, trainer, micro_batches, gpus)
    audio = audio_of(data.table, data.validation_table, settings.batches, settings.seed, trainer.steps)
    print(f"training for {settings.seconds:g} s; the result is discarded", flush=True)
    with room_for(Path(tempfile.gettempdir())), workers_watched():
        measured = measure(
            objective, data, trainer, settings.seed, settings.seconds, partial(scan_on, settings, objective)
        )
    cost = estimate(measured, audio, trainer, micro_batches, gpus, settings.network)
    warnings += cautions(measured, audio, cost, trainer)
    print_cost(measured, audio, cost, warnings)
    if settings.json is not None:
        write_atomically(settings.json, json.dumps(figures(measured, audio, cost, warnings), indent=1) + "\n")


def checked_gpus(settings: PlanConfig) -> int:
    """Return the number of GPUs to plan for, and refuse settings that would only fail a minute later."""
    asked = settings.trainer.processes
    gpus = settings.gpus if settings.gpus is not None else asked or 1
    if gpus < 1:
        raise UserError(f"--gpus must be at least 1, but is {gpus}")
    if asked is not None and asked != gpus:
        raise UserError(f"--gpus is {gpus}, but trainer.processes is {asked}; give one of the two")
    if settings.network is not None and settings.network <= 0:
        raise UserError(f"--network must be above 0 Gb/s, but is {settings.network:g}")
    if settings.seconds <= 0:
        raise UserError(f"--seconds must be above 0, but is {settings.seconds:g}")
    check_folder_of(settings.json, "json")
    return gpus


if __name__ == "__main__":
    cli.run(main)
