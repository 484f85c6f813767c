"""What an encoder is, and what is said of a kind of them.

Shapes: T samples, S frames, M values of a frame.
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
"""Before the name of an encoder: the same architecture with random weights."""

Batching = Literal["equal", "any"]
"""What an encoder may be given at once without changing what it makes of each: clips of one length, or of any."""


class FrameEncoder(Protocol):
    """Turns a waveform into frames. Frozen: the same waveform always gives the same frames."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    @property
    def key(self) -> str:
        """Names everything that its frames depend on."""

    @property
    def kind(self) -> str:
        """The kind it is of: a name in ``KINDS``, or the ``model_type`` of a family that has no file here."""

    @property
    def layers(self) -> int:
        """Layers of frames, with what enters the first block."""

    @property
    def dimensions(self) -> int:
        """Values of a frame."""

    @property
    def shortest(self) -> int:
        """Samples: the fewest of which it makes a frame."""

    @property
    def max_seconds(self) -> float:
        """The longest stretch of a clip that it is given at once; ``math.inf`` where that is the whole clip."""

    @property
    def one_frame(self) -> bool:
        """Whether what it is given makes one frame: a clip is then pooled to that frame, without a deviation."""

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(layers, S, M)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""


@dataclass(frozen=True)
class ManifestEncoder:
    """Computes values from a clip's row of the manifest, without its audio. It has one frame without a deviation."""

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
    """An encoder that is asked for."""

    name: str
    """As the user gave it."""
    source: str
    """A folder or a name of the Hub, where the kind reads checkpoints."""
    initialised: bool = False
    """Whether its weights are to be drawn at random."""
    seed: int = 0
    """Of what is drawn."""

    @property
    def folder(self) -> Path | None:
        """The folder; None for a name of the Hub."""
        return Path(self.source) if Path(self.source).is_dir() else None


class Size(NamedTuple):
    """What of a frame can be told before anything is loaded."""

    dimensions: int
    layers: int
    """With what enters the first block."""


@dataclass(frozen=True)
class Kind:
    """An entry of the list: one encoder by its own name, or all checkpoints of a ``model_type``."""

    name: str
    """The encoder's own name, or its ``model_type`` in ``config.json``."""
    title: str
    """A line for the list."""
    load: Callable[[Named], Encoder]
    """Load one. A ``UserError`` says why it cannot be loaded whole."""
    check: Callable[[Named], None] = lambda _: None
    """Raise the ``UserError`` of what is not there or reads another sample rate, before it is needed."""
    shortest: int = 1
    """Samples: the fewest that released checkpoints make a frame of."""
    max_seconds: float = math.inf
    """The longest stretch of a clip that is given at once."""
    size: Size | None = None
    """Of an encoder by its own name; None for checkpoints."""
    published: Mapping[str, Size] = field(default_factory=dict)
    """Checkpoints that papers used, by their ids on the Hub; their training data are in
    ``nonverbal.public_checkpoints``."""
    terms: Terms | None = None
    """Of what computes it, where that is neither this toolkit nor a checkpoint."""
    needs: str = ""
    """The extra of this package that must be installed: ``pip install 'nonverbal[NEEDS]'``."""
    tried: str = ""
    """On which released weights it was tried; empty where on none. What has no weights is not tried on any."""
    notes: str = ""
    """The module's docstring."""

    @property
    def learned(self) -> bool:
        """Whether it has weights: those of a checkpoint, or random ones after ``initialised:``."""
        return self.size is None


def refuse_short(name: str, samples: int, shortest: int) -> None:
    """Refuse a waveform of which an encoder makes no frame.

    Raises:
        UserError: there are fewer samples.
    """
    if samples < shortest:
        raise UserError(
            f"{name} makes a frame of {shortest} samples, but a part of a clip has {samples}; "
            "leave such clips out, or take another encoder"
        )
