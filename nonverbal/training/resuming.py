"""Chooses the checkpoint from which a run continues: the first process chooses, and all load the same."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from nonverbal.errors import UserError
from nonverbal.training import checkpoint
from nonverbal.training.position import Position
from nonverbal.training.processes import Processes


@dataclass(frozen=True)
class Resumed:
    """The state from which a run continues, whose weights have been loaded."""

    checkpoint: str | None = None
    """Name of the checkpoint; None for a new run."""
    position: Position = field(default_factory=Position)
    moments: Mapping[str, Tensor] = field(default_factory=dict)
    """Moments of the optimizer by name."""


def resume(checkpoints: Path, model: nn.Module, processes: Processes, say: Callable[[str], None]) -> Resumed:
    """Load the last checkpoint that the first process can read into ``model`` on all processes.

    Args:
        checkpoints: the folder of checkpoints.
        model: receives the weights; it is unchanged if there is no checkpoint.
        processes: of the run, all of which call this.
        say: is called with a message about each checkpoint that cannot be read.

    Raises:
        UserError: there are checkpoints but none can be read, or a process lacks the one that the first has chosen.
    """
    chosen = _newest(checkpoints, model, say) if processes.is_first else Resumed()
    name = processes.of_first(chosen.checkpoint)
    if processes.world == 1 or name is None:
        return chosen
    return _same(checkpoints / name, model, processes, chosen)


def _newest(checkpoints: Path, model: nn.Module, say: Callable[[str], None]) -> Resumed:
    saved = checkpoint.saved(checkpoints)
    for path in reversed(saved):
        try:
            return Resumed(path.name, *checkpoint.load(path, model))
        except UserError as error:
            say(f"{error}; taking the checkpoint before it")
    if saved:
        raise UserError(f"none of the checkpoints in {checkpoints} can be read; start with another --out")
    return Resumed()


def _same(path: Path, model: nn.Module, processes: Processes, chosen: Resumed) -> Resumed:
    """Load ``path``, which the first process has ``chosen``, on the others. If one of them fails, all stop."""
    trouble = None
    if not processes.is_first:
        try:
            chosen = Resumed(path.name, *checkpoint.load(path, model))
        except (UserError, OSError) as error:
            trouble = f"process {processes.rank} on {platform.node()} cannot ({error})"
    if troubles := [said for said in processes.of_each(trouble) if said is not None]:
        raise UserError(
            f"the first process continues from {path}, but {'; '.join(troubles)}; --out must be one folder that "
            "all machines of the run share, with the same checkpoints on each"
        )
    return chosen
