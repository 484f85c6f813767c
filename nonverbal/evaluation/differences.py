"""The difference between two encoders: hidden states by layer on the same clips, and weights."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonverbal.data.index import open_shards
from nonverbal.data.synthetic import CLASSES, vocal_sound
from nonverbal.errors import UserError
from nonverbal.families import kind_of, read_any
from nonverbal.families.hidden_states import prepared, states_of
from nonverbal.models.checkpoints.base import Checkpoint


@dataclass(frozen=True)
class LayerDifference:
    """One layer's hidden states, over all frames of all clips."""

    layer: int
    """0 is the input of the first block."""
    largest: float | None
    """Largest absolute difference of a value; NaN if any is NaN; None if the widths differ."""
    mean: float | None
    """Mean absolute difference."""
    cka: float | None
    """Linear CKA: 1 if they differ by rotation and scale, 0 if they share nothing; None if one of them is constant."""


@dataclass(frozen=True)
class Movement:
    """The change of one weight."""

    name: str
    """Its name in transformers."""
    relative: float
    """Norm of the difference divided by the norm of A's; NaN if a value is NaN or infinite."""


@dataclass(frozen=True)
class Differences:
    """The differences between two encoders."""

    a: str
    b: str
    clips: int
    frames: int
    layers: list[LayerDifference]
    """The layers that both have."""
    moved: list[Movement]
    """The weights of the same name and shape, those with the largest change first."""
    only_in_a: list[str]
    """Weights that B lacks, or has in another shape."""
    only_in_b: list[str]
    """Weights that A lacks, or has in another shape."""
    read_alike: bool
    """Whether both read clips in the same way."""
    notes: list[str]
    """Possible causes of differences other than the encoders."""

    @property
    def differ(self) -> bool:
        """Whether anything differs; NaN differs from everything."""
        same = all(layer.largest == 0 for layer in self.layers) and all(weight.relative == 0 for weight in self.moved)
        return not same or bool(self.only_in_a or self.only_in_b) or not self.read_alike

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON: null and ``finite: false`` for a number that is NaN or infinite."""
        return {**_finite(asdict(self)), "differ": self.differ}


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if not isinstance(value, dict):
        return value
    bad = [key for key, item in value.items() if isinstance(item, float) and not math.isfinite(item)]
    return {key: None if key in bad else _finite(item) for key, item in value.items()} | (
        {"finite": False} if bad else {}
    )


class LinearCKA:
    """Linear CKA of two representations of the same frames (Kornblith et al., 2019, equation 5), added in parts.

    It is computed in float64 from sums over frames: ||Y'X||^2 / (||X'X|| ||Y'Y||) of centred X and Y. So its memory
    does not grow with the number of frames.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sums: list[Tensor] = []

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add frames, ``(S, D)`` and ``(S, E)``."""
        x, y = x.double(), y.double()
        new = [x.sum(0), y.sum(0), x.T @ x, y.T @ y, y.T @ x]
        self.sums = [a + b for a, b in zip(self.sums, new, strict=True)] if self.sums else new
        self.count += len(x)

    def read(self) -> float | None:
        """Return the CKA of all frames; None if one of the two is the same in all of them."""
        x, y, xx, yy, yx = self.sums
        n = self.count
        xx, yy, yx = xx - torch.outer(x, x) / n, yy - torch.outer(y, y) / n, yx - torch.outer(y, x) / n
        scale = float(xx.norm() * yy.norm())
        return None if scale == 0 else float(yx.square().sum()) / scale


def compare_encoders(a: str, b: str, data: Path | None, clips: int) -> Differences:
    """Compare two checkpoints (see ``read_any``).

    Args:
        a: the first checkpoint.
        b: the second checkpoint.
        data: folder of shards whose first clips are used; synthetic vocal sounds if None.
        clips: number of clips.

    Raises:
        UserError: a checkpoint cannot be read, their frames do not correspond, or there are no clips.
    """
    if clips < 1:
        raise UserError(f"--clips must be at least 1, but is {clips}")
    first, second = read_any(a), read_any(b)
    read_alike, notes = _reading(first, second)
    waveforms = list(synthetic(clips) if data is None else read_clips(data, clips))
    layers, frames = _layers(first, second, waveforms)
    moved = movements(first.weights, second.weights)
    shared = {movement.name for movement in moved}
    only_in_a, only_in_b = sorted(first.weights.keys() - shared), sorted(second.weights.keys() - shared)
    return Differences(a, b, len(waveforms), frames, layers, moved, only_in_a, only_in_b, read_alike, notes)


def _reading(a: Checkpoint, b: Checkpoint) -> tuple[bool, list[str]]:
    """Make both read clips in the same way, if possible; return whether they do, and further notes."""
    notes = [f"{each.source}: {note}" for each in (a, b) for note in each.notes]
    kind, other = kind_of(a), kind_of(b)
    keys = [key for key in sorted(kind.settings | other.settings) if _value(a, key) != _value(b, key)]
    notes += [f"their configurations differ in {', '.join(keys)}"] if keys else []
    alike = a.normalise == b.normalise
    if kind is other and (ways := kind.read_alike(a, b)):
        alike = False
        notes.append(
            f"{b.source} prepares clips differently ({', '.join(ways)}); here both are prepared as for {a.source}"
        )
    if a.normalise != b.normalise:
        one = a if a.normalise else b
        notes.append(f"only the waveforms of {one.source} are normalised, which alone makes hidden states differ")
    return alike, notes


def _value(checkpoint: Checkpoint, key: str) -> Any:
    return getattr(checkpoint.config, key, None)


def synthetic(clips: int) -> Iterable[np.ndarray]:
    """Yield synthetic vocal sounds of every class in turn, the same on all machines."""
    for number in range(clips):
        yield vocal_sound(list(CLASSES)[number % len(CLASSES)], speaker=number, take=0, seed=0)


def read_clips(folder: Path, clips: int) -> Iterable[np.ndarray]:
    """Yield clips spread evenly over a folder of shards."""
    shards = open_shards(folder)
    for row in np.unique(np.linspace(0, len(shards.table) - 1, clips).astype(int)):
        yield shards.read(int(row))


def _layers(a: Checkpoint, b: Checkpoint, waveforms: Sequence[np.ndarray]) -> tuple[list[LayerDifference], int]:
    models = [kind_of(each).encoder(each) for each in (a, b)]
    depth = min(a.config.num_hidden_layers, b.config.num_hidden_layers) + 1
    alike = a.config.hidden_size == b.config.hidden_size
    ckas = [LinearCKA() for _ in range(depth)]
    largest, total, frames = np.zeros(depth), np.zeros(depth), 0
    for waveform in waveforms:
        states = [
            states_of(model, prepared(waveform, each.normalise)) for model, each in zip(models, (a, b), strict=True)
        ]
        _check_frames(a, b, states)
        for layer, (x, y) in enumerate(zip(*(state[:depth] for state in states), strict=True)):
            ckas[layer].add(x, y)
            if alike:
                difference = (x - y).abs()
                # Python's max would ignore a NaN.
                largest[layer] = np.maximum(largest[layer], float(difference.max()))
                total[layer] += float(difference.mean(1).sum())
        frames += len(states[0][0])
    means = total / frames
    return [
        LayerDifference(
            layer, float(largest[layer]) if alike else None, float(means[layer]) if alike else None, cka.read()
        )
        for layer, cka in enumerate(ckas)
    ], frames


def _check_frames(a: Checkpoint, b: Checkpoint, states: Sequence[Sequence[Tensor]]) -> None:
    """Refuse frames that do not correspond in time, such as those of encoders with different strides."""
    frames = [len(each[0]) for each in states]
    if frames[0] != frames[1]:
        raise UserError(
            f"{a.source} makes {frames[0]} frames from a clip and {b.source} {frames[1]}, so frames do not correspond; "
            "compare encoders with frames at the same times"
        )


def movements(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[Movement]:
    """Return how far each weight moved, in decreasing order, after those with a NaN."""
    shared = [name for name in a if name in b and a[name].shape == b[name].shape]
    moved = [Movement(name, _moved(a[name].double(), b[name].double())) for name in shared]
    return sorted(moved, key=lambda movement: (math.isfinite(movement.relative), -movement.relative))


def _moved(a: Tensor, b: Tensor) -> float:
    """Return the norm of the difference divided by that of ``a``, in float64: a small float32 squared would be 0."""
    apart = float((b - a).norm())
    return apart / float(a.norm().clamp(min=1e-12)) if math.isfinite(apart) else math.nan
