"""What heads on frames share: clips of different lengths, which are padded, and standardised by their own frames."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nonverbal.evaluation.heads.base import Frames
from nonverbal.evaluation.heads.layers import Standardised, standardised_as
from nonverbal.evaluation.heads.neural import NeuralHead


class FrameClips:
    """Some layers of the frames of clips, read when they are needed."""

    def __init__(self, frames: Frames, layers: slice) -> None:
        self.frames, self.layers = frames, layers

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.frames)

    def of(self, row: int) -> np.ndarray:
        """Return the frames of a clip, ``(layers, frames, dim)`` float32."""
        clip: np.ndarray = self.frames[row][self.layers].astype(np.float32)
        return clip

    @property
    def counts(self) -> np.ndarray:
        """Number of frames of each clip, ``(clips,)``."""
        return self._moments[0]

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Number of frames of each clip ``(clips,)``, and their means and variances, ``(clips, layers, dim)``."""
        counts, means, variances = [], [], []
        for row in range(len(self)):
            clip = self.of(row).astype(np.float64)
            counts.append(clip.shape[1])
            means.append(clip.mean(axis=1).astype(np.float32))
            variances.append(clip.var(axis=1).astype(np.float32))
        return np.array(counts), np.stack(means), np.stack(variances)

    def standardised(self, rows: np.ndarray) -> Standardised:
        """Return a module that standardises each layer's values by all frames of the clips in these rows."""
        counts, means, variances = (part[rows].astype(np.float64) for part in self._moments)
        shares = (counts / counts.sum())[:, None, None]
        centre = (shares * means).sum(axis=0)
        variance = (shares * (variances + (means - centre) ** 2)).sum(axis=0)
        # (layers, dim) -> (layers, 1, dim): the same for all frames.
        return standardised_as(*(torch.from_numpy(part[:, None]) for part in (centre, np.sqrt(variance))))


class FrameHead(NeuralHead[Frames]):
    """A neural head that reads frames of some layers."""

    def layers(self, frames: Frames) -> slice:
        """Return which layers it reads."""
        raise NotImplementedError

    def read(self, features: Frames, one_frame: bool) -> FrameClips:
        """Return the clips."""
        return FrameClips(features, self.layers(features))

    def gather(self, features: Sequence[FrameClips], rows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Return frames ``(networks, rows, layers, longest, dim)``, zero beyond each clip's own, and numbers of frames.

        The numbers are ``(networks, rows)``.
        """
        clips = [[own.of(int(row)) for row in chosen] for own, chosen in zip(features, rows, strict=True)]
        lengths = np.array([[clip.shape[1] for clip in of_one] for of_one in clips])
        layers, _, dim = clips[0][0].shape
        padded = np.zeros((*lengths.shape, layers, lengths.max(), dim), np.float32)
        for place, length in np.ndenumerate(lengths):
            padded[place][:, :length] = clips[place[0]][place[1]]
        return torch.from_numpy(padded), torch.from_numpy(lengths)


def mean_over_own(values: Tensor, lengths: Tensor) -> Tensor:
    """Return the means ``(clips, width)`` of ``(clips, frames, width)`` over the first ``lengths`` frames of each."""
    own = torch.arange(values.shape[1], device=values.device) < lengths[:, None]
    return (values * own[:, :, None]).sum(dim=1) / lengths[:, None]
