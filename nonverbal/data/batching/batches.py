"""Turns requests into batches, which are read ahead."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from torch.utils.data import Dataset

from nonverbal.batch import Batch, TargetSampler
from nonverbal.data.batching.epochs import BatchSettings, ClipTable, clip_table, share, training_epoch, validation_epoch
from nonverbal.data.batching.micro_batches import Epoch, MicroBatch
from nonverbal.data.batching.planned import PlannedData
from nonverbal.data.batching.requests import Request
from nonverbal.data.batching.rows import row_id, row_samples, rows_of
from nonverbal.data.index import SAMPLE_RATE, ShardFolder
from nonverbal.data.manifest import read_manifest
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator


class ShardDataset(Dataset[Batch]):
    """Reads the clips of a ``Request`` from their shards, crops them, and draws their targets."""

    def __init__(self, folders: list[ShardFolder], table: ClipTable, sampler: TargetSampler, seed: int) -> None:
        self.folders, self.table, self.sampler, self.seed = folders, table, sampler, seed

    def __getitem__(self, request: Request[MicroBatch]) -> Batch:
        """Return the batch of a request; a function of the request, the seed and the shards."""
        place = (request.step, request.position)
        crops = generator(self.seed, Stream.CROP, *place).random(len(request.micro_batch.clips))
        if request.corpus is not None:
            crops[:] = 0.5
        rows = rows_of(request.micro_batch, self.table, crops)
        targets = self.sampler(rows, generator(self.seed, Stream.TARGETS, *place))
        waveforms = np.zeros((len(rows.lengths), self.sampler.width(rows.lengths)), dtype=np.int16)
        real = 0
        for i, (pieces, length) in enumerate(zip(rows.pieces, rows.lengths.tolist(), strict=True)):
            part, reflected = self.sampler.excerpt(length, targets, i)
            row = row_samples(self.folders, pieces, length, part)
            if any(reflected):
                row = np.pad(row, reflected, "reflect")
            waveforms[i, : len(row)] = row
            real += min(length, sum(piece.stop - piece.start for piece in pieces))
        ids = [row_id(self.folders, pieces) for pieces in rows.pieces]
        return request.batch(waveforms, rows.lengths, ids, targets, self.seed, real)

    def size(self, lengths: np.ndarray) -> int:
        """Return the bytes of a batch of rows of ``lengths`` samples: waveforms, int64 lengths and targets.

        The targets are drawn for rows of the first clip, whose audio is not read.
        """
        lengths = lengths.astype(np.int64)
        of_the_first = MicroBatch([np.zeros(1, dtype=np.int64)] * len(lengths), lengths)
        rows = rows_of(of_the_first, self.table, np.zeros(len(lengths)))
        targets = self.sampler(rows, generator(self.seed, Stream.TARGETS, 0, 0))
        of_a_row = 2 * self.sampler.width(lengths) + 8
        return len(lengths) * of_a_row + sum(tensor.nbytes for tensor in targets.tensors.values())


class ShardData(PlannedData[MicroBatch]):
    """The batches of one or several shard folders, for a trainer.

    Args:
        folders: of shards.
        settings: how clips become micro-batches.
        sampler: draws the targets.
        seed: of the run.
        workers: number of processes that read ahead; 0 to read in this one.
        timeout: seconds to wait for a batch.
        contents: name to SHA-256 of what the sampler uses besides the shards, such as a folder of units.
        note: end of the text that ``describe`` returns.

    Raises:
        UserError: there is nothing to train on, or folders disagree on the split.
    """

    def __init__(
        self,
        folders: list[ShardFolder],
        settings: BatchSettings,
        sampler: TargetSampler,
        seed: int,
        workers: int,
        timeout: float = 600.0,
        contents: Mapping[str, str] = MappingProxyType({}),
        note: str = "",
    ) -> None:
        # Folder to the SHA-256 of its index, which identifies the content of the batches.
        self.contents = {str(folder.folder): folder.sha256 for folder in folders} | dict(contents)
        self.note = note
        self.table, self.validation_table = tables(folders)
        self.settings, self.seed = settings, seed
        self.dataset = ShardDataset(folders, self.table, sampler, seed)
        validation = validation_requests(self.validation_table, settings, seed)
        of_validation = ShardDataset(folders, self.validation_table, sampler, seed)
        super().__init__(self.dataset, of_validation, validation, settings.batches_per_step, workers, timeout)

    def describe(self) -> str:
        """Return a description of a pass over the data: clips, hours, and what happens to them."""
        batches = training_epoch(self.table, self.settings, self.seed, 0)
        shares = share(batches, self.table)
        hours = [table.samples.sum() / SAMPLE_RATE / 3600 for table in (self.table, self.validation_table)]
        return (
            f"train: {len(self.table.samples)} clips, {hours[0]:.2f} h of {', '.join(self.table.corpora)}; "
            f"{len(batches)} micro-batches a pass, {len(batches) / self.batches_per_step:.1f} steps; "
            f"of the audio {shares.cropped:.1%} is cropped away, {shares.repeated:.1%} repeated, "
            f"{shares.padded:.1%} of the batches is padding\n"
            f"validation: {len(self.validation_table.samples)} clips, {hours[1]:.2f} h"
            + (f"\n{self.note}" if self.note else "")
        )

    def plan(self, epoch: int) -> Epoch:
        """Return the micro-batches of an epoch."""
        return training_epoch(self.table, self.settings, self.seed, epoch)

    def largest(self) -> int:
        """Return the bytes of the largest micro-batch that the settings allow: many short rows, or few long ones."""
        budget = self.settings.batch_seconds * SAMPLE_RATE
        sizes = []
        for seconds in (self.settings.min_seconds, self.settings.max_seconds):
            length = round(seconds * SAMPLE_RATE)
            rows = min(int(budget) // length, self.settings.batch_rows or int(budget))
            sizes.append(self.dataset.size(np.full(rows, length)))
        return max(sizes)


def validation_requests(table: ClipTable, settings: BatchSettings, seed: int) -> list[Request[MicroBatch]]:
    """Return the requests of a validation pass, always the same: fixed crops, fixed targets."""
    batches = validation_epoch(table, settings, seed)
    return [Request(batch, 0, number, corpus) for number, (corpus, batch) in enumerate(batches)]


def tables(folders: list[ShardFolder]) -> tuple[ClipTable, ClipTable]:
    """Return the clips of the train and of the validation split.

    Raises:
        UserError: there is nothing to train on, or a group is in training in one folder and in validation in another.
    """
    train, validation = clip_table(folders, "train"), clip_table(folders, "validation")
    if not len(train.samples):
        raise UserError(f"{', '.join(str(f.folder) for f in folders) or 'data'}: no clips to train on")
    _refuse_leaks(folders)
    return train, validation


def _refuse_leaks(folders: list[ShardFolder]) -> None:
    """Refuse a group on different sides in different folders; a folder keeps only its own splits apart."""
    if len(folders) < 2:
        return
    seen: dict[str, tuple[str, ShardFolder]] = {}
    for folder in folders:
        # Each clip is in one split, so any of its parts shows which.
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
