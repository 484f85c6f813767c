"""Batches of whole clips."""

from abc import ABC, abstractmethod

import numpy as np

from nonverbal.batch import Rows, Targets


class ClipTargets(ABC):
    """What is predicted of clips."""

    @abstractmethod
    def __call__(self, clips: np.ndarray, rows: Rows, clip: np.ndarray, random: np.random.Generator | None) -> Targets:
        """Return the targets of a micro-batch."""
