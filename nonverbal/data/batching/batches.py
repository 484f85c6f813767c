"""From micro-batches of the plan to batches: which are read, in what order, and what each holds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from nonverbal.batch import Batch, TargetSampler
from nonverbal.data.batching.epochs import (
    BatchSettings,
    ClipTable,
    clip_table,
    share,
    stream,
    training_epoch,
    validation_epoch,
)
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.read_ahead import LEAST_AHEAD, check_shared_memory, micro_batches_ahead, read_ahead
from nonverbal.data.batching.units import UnitFolder, Units, frame_at, frame_count, frame_places
from nonverbal.data.index import SAMPLE_RATE, ShardFolder
from nonverbal.data.log_mel import EXCERPT, TABLE, LogMel, Spectra, excerpt_of, of_all
from nonverbal.data.manifest import read_manifest
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator


@dataclass(frozen=True)
class Request:
    """One micro-batch to be read: what the sampler hands to the data workers."""

    micro_batch: MicroBatch
    step: int
    position: int
    """Number of the micro-batch in its step."""
    corpus: str | None = None
    """In validation, the corpus of the batch; crops are then central, not random."""
    after: tuple[int, int] = (0, 0)
    """In training, the (epoch, micro-batch) at which the stream goes on after the step."""


class ShardDataset(Dataset[Batch]):
    """Reads the clips of a ``Request`` from their shards, crops them, and draws their targets."""

    def __init__(
        self,
        folders: list[ShardFolder],
        table: ClipTable,
        sampler: TargetSampler,
        seed: int,
        units: list[Units] | None = None,
        log_mel: list[LogMel] | None = None,
    ) -> None:
        self.folders = folders
        self.table = table
        self.sampler = sampler
        self.seed = seed
        self.units = units
        self.log_mel = log_mel

    def __getitem__(self, request: Request) -> Batch:
        """Return the batch of a request; a function of the request, the seed and the shards."""
        micro_batch, place = request.micro_batch, (request.step, request.position)
        crops = generator(self.seed, Stream.CROP, *place).random(len(micro_batch.clips))
        if request.corpus is not None:
            crops[:] = 0.5
        targets = self.sampler(micro_batch.lengths, generator(self.seed, Stream.TARGETS, *place))
        if self.units is not None:
            targets.tensors["units"] = torch.from_numpy(self._units(micro_batch, crops))
        if self.log_mel is not None:
            targets.tensors |= self._statistics(micro_batch)
        waveforms = np.zeros((len(micro_batch.clips), self._width(micro_batch.lengths)), dtype=np.int16)
        real = 0
        for i, (clips, length) in enumerate(zip(micro_batch.clips, micro_batch.lengths.tolist(), strict=True)):
            if self.log_mel is None:
                row = self._read(clips, float(crops[i]), length, slice(0, length))
            else:
                part, reflected = excerpt_of(length, int(targets.tensors["starts"][i]))
                row = np.pad(self._read(clips, float(crops[i]), length, part), reflected, "reflect")
            waveforms[i, : len(row)] = row
            real += min(length, int(self.table.samples[clips].sum()))
        return Batch(
            waveforms=torch.from_numpy(waveforms),
            lengths=torch.from_numpy(micro_batch.lengths.astype(np.int64)),
            ids=["+".join(self._name(clip) for clip in clips) for clips in micro_batch.clips],
            targets=targets,
            seed=self.seed,
            step=request.step,
            position=request.position,
            padded=bool((micro_batch.lengths < waveforms.shape[1]).any()),
            real_samples=real,
            corpus=request.corpus,
            after=request.after,
        )

    def size(self, lengths: np.ndarray) -> int:
        """Return the bytes of a batch of rows of ``lengths`` samples: waveforms, int64 lengths and targets."""
        targets = self.sampler(lengths, generator(self.seed, Stream.TARGETS, 0, 0))
        of_a_row = 2 * self._width(lengths) + 8
        if self.units is not None:
            # int64, as in _units
            of_a_row += 8 * frame_count(int(lengths.max()))
        if self.log_mel is not None:
            # Mean and deviation, float32, as in _statistics
            of_a_row += 2 * 4
        return len(lengths) * of_a_row + sum(tensor.nbytes for tensor in targets.tensors.values())

    def _width(self, lengths: np.ndarray) -> int:
        return int(lengths.max()) if self.log_mel is None else EXCERPT

    def _read(self, clips: np.ndarray, crop: float, length: int, part: slice) -> np.ndarray:
        """Return ``part`` of a row of ``length``: clips joined, cropped at the share ``crop`` of what is too much.

        Clips that are too short together are repeated.
        """
        ends, first = self._cut(clips, crop, length)
        if int(ends[-1]) < length:
            return np.resize(self._joined(clips, ends, 0, int(ends[-1])), length)[part]
        return self._joined(clips, ends, first + part.start, first + part.stop)

    def _joined(self, clips: np.ndarray, ends: np.ndarray, first: int, last: int) -> np.ndarray:
        """Return samples ``first`` to ``last`` of clips that are joined and end at ``ends``, int16."""
        out = np.empty(last - first, dtype=np.int16)
        for clip, end in zip(clips, ends, strict=True):
            begin = int(end) - int(self.table.samples[clip])
            start, stop = max(first, begin), min(last, int(end))
            if start < stop:
                folder = self.folders[self.table.folder[clip]]
                row = int(self.table.row[clip])
                out[start - first : stop - first] = folder.read(row, start - begin, stop - begin, "int16")
        return out

    def _cut(self, clips: np.ndarray, crop: float, length: int) -> tuple[np.ndarray, int]:
        """Return where each of the joined clips ends, and the first sample of the crop."""
        ends = np.cumsum(self.table.samples[clips])
        return ends, int(crop * (max(int(ends[-1]) - length, 0) + 1))

    def _units(self, micro_batch: MicroBatch, crops: np.ndarray) -> np.ndarray:
        """Return the unit of each frame, ``(N, S)`` int64: that of the sample in its middle."""
        assert self.units is not None
        units = np.zeros((len(micro_batch.clips), frame_count(int(micro_batch.lengths.max()))), dtype=np.int64)
        for i, (clips, length) in enumerate(zip(micro_batch.clips, micro_batch.lengths, strict=True)):
            ends, first = self._cut(clips, float(crops[i]), int(length))
            places = frame_places(frame_count(int(length)))
            # As in _read: what is too short is repeated.
            places = first + places % (min(first + int(length), int(ends[-1])) - first)
            which = np.searchsorted(ends, places, side="right")
            for j, clip in enumerate(clips):
                own = self.units[self.table.folder[clip]].of(int(self.table.row[clip]))
                here = np.flatnonzero(which == j)
                begin = int(ends[j]) - int(self.table.samples[clip])
                units[i, here] = own[frame_at(places[here] - begin, len(own))]
        return units

    def _statistics(self, micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Return ``mean`` and ``deviation``, ``(N,)`` float32, of the log-mel spectrogram of each row's whole clips."""
        assert self.log_mel is not None
        rows = []
        for clips in micro_batch.clips:
            values = [self.log_mel[self.table.folder[clip]].values[self.table.row[clip]] for clip in clips]
            rows.append(of_all(np.stack(values), self.table.samples[clips]))
        both = torch.tensor(rows, dtype=torch.float32)
        return {"mean": both[:, 0].clone(), "deviation": both[:, 1].clone()}

    def _name(self, clip: int) -> str:
        return f"{self.folders[self.table.folder[clip]].folder.name}:{self.table.row[clip]}"


class TrainingRequests:
    """The sampler: the endless stream of this process's micro-batches, from a position on.

    Step s takes the next ``batches_per_step`` micro-batches of the stream, whatever the number of processes;
    process r of n takes those whose position in the step is r, r + n, r + 2n, ...
    """

    def __init__(
        self,
        table: ClipTable,
        settings: BatchSettings,
        seed: int,
        steps: range,
        epoch: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.arguments = (table, settings, seed, epoch, batch)
        self.steps = steps
        self.per_step = settings.batches_per_step
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return len(self.steps) * len(range(self.rank, self.per_step, self.world))

    def __iter__(self) -> Iterator[Request]:
        batches = stream(*self.arguments)
        for step in self.steps:
            step_batches = [next(batches) for _ in range(self.per_step)]
            epoch, number, _ = step_batches[-1]
            for position in range(self.rank, self.per_step, self.world):
                yield Request(step_batches[position][2], step, position, after=(epoch, number + 1))


def validation_requests(table: ClipTable, settings: BatchSettings, seed: int) -> list[Request]:
    """Return the requests of a validation pass, always the same: fixed crops, fixed targets."""
    batches = validation_epoch(table, settings, seed)
    return [Request(batch, 0, number, corpus) for number, (corpus, batch) in enumerate(batches)]


class ShardData:
    """The batches of one or several shard folders, for a trainer."""

    def __init__(
        self,
        folders: list[ShardFolder],
        settings: BatchSettings,
        sampler: TargetSampler,
        seed: int,
        workers: int,
        timeout: float = 600.0,
        units: UnitFolder | None = None,
        spectra: Spectra | None = None,
    ) -> None:
        of_folders = None if units is None else [units.units(folder) for folder in folders]
        # Folder to the SHA-256 of its index: names what the batches hold.
        self.contents = {str(folder.folder): folder.sha256 for folder in folders}
        if units is not None:
            self.contents[str(units.folder)] = units.sha256
        self.note = "" if spectra is None else f"\n{spectra.note}"
        log_mel = None if spectra is None else spectra.tables
        if log_mel is not None:
            self.contents |= {str(f.folder / TABLE): t.sha256 for f, t in zip(folders, log_mel, strict=True)}
        self.table, self.validation_table = tables(folders)
        self.settings, self.seed, self.workers, self.timeout = settings, seed, workers, timeout
        self.batches_per_step = settings.batches_per_step
        self.dataset = ShardDataset(folders, self.table, sampler, seed, of_folders, log_mel)
        self.validation_dataset = ShardDataset(folders, self.validation_table, sampler, seed, of_folders, log_mel)
        self.validation_requests = validation_requests(self.validation_table, settings, seed)

    def describe(self) -> str:
        """Return what a pass over the data holds, as text: clips, hours, and what becomes of them."""
        batches = training_epoch(self.table, self.settings, self.seed, 0)
        shares = share(batches, self.table)
        hours = [table.samples.sum() / SAMPLE_RATE / 3600 for table in (self.table, self.validation_table)]
        return (
            f"train: {len(self.table.samples)} clips, {hours[0]:.2f} h of {', '.join(self.table.corpora)}; "
            f"{len(batches)} micro-batches a pass, {len(batches) / self.batches_per_step:.1f} steps; "
            f"of the audio {shares.cropped:.1%} is cropped away, {shares.repeated:.1%} repeated, "
            f"{shares.padded:.1%} of the batches is padding\n"
            f"validation: {len(self.validation_table.samples)} clips, {hours[1]:.2f} h"
            f"{self.note}"
        )

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> Iterator[Batch]:
        """Return process ``rank``'s batches of ``steps``, from micro-batch ``batch`` of ``epoch`` on.

        Workers start when the first batch is asked for.

        Raises:
            UserError: what is read ahead does not fit in shared memory.
        """
        requests = TrainingRequests(self.table, self.settings, self.seed, steps, epoch, batch, rank, world)
        of_a_step, ahead = len(range(rank, self.batches_per_step, world)), LEAST_AHEAD
        if self.workers:
            ahead = micro_batches_ahead(of_a_step, self.workers)
            # Besides: validation's, which also reads ahead; and, unless they are copied to pinned memory, those of a
            # step while the next ones are taken, or in validation one and the next.
            held = 0 if torch.cuda.is_available() else of_a_step + max(of_a_step, 2)
            in_workers = self.workers * (ahead + LEAST_AHEAD)
            check_shared_memory((in_workers + held) * self._largest())
        return read_ahead(self.dataset, requests, self.workers, self.timeout, ahead)

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return process ``rank``'s batches of a validation pass."""
        return read_ahead(self.validation_dataset, self.validation_requests[rank::world], self.workers, self.timeout)

    def _largest(self) -> int:
        """Return the bytes of the largest micro-batch that the settings allow: many short rows, or few long ones."""
        budget = self.settings.batch_seconds * SAMPLE_RATE
        sizes = []
        for seconds in (self.settings.min_seconds, self.settings.max_seconds):
            length = round(seconds * SAMPLE_RATE)
            rows = min(int(budget) // length, self.settings.batch_rows or int(budget))
            sizes.append(self.dataset.size(np.full(rows, length)))
        return max(sizes)


def tables(folders: list[ShardFolder]) -> tuple[ClipTable, ClipTable]:
    """Return the clips of the train and of the validation split.

    Raises:
        UserError: nothing to train on, or a group that is in training in one folder and in validation in another.
    """
    train, validation = clip_table(folders, "train"), clip_table(folders, "validation")
    if not len(train.samples):
        raise UserError(f"{', '.join(str(f.folder) for f in folders) or 'data'}: no clips to train on")
    _refuse_leaks(folders)
    return train, validation


def _refuse_leaks(folders: list[ShardFolder]) -> None:
    """Each folder keeps its own splits apart; folders prepared one by one need not agree with each other."""
    if len(folders) < 2:
        return
    seen: dict[str, tuple[str, ShardFolder]] = {}
    for folder in folders:
        # Each clip is in one split, so any of its parts tells which.
        shard_of = np.zeros(int(folder.table["clip"].max(initial=0)) + 1, dtype=np.int64)
        shard_of[folder.table["clip"]] = folder.table["shard"]
        splits = {split: (split, folder) for split in ("train", "validation")}
        # Row by row: the clips of a large folder take a kilobyte each.
        for clip, shard in zip(read_manifest(folder.folder / "manifest.jsonl"), shard_of.tolist(), strict=True):
            split = folder.shards[shard]["split"]
            for key in (f"audio {clip.sha256}", f"recording {clip.recording}", f"speaker {clip.speaker}"):
                other, where = seen.setdefault(key, splits[split])
                if other != split and key != "speaker None":
                    raise UserError(
                        f"{key} is in {other} in {where.folder} and in {split} in {folder.folder}; "
                        "prepare the corpora together, so that they are split together"
                    )
