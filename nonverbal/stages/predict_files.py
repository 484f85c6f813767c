"""What a classifier says of recordings: of each file, or of windows of long ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from nonverbal.batch import Batch, Targets
from nonverbal.data.batching.clip_rows import RowLimits
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.recordings import Heard, Recording, decoded
from nonverbal.evaluation.encoders.padding import batching_of
from nonverbal.evaluation.pieces import batches
from nonverbal.objectives.classification import ClassificationObjective
from nonverbal.stages.predicting import clip_logits, softmax

GROUP = 32
"""Recordings of which batches are made. Which they are depends on their order alone, so the same call gives the same
bits."""

LONG = 160 * SAMPLE_RATE
"""Samples of a recording that is a group by itself, so that a group never needs much memory."""

GPU_SECONDS = 160.0
"""Most audio in a batch on a GPU, padding included. On a CPU, which gains little from batches, each window is alone."""


@dataclass(frozen=True)
class Said:
    """What a classifier says of a stretch of a recording."""

    start: float
    """Seconds."""
    end: float
    probabilities: np.ndarray
    """``(classes,)`` float64, which sum to one."""


@dataclass(frozen=True)
class Spans:
    """Which stretches of a recording are told apart."""

    window: int
    """Samples, at least 1."""
    hop: int
    """Samples from one to the next, at least 1 and at most ``window``."""

    def of(self, samples: int) -> list[slice]:
        """Return the stretches of a recording: the last one ends with it; a shorter one than a window is one."""
        count = max(-(-(samples - self.window) // self.hop), 0) + 1
        starts = [min(number * self.hop, max(samples - self.window, 0)) for number in range(count)]
        return [slice(start, min(start + self.window, samples)) for start in starts]


class Predictor:
    """Tells classes of recordings as the test of a fold does: in float32, long ones by windows that are averaged."""

    def __init__(self, classifier: ClassificationObjective, limits: RowLimits, spans: Spans | None) -> None:
        """Take a classifier.

        Args:
            classifier: lies on the device on which it is to run.
            limits: of what it is shown at once. What is longer is cut into equal windows.
            spans: what is told apart of a recording; None for all of it as one.
        """
        self.classifier, self.spans = classifier, spans
        self.limits = replace(limits, first=False)
        on_gpu = next(classifier.parameters()).device.type == "cuda"
        self.batch_seconds = GPU_SECONDS if on_gpu else 0.0
        self.batching = batching_of(classifier.encoder.model.config)

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[list[Said]]:
        """Return what is said of each recording, ``(T,)`` int16 at 16 kHz, T at least 1: one ``Said`` a stretch."""
        stretches = [(number, own) for number, samples in enumerate(recordings) for own in self._stretches(samples)]
        windows = [
            (place, recordings[number][own][cut])
            for place, (number, own) in enumerate(stretches)
            for cut in self.limits.cuts(own.stop - own.start)
        ]
        lengths = np.array([max(len(window), self.limits.shortest) for _, window in windows], dtype=np.int64)
        cut = batches(lengths.tolist(), self.batching, self.batch_seconds)
        made = (_batch(places, [windows[place][1] for place in places], lengths[places]) for places in cut)
        where, logits = clip_logits(self.classifier, made)
        of_stretch = np.array([place for place, _ in windows], dtype=np.int64)[where]
        probabilities = softmax(self._averaged(logits, of_stretch, lengths[where], len(stretches)))
        found: list[list[Said]] = [[] for _ in recordings]
        for (number, own), values in zip(stretches, probabilities, strict=True):
            found[number].append(Said(own.start / SAMPLE_RATE, own.stop / SAMPLE_RATE, values))
        return found

    def _stretches(self, samples: np.ndarray) -> list[slice]:
        return [slice(0, len(samples))] if self.spans is None else self.spans.of(len(samples))

    def _averaged(self, logits: np.ndarray, stretch: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        """Return the logits of stretches: the mean over their windows, weighted by frames, as the classifier has it."""
        frames = np.asarray(self.classifier.encoder.frames(lengths), dtype=np.float64)
        sums = np.zeros((count, logits.shape[1]))
        np.add.at(sums, stretch, logits * frames[:, None])
        return sums / np.bincount(stretch, frames, count)[:, None]


def _batch(places: list[int], windows: list[np.ndarray], lengths: np.ndarray) -> Batch:
    """Return a batch in which each window is a clip by itself."""
    waveforms = np.zeros((len(windows), int(lengths.max())), dtype=np.int16)
    for row, window in zip(waveforms, windows, strict=True):
        row[: len(window)] = window
    tensors = {"clip": torch.arange(len(windows)), "places": torch.tensor(places)}
    padded = bool((lengths < waveforms.shape[1]).any())
    targets = Targets(len(windows), tensors)
    return Batch(torch.from_numpy(waveforms), torch.from_numpy(lengths), [], targets, 0, 0, 0, padded)


def predictions(
    predictor: Callable[[Sequence[np.ndarray]], list[list[Said]]], recordings: Sequence[Recording], processes: int
) -> Iterator[tuple[Recording, list[Said] | str]]:
    """Decode recordings over processes and yield, in their order, what is said of each, or why it cannot be read.

    Raises:
        UserError: a process was ended from outside, the machine cannot read a file, or the classifier gives values that
            are not finite.
    """
    groups = _Groups(predictor, len(recordings))
    ready: dict[int, list[Said] | str] = {}
    following = 0
    for heard in decoded(recordings, processes):
        ready |= groups.add(heard)
        while following in ready:
            yield recordings[following], ready.pop(following)
            following += 1


class _Groups:
    """Recordings that wait until the others of their group are decoded."""

    def __init__(self, predictor: Callable[[Sequence[np.ndarray]], list[list[Said]]], count: int) -> None:
        self.predictor, self.count = predictor, count
        self.waiting: dict[int, dict[int, np.ndarray | None]] = {}
        """By group, and by number in all: the samples, None where nothing is to be waited for."""

    def add(self, heard: Heard) -> dict[int, list[Said] | str]:
        """Take a recording, and return by their numbers what is said of those that need not wait any more."""
        number, samples, said = heard.number, heard.samples, dict[int, list[Said] | str]()
        if samples is None:
            said[number] = heard.problem
        elif len(samples) > LONG:
            said[number] = self.predictor([samples])[0]
        group = number // GROUP
        members = self.waiting.setdefault(group, {})
        members[number] = None if number in said else samples
        if len(members) == min(GROUP, self.count - group * GROUP):
            del self.waiting[group]
            sounds = {own: members[own] for own in sorted(members) if members[own] is not None}
            found = self.predictor([one for one in sounds.values() if one is not None]) if sounds else []
            said |= dict(zip(sounds, found, strict=True))
        return said
