"""The non-linear probe of "Large speech models for cross-lingual emotion" (CLiC-it 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import relu

from nonverbal.evaluation.heads.base import Frames
from nonverbal.evaluation.heads.cross_lingual import CrossLingual
from nonverbal.evaluation.heads.frames import FrameClips, FrameHead, mean_over_own
from nonverbal.evaluation.heads.layers import dropped
from nonverbal.evaluation.heads.training import Network


class OnFrames(nn.Module):
    """The paper's layers: three on each frame, the mean over frames, two more."""

    def __init__(self, dim: int, width: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.pooled = nn.Linear(width, width)
        self.output = nn.Linear(width, classes)

    def forward(self, frames: Tensor, lengths: Tensor, kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` for ``(clips, frames, dim)``; ``lengths`` are numbers of own frames."""
        hidden = dropped(relu(self.first(frames)), kept, 0)
        hidden = dropped(relu(self.second(hidden)), kept, 1)
        pooled = mean_over_own(self.third(hidden), lengths)
        logits: Tensor = self.output(relu(self.pooled(pooled)))
        return logits


class NonlinearNetwork(Network):
    """The layers applied to the frames of one layer of the encoder."""

    over_frames = True
    decide_rows = 16

    def __init__(self, clips: FrameClips, rows: np.ndarray, width: int, classes: int) -> None:
        super().__init__()
        self.dropped = [width, width]
        self.standardised = clips.standardised(rows)
        self.layers = OnFrames(self.standardised.centre.shape[-1], width, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits for frames ``(clips, 1, frames, dim)`` and their numbers ``(clips,)``."""
        frames, lengths = inputs
        logits: Tensor = self.layers(self.standardised(frames)[:, 0], lengths, kept)
        return logits


@dataclass(frozen=True)
class Nonlinear(CrossLingual, FrameHead):
    """The paper's non-linear probe of the last layer's frames."""

    dropout: float = 0.1
    """Share of the values of the first two layers that each step sets to zero, frame by frame. The paper has dropout
    but does not state the share; 0.1 is that of the encoders that it probes."""

    def layers(self, frames: Frames) -> slice:
        """Return the last layer."""
        return slice(-1, None)

    def network(self, features: FrameClips, rows: np.ndarray, classes: int) -> Network:
        """Return a new network."""
        return NonlinearNetwork(features, rows, self.width, classes)
