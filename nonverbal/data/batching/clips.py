"""Batches of whole clips with their labels, for fine-tuning: each clip is alone in its row, once per epoch."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nonverbal.batch import Batch, Piece, Rows, Targets
from nonverbal.data.batching.augmentation import Augmentation
from nonverbal.data.batching.clip_plans import padding, training_plan, whole_plan
from nonverbal.data.batching.clip_rows import ClipRow, RowLimits, samples_of, sped_samples, whole_pieces
from nonverbal.data.batching.planned import PlannedData
from nonverbal.data.batching.read_ahead import read_ahead
from nonverbal.data.batching.requests import Request
from nonverbal.data.batching.rows import row_id, row_samples
from nonverbal.data.index import SAMPLE_RATE, ShardFolder
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator


@dataclass(frozen=True)
class ClipBatches:
    """How clips become micro-batches, and micro-batches steps."""

    batch_clips: int = 16
    """Clips per step. voc2vec: 16."""
    batches_per_step: int = 1
    """Number of micro-batches into which the clips of a step are divided, whatever the number of processes."""
    max_seconds: float = 10.0
    """Longest row, in seconds. Training uses a random stretch of this length from a longer clip; validation and testing
    average over equal windows."""
    by_length: bool = True
    """Batch clips of similar length, drawn anew each epoch, to reduce padding. If false, batch any clips, as in papers:
    length and class may be related."""
    pad_to: float | None = None
    """Length of every row, in seconds: shorter clips are padded with zeros, which count as sound, and only the
    beginning of longer ones is used, also in testing, as in voc2vec's code (7 s); `max_seconds` then has no effect.
    Unset: padding is masked."""

    def __post_init__(self) -> None:
        """Refuse settings for which no plan exists."""
        if self.batches_per_step < 1:
            raise UserError(f"batches.batches_per_step must be at least 1, but is {self.batches_per_step}")
        if self.batch_clips < self.batches_per_step:
            raise UserError(
                f"batches.batch_clips must be at least batches.batches_per_step ({self.batches_per_step}), which "
                f"divide them, but is {self.batch_clips}"
            )
        for name, seconds in (("max_seconds", self.max_seconds), ("pad_to", self.pad_to)):
            if seconds is not None and not (0 < seconds < math.inf):
                raise UserError(f"batches.{name} must be a number of seconds above 0, but is {seconds}")

    def limits(self, shortest: int, longest: float) -> RowLimits:
        """Return the allowed lengths of rows.

        Args:
            shortest: number of samples that the encoder needs.
            longest: longest input of the encoder, in seconds.

        Raises:
            UserError: the encoder cannot take rows of these settings.
        """
        name, asked = ("pad_to", self.pad_to) if self.pad_to is not None else ("max_seconds", self.max_seconds)
        if self.pad_to is not None and asked > longest:
            raise UserError(f"batches.pad_to is {asked:g} s, but the encoder takes at most {longest:g} s; lower it")
        samples = round(asked * SAMPLE_RATE)
        if longest < asked:
            samples = math.floor(longest * SAMPLE_RATE)
        if samples < shortest:
            raise UserError(
                f"batches.{name} is {asked:g} s, but the encoder needs {shortest / SAMPLE_RATE:g} s for its first "
                "frame; raise it"
            )
        return RowLimits(shortest if self.pad_to is None else samples, samples, first=self.pad_to is not None)

    def steps(self, clips: int) -> int:
        """Return the number of steps in an epoch of ``clips`` clips.

        Raises:
            UserError: there are fewer clips than micro-batches.
        """
        steps = -(-clips // self.batch_clips)
        if clips < steps * self.batches_per_step:
            raise UserError(
                f"{clips} clips to train on are fewer than the {steps} x {self.batches_per_step} micro-batches of an "
                "epoch; lower batches.batches_per_step, or raise batches.batch_clips to a multiple of it"
            )
        return steps


class ClipTargets(ABC):
    """What is to be predicted for clips. Contains only numbers and arrays, so that it can be sent to data workers."""

    @abstractmethod
    def __call__(self, clips: np.ndarray, rows: Rows, clip: np.ndarray, random: np.random.Generator | None) -> Targets:
        """Draw the targets of a micro-batch.

        Args:
            clips: ``(C,)`` int64, positions in the data's clips.
            rows: ``(N,)`` lengths; without pieces.
            clip: ``(N,)`` int64, to which of ``clips`` each row belongs; in training, each has one row, in the same
                order.
            random: from the seed and the micro-batch; None in validation and testing, where nothing may be drawn.

        Returns:
            Targets whose tensors have sizes that depend only on C and lengths; ``clip`` and ``places`` are added to
            them.
        """


class ClipDataset(Dataset[Batch]):
    """Reads the clips of a ``Request``, whose micro-batch consists of positions ``(C,)`` in the data's clips."""

    def __init__(
        self,
        shards: ShardFolder,
        pieces: list[list[Piece]],
        limits: RowLimits,
        targets: ClipTargets,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        """Take arguments as in ``ClipData``, and the pieces that each clip consists of."""
        self.shards, self.pieces, self.limits, self.targets = shards, pieces, limits, targets
        self.augmentation, self.seed = augmentation, seed

    def __getitem__(self, request: Request[np.ndarray]) -> Batch:
        """Return the batch of a request; a function of the request, the seed and the shards."""
        if request.corpus is not None:
            return self._whole(request)
        place, clips = (request.step, request.position), request.micro_batch
        random = generator(self.seed, Stream.AUGMENT, *place)
        changes = self.augmentation.draw(len(clips), random)
        crops = generator(self.seed, Stream.CROP, *place).random(len(clips))
        rows = [
            self.limits.row(self.pieces[clip], change.speed, crop)
            for clip, change, crop in zip(clips.tolist(), changes, crops.tolist(), strict=True)
        ]
        if not self.augmentation.is_on:
            return self._batch(request, rows, np.arange(len(rows)), [self._read(row) for row in rows])
        waveforms = [
            self.augmentation.changed(self._read(row), row.held, change, random)
            for row, change in zip(rows, changes, strict=True)
        ]
        return self._batch(request, rows, np.arange(len(rows)), waveforms)

    def size(self, lengths: np.ndarray) -> int:
        """Return the bytes of a training batch with rows of ``lengths`` samples, one per clip. No audio is read."""
        clips = np.zeros(len(lengths), dtype=np.int64)
        random = generator(self.seed, Stream.TARGETS, 0, 0)
        targets = self._targets(random, clips, lengths, np.arange(len(lengths)))
        a_sample = 4 if self.augmentation.is_on else 2
        of_a_row = a_sample * int(lengths.max()) + 8
        return len(lengths) * of_a_row + sum(tensor.nbytes for tensor in targets.tensors.values())

    def _whole(self, request: Request[np.ndarray]) -> Batch:
        windows = [self.limits.windows(self.pieces[clip]) for clip in request.micro_batch.tolist()]
        clip = np.repeat(np.arange(len(windows)), [len(own) for own in windows])
        rows = [row for own in windows for row in own]
        return self._batch(request, rows, clip, [self._read(row) for row in rows])

    def _batch(
        self, request: Request[np.ndarray], rows: list[ClipRow], clip: np.ndarray, waveforms: list[np.ndarray]
    ) -> Batch:
        lengths = np.array([row.length for row in rows], dtype=np.int64)
        padded = np.zeros((len(rows), int(lengths.max())), dtype=waveforms[0].dtype)
        for row, waveform in zip(padded, waveforms, strict=True):
            row[: len(waveform)] = waveform
        in_training = request.corpus is None
        random = generator(self.seed, Stream.TARGETS, request.step, request.position) if in_training else None
        targets = self._targets(random, request.micro_batch, lengths, clip)
        ids = [row_id([self.shards], row.pieces) for row in rows]
        return request.batch(padded, lengths, ids, targets, self.seed, sum(row.held for row in rows))

    def _targets(
        self, random: np.random.Generator | None, clips: np.ndarray, lengths: np.ndarray, clip: np.ndarray
    ) -> Targets:
        targets = self.targets(clips, Rows(lengths), clip, random)
        own: dict[str, Tensor] = {"clip": torch.from_numpy(clip), "places": torch.from_numpy(clips)}
        return replace(targets, tensors=targets.tensors | own)

    def _read(self, row: ClipRow) -> np.ndarray:
        count = samples_of(row.pieces)
        return row_samples([self.shards], row.pieces, count, slice(0, count))


class ClipData(PlannedData[np.ndarray]):
    """The batches of the clips of a task, for a trainer, and for testing the trained model.

    Besides those of the targets, a batch has the tensors ``clip`` ``(N,)`` int64, the number in the batch of the clip
    of which each row is a window, and ``places`` ``(C,)`` int64, the positions of its clips in ``clips``. Its ``count``
    is that of the targets.

    Args:
        shards: that contain the clips.
        clips: ``(clips,)`` rows of the manifest.
        train: positions in ``clips`` of the training clips.
        validation: positions of the validation clips; none of ``train``.
        targets: what is predicted.
        settings: how clips become micro-batches.
        augmentation: changes to training clips.
        seed: of the run.
        shortest: number of samples that the encoder needs for its first frame; shorter clips are padded with zeros.
        longest: longest input of the encoder, in seconds.
        workers: number of processes that read ahead; 0 to read in this one.
        timeout: seconds to wait for a batch.

    Raises:
        UserError: there are fewer clips than micro-batches, or the encoder cannot take the rows.
    """

    def __init__(
        self,
        shards: ShardFolder,
        clips: np.ndarray,
        train: np.ndarray,
        validation: np.ndarray,
        targets: ClipTargets,
        settings: ClipBatches,
        augmentation: Augmentation,
        seed: int,
        shortest: int,
        longest: float,
        workers: int,
        timeout: float = 600.0,
    ) -> None:
        assert not np.intersect1d(train, validation).size, "clips that are trained and validated on"
        # The folder to the SHA-256 of its index, which identifies the content of the batches.
        self.contents = {str(shards.folder): shards.sha256}
        self.shards, self.settings, self.seed = shards, settings, seed
        self.train, self.held_out = np.sort(train).astype(np.int64), np.sort(validation).astype(np.int64)
        self.limits = settings.limits(shortest, longest)
        self.steps_per_epoch = settings.steps(len(train))
        pieces = whole_pieces(shards, clips)
        assert all(pieces), "a clip of which the shards hold nothing"
        self.samples = np.array([samples_of(own) for own in pieces], dtype=np.int64)
        self.corpus = np.array([shards.table["corpus"][own[0].part] for own in pieces], dtype=np.int64)
        self.dataset = ClipDataset(shards, pieces, self.limits, targets, augmentation, seed)
        validation_requests = self.requests(self.held_out)
        per_step = settings.batches_per_step
        super().__init__(self.dataset, self.dataset, validation_requests, per_step, workers, timeout)

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Return the micro-batches of an epoch, each as positions ``(C,)`` in ``clips``, with every training clip once.

        Their number is ``steps_per_epoch`` times ``batches_per_step``.
        """
        assert len(self.train), "nothing to train on"
        random = generator(self.seed, Stream.PLAN, epoch)
        lengths = self.limits.lengths(self.samples[self.train])
        per_step = self.settings.batches_per_step
        cut = training_plan(lengths, self.steps_per_epoch, per_step, self.settings.by_length, random)
        return [self.train[clips] for clips in cut]

    def requests(self, clips: np.ndarray) -> list[Request[np.ndarray]]:
        """Return the requests of whole clips, ``(clips,)`` positions: each once, with all its windows in one batch.

        A batch has clips of one corpus, and at most about as many samples as a training batch, or a single clip.
        """
        budget = self._micro_clips * self.limits.longest
        found: list[Request[np.ndarray]] = []
        for number in np.unique(self.corpus[clips]).tolist():
            own = np.asarray(clips, dtype=np.int64)[self.corpus[clips] == number]
            lengths, rows = self._windows(own)
            for batch in whole_plan(lengths, rows, budget):
                found.append(Request(own[batch], 0, len(found), self.shards.corpora[number]))
        return found

    def batches(self, clips: np.ndarray, rank: int = 0, world: int = 1) -> Iterable[Batch]:
        """Return process ``rank``'s batches of whole clips, ``(clips,)`` positions, unchanged, for testing."""
        return read_ahead(self.dataset, self.requests(clips)[rank::world], self.workers, self.timeout)

    def largest(self) -> int:
        """Return the bytes of the largest micro-batch, in training or validation."""
        sizes = [0]
        if len(self.train):
            slowest = sped_samples(int(self.samples[self.train].max()), self.dataset.augmentation.slowest)
            longest = int(self.limits.lengths(np.array(slowest)))
            sizes.append(self.dataset.size(np.full(self._micro_clips, longest)))
        for request in self.validation_requests:
            lengths, rows = self._windows(request.micro_batch)
            sizes.append(self.dataset.size(np.repeat(lengths, rows)))
        return max(sizes)

    def describe(self) -> str:
        """Return a description of an epoch: clips, hours, steps, padding, and what is cropped and padded."""
        samples = self.samples[self.train]
        places = [np.searchsorted(self.train, clips) for clips in self.plan(0)] if len(samples) else []
        share = padding(self.limits.lengths(samples), places) if places else 0.0
        return (
            f"train: {self._told(self.train)}; {self.steps_per_epoch} steps an epoch of "
            f"{self.settings.batches_per_step} x at most {self._micro_clips} clips, {share:.1%} of it padding; "
            f"{self._cut_and_filled(samples)}\n"
            f"validation: {self._told(self.held_out)}; in {int(self._windows(self.held_out)[1].sum())} windows"
        )

    def _cut_and_filled(self, samples: np.ndarray) -> str:
        shortest, longest = self.limits.shortest, self.limits.longest
        over, under = samples[samples > longest], int((samples < shortest).sum())
        told = []
        if len(over):
            left_out = (int(over.sum()) - longest * len(over)) / SAMPLE_RATE
            what = "the beginning" if self.limits.first else "a random stretch"
            told.append(
                f"of {len(over)} clips over {longest / SAMPLE_RATE:g} s {what} is taken, {left_out:.1f} s of audio "
                "are left out of an epoch"
            )
        if under:
            told.append(f"{under} clips are filled with zeros to {shortest / SAMPLE_RATE:g} s, which count as sound")
        return "; ".join(told) or "no clip is cut or filled"

    @property
    def _micro_clips(self) -> int:
        """Largest number of clips in a micro-batch."""
        return -(-self.settings.batch_clips // self.settings.batches_per_step)

    def _told(self, clips: np.ndarray) -> str:
        names = ", ".join(self.shards.corpora[number] for number in np.unique(self.corpus[clips]))
        hours = self.samples[clips].sum() / SAMPLE_RATE / 3600
        return f"{len(clips)} clips, {hours:.2f} h" + (f" of {names}" if names else "")

    def _windows(self, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return for each clip the samples of its longest window's row, and the number of its windows."""
        cuts = [self.limits.cuts(samples) for samples in self.samples[clips].tolist()]
        lengths = [max(own[0].stop, self.limits.shortest) for own in cuts]
        return np.array(lengths, dtype=np.int64), np.array([len(own) for own in cuts], dtype=np.int64)
