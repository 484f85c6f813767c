"""The interfaces of encoders, and the description of a kind of encoders.

Shapes: T samples, S frames, M values per frame.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.licences import Terms

INITIALISED = "initialised:"
"""Prefix of an encoder's name: the same architecture with random weights."""

Batching = Literal["equal", "any"]
"""Which clips an encoder may be given at once without changing the result for each: of one length, or of any."""


class FrameEncoder(Protocol):
    """Turns a waveform into frames. It is frozen: the same waveform always gives the same frames."""

    @property
    def name(self) -> str:
        """The name that the user gave."""

    @property
    def key(self) -> str:
        """A text that identifies everything on which the frames depend."""

    @property
    def kind(self) -> str:
        """The name of its kind: a key of ``KINDS``, or the ``model_type`` of a family that has no file here."""

    @property
    def layers(self) -> int:
        """Number of layers of frames, including the input of the first block."""

    @property
    def dimensions(self) -> int:
        """Number of values per frame."""

    @property
    def shortest(self) -> int:
        """Smallest number of samples from which it makes a frame."""

    @property
    def max_seconds(self) -> float:
        """Seconds of the longest stretch of a clip that it is given at once; ``math.inf`` if that is the whole clip."""

    @property
    def one_frame(self) -> bool:
        """Whether each input makes one frame: a clip is then pooled to that frame, without a standard deviation."""

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(layers, S, M)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""


@dataclass(frozen=True)
class ManifestEncoder:
    """Computes values only from a clip's row of the manifest. It has one frame without a standard deviation."""

    name: str
    key: str
    kind: str
    dimensions: int
    row: Callable[[Clip], tuple[float, ...]]
    """The values of a clip, as many as ``dimensions``."""
    layers: int = 1

    def values(self, clip: Clip) -> np.ndarray:
        """Return ``(layers, M)`` float32."""
        return np.array([self.row(clip)], dtype=np.float32)


Encoder = FrameEncoder | ManifestEncoder


@dataclass(frozen=True)
class Named:
    """An encoder as requested by the user."""

    name: str
    """The name that the user gave."""
    source: str
    """A folder or a Hub id, if the kind reads checkpoints."""
    initialised: bool = False
    """Whether its weights are drawn at random."""
    seed: int = 0
    """Seed of random weights."""

    @property
    def folder(self) -> Path | None:
        """The folder; None for a Hub id."""
        return Path(self.source) if Path(self.source).is_dir() else None


class Size(NamedTuple):
    """The size of frames, known before anything is loaded."""

    dimensions: int
    layers: int
    """Number of layers, including the input of the first block."""


@dataclass(frozen=True)
class Kind:
    """An entry of the list: one encoder by its own name, or all checkpoints of a ``model_type``."""

    name: str
    """The encoder's own name, or its ``model_type`` in ``config.json``."""
    title: str
    """Its line in the list."""
    load: Callable[[Named], Encoder]
    """Loads one. A ``UserError`` says why it cannot be loaded completely."""
    check: Callable[[Named], None] = lambda _: None
    """Raises the ``UserError`` for an encoder that is missing or reads another sample rate, before it is needed."""
    shortest: int = 1
    """Smallest number of samples from which released checkpoints make a frame."""
    max_seconds: float = math.inf
    """Seconds of the longest stretch of a clip that is given at once."""
    size: Size | None = None
    """Size of an encoder with its own name; None for checkpoints."""
    published: Mapping[str, Size] = field(default_factory=dict)
    """Checkpoints that papers used, by their ids on the Hub; their training data are in
    ``nonverbal.public_checkpoints``."""
    terms: Terms | None = None
    """Terms of the software that computes it, if that is neither this toolkit nor a checkpoint."""
    needs: str = ""
    """The extra of this package that must be installed: ``pip install 'nonverbal[NEEDS]'``."""
    tried: str = ""
    """Released weights on which it was tested; empty if none. Encoders without weights have none."""
    notes: str = ""
    """The module's docstring."""

    @property
    def learned(self) -> bool:
        """Whether it has weights: those of a checkpoint, or random ones with ``initialised:``."""
        return self.size is None


def refuse_short(name: str, samples: int, shortest: int) -> None:
    """Refuse a waveform from which an encoder makes no frame.

    Raises:
        UserError: there are fewer samples.
    """
    if samples < shortest:
        raise UserError(
            f"{name} makes a frame of {shortest} samples, but a part of a clip has {samples}; "
            "leave such clips out, or take another encoder"
        )
