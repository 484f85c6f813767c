"""Checkpoints: float32 weights and optimizer moments by parameter name, in safetensors. Each is complete or absent."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nonverbal.errors import UserError
from nonverbal.files import is_own_fault, read_json, sha256_of, sync, write_atomically
from nonverbal.training.position import Position

NAME = re.compile(r"step-(0|[1-9][0-9]*)")
"""Name of a checkpoint's folder."""
WEIGHTS, MOMENTS = "model.safetensors", "optimizer.safetensors"
"""Files of a checkpoint: the model's weights, and the optimizer's moments."""


def save(folder: Path, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], position: Position) -> Path:
    """Write ``folder/step-N``, name it in the file ``folder/../latest``, and return its path."""
    final = folder / f"step-{position.step}"
    temporary = folder / f".step-{position.step}.new"
    for leftover in folder.glob(".step-*.new"):
        if NAME.fullmatch(leftover.name[1 : -len(".new")]):
            shutil.rmtree(leftover)
    temporary.mkdir(parents=True)
    save_file(dict(weights), temporary / WEIGHTS)
    save_file(dict(moments), temporary / MOMENTS)
    files = {path.name: sha256_of(path) for path in sorted(temporary.glob("*.safetensors"))}
    write_atomically(temporary / "state.json", json.dumps({"position": asdict(position), "sha256": files}, indent=1))
    for path in [*temporary.iterdir(), temporary]:
        sync(path)
    if final.is_symlink() or final.is_file():
        # Someone else has put it there: it is moved out of the way, but kept.
        os.replace(final, final.with_name(f"{final.name}.not-a-checkpoint"))
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    sync(folder)
    point(folder, "latest", final)
    return final


def point(folder: Path, name: str, checkpoint: Path) -> None:
    """Write the name of a checkpoint to the file ``name`` beside ``folder``."""
    write_atomically(folder.parent / name, checkpoint.name + "\n")


def prune(folder: Path, keep: int, position: Position) -> None:
    """Delete all checkpoints up to ``position`` except the last ``keep`` and the best.

    Later checkpoints, which could not be read, do not count: the run will write them again.
    """
    for path in [path for path in saved(folder) if _step(path) <= position.step][:-keep]:
        if path.name == f"step-{position.best_step}":
            continue
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)


def saved(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, oldest first. Other files there, such as copies, are ignored.

    A link to a folder of the same name counts as a checkpoint, which was moved, for example to another disk. No other
    link counts.
    """
    found = (path for path in folder.glob("step-*") if NAME.fullmatch(path.name))
    return sorted((path for path in found if path.is_dir() and path.resolve().name == path.name), key=_step)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def load(checkpoint: Path, model: nn.Module) -> tuple[Position, dict[str, Tensor]]:
    """Load the weights of a checkpoint into ``model``. Return its position and the optimizer's moments.

    Raises:
        UserError: a file is missing, has changed since it was written, or belongs to another model.
        OSError: a file cannot be read at the moment.
    """
    try:
        state = read_json(checkpoint / "state.json")
        for name in sorted({*state["sha256"], WEIGHTS, MOMENTS}):
            if sha256_of(checkpoint / name) != state["sha256"][name]:
                raise UserError(f"{checkpoint / name} has changed since it was written")
        weights = load_file(checkpoint / WEIGHTS)
        moments = load_file(checkpoint / MOMENTS)
        position = Position.of(state["position"])
        if position.step != _step(checkpoint):
            raise UserError(f"{checkpoint} holds step {position.step}, so it is a copy of another checkpoint")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        # An error of the disk or network that may pass is not a reason to fall back to an older checkpoint.
        if isinstance(error, UserError) or (isinstance(error, OSError) and not is_own_fault(error)):
            raise
        raise UserError(f"the checkpoint {checkpoint} cannot be read ({error})") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise UserError(f"the checkpoint {checkpoint} belongs to another model: {text}") from error
    return position, moments
