"""Plans an epoch: which clips go together, how long, and in which order. Pure functions; no audio is read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from nonverbal.data.batching.micro_batches import Epoch, EpochRows, MicroBatch, concatenated
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, Split
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator

GRID = SAMPLE_RATE // 10
"""Lengths are multiples of 0.1 s, so that compilers and allocators see few shapes."""

WINDOW = 200_000
"""Number of clips shuffled at a time. Larger sets are shuffled in windows of whole shards, so that reads stay local."""


@dataclass(frozen=True)
class BatchSettings:
    """How clips become micro-batches, and micro-batches steps."""

    batch_seconds: float = 87.5
    """Most audio in a micro-batch (rows x longest row), in seconds. wav2vec 2.0 base: 1.4 M samples."""
    batch_rows: int | None = None
    """Largest number of rows in a micro-batch, for steps of a number of clips rather than of an amount of audio."""
    batches_per_step: int = 8
    """Number of micro-batches in a step, whatever the number of processes, which share them. wav2vec 2.0 base: 64."""
    max_seconds: float = 10.0
    """Longest row, in seconds; longer clips are cropped at random. wav2vec 2.0 base: 15.6."""
    min_seconds: float = 2.0
    """Shortest row, in seconds; shorter clips are treated as `short` says. wav2vec 2.0 base drops clips under 2 s."""
    short: Literal["join", "tile"] = "join"
    """Join clips under `min_seconds` with others of their corpus, or repeat them (tile). No paper states this."""
    fit: Literal["crop", "pad"] = "crop"
    """Crop the rows of a micro-batch to its shortest, or pad them to its longest."""
    max_ratio: float = 1.25
    """Largest ratio of the longest to the shortest row in a micro-batch, before cropping or padding."""
    weights: dict[str, float] = field(default_factory=dict)
    """How often each clip of a corpus is drawn in an epoch, by corpus; 1 if not given; 0 leaves a corpus out."""
    shares: dict[str, float] = field(default_factory=dict)
    """Share of all audio that comes from a corpus, by corpus, for example `librispeech: 0.2` to replay an encoder's
    earlier training data, so that it forgets less. The other corpora make up the rest; clips count up to
    `max_seconds`."""

    def __post_init__(self) -> None:
        """Refuse settings for which no plan exists."""
        _require(self.min_seconds >= 0.2, f"min_seconds must be at least 0.2, but is {self.min_seconds}")
        _require(
            self.max_seconds >= self.min_seconds,
            f"max_seconds must be at least min_seconds ({self.min_seconds}), but is {self.max_seconds}",
        )
        _require(
            int(self.batch_seconds * SAMPLE_RATE) >= _on_grid(self.max_seconds * SAMPLE_RATE),
            f"batch_seconds must hold one row of max_seconds ({self.max_seconds}), but is {self.batch_seconds}",
        )
        rows = self.batch_rows
        _require(rows is None or rows >= 1, f"batch_rows must be at least 1, but is {rows}")
        _require(self.batches_per_step >= 1, f"batches_per_step must be at least 1, but is {self.batches_per_step}")
        _require(self.max_ratio >= 1, f"max_ratio must be at least 1, but is {self.max_ratio}")
        for corpus, weight in self.weights.items():
            _require(weight >= 0, f"weights.{corpus} must be at least 0, but is {weight}")
        for corpus, share in self.shares.items():
            _require(0 < share < 1, f"shares.{corpus} must be above 0 and below 1, but is {share}")
            _require(corpus not in self.weights, f"{corpus} has a weight and a share; give one of the two")
        total = sum(self.shares.values())
        _require(total < 1, f"shares must leave something to the other corpora, but add up to {total:g}")


@dataclass(frozen=True)
class ClipTable:
    """What planning uses of the clips of a split, over one or several shard folders. All arrays are ``(clips,)``."""

    folder: np.ndarray
    """Number of the folder."""
    row: np.ndarray
    """Row of that folder's table."""
    shard: np.ndarray
    """Shard, numbered over all folders."""
    samples: np.ndarray
    """Length at 16 kHz."""
    corpus: np.ndarray
    """Index into ``corpora``."""
    corpora: list[str]


@dataclass(frozen=True)
class Share:
    """What a plan does to the audio, as shares of the seconds of the drawn clips."""

    cropped: float
    """Audio of drawn clips that no row contains."""
    repeated: float
    """Repetition added to clips too short to stand alone."""
    padded: float
    """Zeros added, as a share of the model's input."""


def clip_table(folders: list[ShardFolder], split: Split) -> ClipTable:
    """Gather the clips of ``split`` from one or several shard folders."""
    corpora = sorted({corpus for folder in folders for corpus in folder.corpora})
    columns: dict[str, list[np.ndarray]] = {key: [] for key in ("folder", "row", "shard", "samples", "corpus")}
    shards_before = 0
    for number, folder in enumerate(folders):
        rows = folder.rows(split)
        table = folder.table[rows]
        columns["folder"].append(np.full(len(rows), number, dtype=np.int32))
        columns["row"].append(rows)
        columns["shard"].append(table["shard"].astype(np.int64) + shards_before)
        columns["samples"].append(table["samples"].astype(np.int64))
        to_corpus = np.array([corpora.index(corpus) for corpus in folder.corpora], dtype=np.int64)
        columns["corpus"].append(to_corpus[table["corpus"]])
        shards_before += len(folder.shards)
    return ClipTable(**{key: np.concatenate(parts) for key, parts in columns.items()}, corpora=corpora)


def training_epoch(table: ClipTable, settings: BatchSettings, seed: int, epoch: int) -> Epoch:
    """Return the micro-batches of an epoch, in order: the same for the same arguments, on every machine.

    At weight 1, every clip is in the epoch exactly once. No micro-batch contains more than ``batch_seconds``.

    Raises:
        UserError: there are no clips, or a weight or share is given for a corpus that does not exist.
    """
    weights = corpus_weights(table, settings)[table.corpus]
    random = generator(seed, Stream.PLAN, epoch)
    parts: list[Epoch] = []
    for window in _windows(table, random):
        copies = np.floor(weights[window] + random.random(len(window))).astype(np.int64)
        drawn = random.permutation(np.repeat(window, copies))
        cut = _cut(_rows(drawn, table, settings), settings)
        order = random.permutation(len(cut))
        parts.append(Epoch(cut.rows, cut.starts[order], cut.stops[order]))
    if not any(len(part) for part in parts):
        raise UserError(f"epoch {epoch} drew no clips: {len(table.samples)} clips, weights {settings.weights}")
    return concatenated(parts)


def validation_epoch(table: ClipTable, settings: BatchSettings, seed: int) -> list[tuple[str, MicroBatch]]:
    """Return the (corpus, micro-batch) pairs of a validation pass: every clip once, each batch of one corpus."""
    unweighted = BatchSettings(**{**settings.__dict__, "weights": {}})
    batches = []
    for number, corpus in enumerate(table.corpora):
        chosen = np.flatnonzero(table.corpus == number)
        if len(chosen):
            drawn = generator(seed, Stream.PLAN, number).permutation(chosen)
            batches += [(corpus, batch) for batch in _cut(_rows(drawn, table, unweighted), unweighted)]
    return batches


def share(epoch: Epoch, table: ClipTable) -> Share:
    """Measure how much of the audio a plan crops away, repeats and pads."""
    rows = epoch.rows
    available = _added(table.samples[rows.clips], rows.ends)
    drawn, held = int(available.sum()), int(rows.lengths.sum())
    kept = int(np.minimum(available, rows.lengths).sum())
    through = int(((epoch.stops - epoch.starts) * rows.lengths[epoch.stops - 1]).sum())
    return Share(cropped=1 - kept / drawn, repeated=(held - kept) / drawn, padded=1 - held / through)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def corpus_weights(table: ClipTable, settings: BatchSettings) -> np.ndarray:
    """Return how often each clip of a corpus is drawn in an epoch, ``(corpora,)``, with shares converted to weights.

    Raises:
        UserError: a weight or share is given for a corpus that does not exist or, for a share, has no audio; or the
            other corpora have no audio.
    """
    for group, named in (("weights", settings.weights), ("shares", settings.shares)):
        for corpus in named:
            _require(
                corpus in table.corpora,
                f"{group} names the corpus {corpus!r}, but the shards hold {', '.join(table.corpora) or 'none'}",
            )
    weights = np.array([settings.weights.get(corpus, 1.0) for corpus in table.corpora])
    if not settings.shares or not len(table.samples):
        return weights
    audio = np.minimum(table.samples, settings.max_seconds * SAMPLE_RATE)
    held = np.bincount(table.corpus, weights=audio, minlength=len(table.corpora))
    shares = np.array([settings.shares.get(corpus, 0.0) for corpus in table.corpora])
    rest = float((held * weights)[shares == 0].sum())
    _require(rest > 0, "shares are shares of all audio, but the other corpora hold none")
    _require(bool((held[shares > 0] > 0).all()), "a corpus with a share has no clips to train on")
    # share / (1 - all shares) of the other corpora's audio, relative to the corpus's own
    return np.where(shares > 0, shares / (1 - shares.sum()) * rest / np.maximum(held, 1), weights)


def _windows(table: ClipTable, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the clips in windows of whole shards, with the shards in random order."""
    if len(table.samples) <= WINDOW:
        yield np.arange(len(table.samples))
        return
    rank = np.empty(int(table.shard.max()) + 1, dtype=np.int64)
    rank[random.permutation(len(rank))] = np.arange(len(rank))
    order = np.argsort(rank[table.shard], kind="stable")
    first_of_shard = np.flatnonzero(np.diff(rank[table.shard[order]], prepend=-1))
    start = 0
    while start < len(order):
        ends = first_of_shard[first_of_shard > start]
        reaching = ends[ends - start >= WINDOW]
        stop = int(reaching[0]) if len(reaching) else len(order)
        yield order[start:stop]
        start = stop


def _rows(drawn: np.ndarray, table: ClipTable, settings: BatchSettings) -> EpochRows:
    """Return the rows that clips make, before they are divided into batches."""
    shortest, longest = (_on_grid(seconds * SAMPLE_RATE) for seconds in (settings.min_seconds, settings.max_seconds))
    clips, counts = drawn, np.ones(len(drawn), dtype=np.int64)
    if settings.short == "join":
        is_short = table.samples[drawn] < shortest
        short = drawn[is_short]
        # By corpus, and within each in the order in which they were drawn.
        of_corpora = [short[table.corpus[short] == corpus] for corpus in range(len(table.corpora))]
        joined = [_joined(clips, table, shortest) for clips in of_corpora]
        clips = np.concatenate([drawn[~is_short], *(clips for clips, _ in joined)])
        counts = np.concatenate([counts[~is_short], *(counts for _, counts in joined)])
    ends = np.cumsum(counts)
    lengths = _added(table.samples[clips], ends)
    return EpochRows(clips, ends, np.clip(lengths // GRID * GRID, shortest, longest))


def _joined(clips: np.ndarray, table: ClipTable, shortest: int) -> tuple[np.ndarray, np.ndarray]:
    """Join short clips of a corpus until each row is long enough; the last row may stay short, and is repeated.

    Returns the clips, and the number of clips in each row.
    """
    heard = np.cumsum(table.samples[clips])
    before = heard - table.samples[clips]
    # For each clip: where a row that begins with it would end.
    after = np.searchsorted(heard, before + shortest, side="left") + 1
    ends = _chain(np.minimum(after, len(clips)))
    return clips, np.diff(ends, prepend=0)


def _cut(rows: EpochRows, settings: BatchSettings) -> Epoch:
    """Divide rows into micro-batches of similar lengths. Rows of the same length keep their random order."""
    # In steps of the grid, lengths fit into 16 bits, which numpy sorts in linear time.
    order = np.argsort((rows.lengths // GRID).astype(np.uint16), kind="stable")
    lengths = rows.lengths[order]
    # For each row: where a micro-batch that begins with it would end.
    after = np.searchsorted(lengths, settings.max_ratio * lengths, side="right")
    after = np.minimum(after, np.arange(len(lengths)) + (settings.batch_rows or len(lengths)))
    budget = int(settings.batch_seconds * SAMPLE_RATE)
    if settings.fit == "crop":
        stops = _chain(np.minimum(after, np.arange(len(lengths)) + budget // lengths))
    else:
        stops = padded_stops(lengths, np.ones_like(lengths), after, budget)
    starts = np.append(0, stops)[:-1]
    if settings.fit == "crop":
        lengths = np.repeat(lengths[starts], stops - starts)
    return Epoch(rows.take(order, lengths), starts, stops)


def padded_stops(lengths: np.ndarray, rows: np.ndarray, after: np.ndarray, budget: int) -> np.ndarray:
    """Return the ends of micro-batches whose rows x longest row are at most ``budget``, or that have a single item.

    Args:
        lengths: ``(items,)`` length of each item's rows, from short to long.
        rows: ``(items,)`` number of each item's rows, at least 1, which stay together.
        after: ``(items,)`` latest end of a micro-batch that begins with the item.
        budget: in samples.
    """
    stops, start = [], 0
    while start < len(lengths):
        # The items that would fit if all were as short as the first, and had one row.
        stop = min(int(after[start]), start + budget // int(lengths[start]))
        sizes = lengths[start:stop] * np.cumsum(rows[start:stop])
        start += max(int(np.searchsorted(sizes, budget, side="right")), 1)
        stops.append(start)
    return np.array(stops, dtype=np.int64)


def _chain(after: np.ndarray) -> np.ndarray:
    """Return the ends of consecutive stretches from 0 on, if a stretch from i ends at ``after[i]``."""
    stops, place, following = [], 0, after.tolist()
    while place < len(following):
        place = following[place]
        stops.append(place)
    return np.array(stops, dtype=np.int64)


def _added(values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Sum the stretches of ``values`` that end at ``ends``."""
    sums = np.append(0, np.cumsum(values))[np.append(0, ends)]
    added: np.ndarray = np.diff(sums)
    return added


def _on_grid(samples: float) -> int:
    return round(samples / GRID) * GRID
