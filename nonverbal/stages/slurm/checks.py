"""Checks before a run is submitted, so that mistakes are found before it has waited in a queue."""

import sys
from typing import Any

import yaml

from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.stages.slurm.bash import captured
from nonverbal.stages.slurm.settings import SubmitConfig


def check_settings(settings: SubmitConfig, passed: list[str]) -> None:
    """Check a pretraining before it is submitted.

    Raises:
        UserError: pretraining does not know a setting, shards are incomplete, there are too many processes, or
            ``setup`` is not valid bash.
    """
    for folder in [*settings.data, *([settings.then_probe] if settings.then_probe else [])]:
        open_shards(folder)
    resolved = resolve(settings, passed)
    raised = "raise batches.batches_per_step and lower batches.batch_seconds"
    check_launch(settings, resolved["trainer"]["processes"], resolved["batches"]["batches_per_step"], raised)


def check_launch(settings: SubmitConfig, processes: int | None, batches: int, raised: str) -> None:
    """Refuse a number of processes that a run cannot have, and a ``setup`` that would break the script.

    Args:
        settings: of the submission.
        processes: ``trainer.processes`` of the run.
        batches: number of micro-batches of a step, which the processes share.
        raised: how to get more of them, for the message.

    Raises:
        UserError: there are too many processes, their number is given twice, or ``setup`` is not valid bash.
    """
    if processes is not None:
        raise UserError("trainer.processes is computed from --nodes and --gpus; leave it out")
    if settings.nodes * settings.tasks > batches:
        raise UserError(
            f"{settings.nodes} x {settings.tasks} processes share the {batches} micro-batches of a step, so some would "
            f"have none; use fewer processes, or {raised}"
        )
    # An open quote would swallow the rest of the script.
    if error := captured(["bash", "-n"], settings.setup).stderr.strip():
        raise UserError(f"--setup is not valid bash: {error.splitlines()[0]}")


def resolve(settings: SubmitConfig, passed: list[str]) -> dict[str, Any]:
    """Return all settings of the pretraining, resolved as by `nonverbal pretrain` itself."""
    command = [sys.executable, "-m", "nonverbal", "pretrain", *passed, f"--out={settings.out}"]
    result = captured([*command, "--data", *map(str, settings.data), "--print_config"])
    if result.returncode != 0:
        raise UserError(result.stderr.strip().removeprefix("nonverbal: "))
    resolved: dict[str, Any] = yaml.safe_load(result.stdout)
    return resolved
