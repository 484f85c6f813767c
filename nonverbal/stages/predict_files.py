"""Predictions of a classifier for recordings: for whole files, or for windows of long ones."""

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
"""Number of recordings from which batches are formed together. Groups depend only on the order of recordings, so
repeating a call gives bitwise the same results."""

LONG = 160 * SAMPLE_RATE
"""A recording with more samples than this is a group of its own, so that a group never needs much memory."""

GPU_SECONDS = 160.0
"""Largest amount of audio in a batch on a GPU, with padding. A CPU gains little from batches: one window in each."""


@dataclass(frozen=True)
class Said:
    """The prediction of a classifier for a stretch of a recording."""

    start: float
    """Seconds."""
    end: float
    probabilities: np.ndarray
    """``(classes,)`` float64, with sum one."""


@dataclass(frozen=True)
class Spans:
    """Which stretches of a recording get a prediction each."""

    window: int
    """Samples, at least 1."""
    hop: int
    """Samples from the start of one to the start of the next, at least 1 and at most ``window``."""

    def of(self, samples: int) -> list[slice]:
        """Return the stretches of a recording. The last one ends with the recording; a short recording is one."""
        count = max(-(-(samples - self.window) // self.hop), 0) + 1
        starts = [min(number * self.hop, max(samples - self.window, 0)) for number in range(count)]
        return [slice(start, min(start + self.window, samples)) for start in starts]


class Predictor:
    """Predicts classes of recordings as in the test of a fold: in float32, averaged over the windows of long ones."""

    def __init__(self, classifier: ClassificationObjective, limits: RowLimits, spans: Spans | None) -> None:
        """Take a classifier.

        Args:
            classifier: is already on the device on which it is to run.
            limits: of the classifier's input. Longer stretches are cut into equal windows.
            spans: the stretches of a recording that get a prediction each; None for the whole recording.
        """
        self.classifier, self.spans = classifier, spans
        self.limits = replace(limits, first=False)
        on_gpu = next(classifier.parameters()).device.type == "cuda"
        self.batch_seconds = GPU_SECONDS if on_gpu else 0.0
        self.batching = batching_of(classifier.encoder.model.config)

    def __call__(self, recordings: Sequence[np.ndarray]) -> list[list[Said]]:
        """Return predictions for recordings, ``(T,)`` int16 at 16 kHz, T at least 1: one ``Said`` per stretch."""
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
        """Return the logits of stretches: the mean over their windows, weighted by frames as in the classifier."""
        frames = np.asarray(self.classifier.encoder.frames(lengths), dtype=np.float64)
        sums = np.zeros((count, logits.shape[1]))
        np.add.at(sums, stretch, logits * frames[:, None])
        return sums / np.bincount(stretch, frames, count)[:, None]


def _batch(places: list[int], windows: list[np.ndarray], lengths: np.ndarray) -> Batch:
    """Return a batch in which each window is a clip of its own."""
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
    """Decode recordings in several processes and yield, in order, the predictions, or why a file cannot be read.

    Raises:
        UserError: a process was killed, the machine cannot read a file, or the classifier's output is not finite.
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
        """Samples by group and by number among all recordings; None if the result is known already."""

    def add(self, heard: Heard) -> dict[int, list[Said] | str]:
        """Add a recording. Returns the results that are now complete, by the recordings' numbers."""
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
