"""Measures how fast shards are read: rows of wav2vec 2.0 and of SSAM, by 0, 1 and 2 workers; and by WebDataset.

``python benchmarks/loader.py [--data SHARDS] [--seconds 10] [--json FILE]``

In this process, on one thread, our loader and WebDataset's do the same work: read, decode, crop to one length, batch.
Ours also plans the epoch, groups lengths, joins short clips and draws masks and negatives; the time for this is
included. Workers are timed twice: first, batches are taken as fast as they come; then, a stand-in for a step takes
``--step`` seconds per micro-batch without using the CPU, as if a GPU computed, and the share of the time spent waiting
for batches is measured. SSAM's rows are read whole and, if the folder has a table (``nonverbal prepare --log-mel``),
as two seconds. Without ``--data``, synthetic vocal sounds of 10 s are made and prepared first.
"""

import argparse
import io
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import webdataset

from nonverbal.batch import TargetSampler
from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.data.log_mel import spectra, write_log_mel
from nonverbal.objectives.contrastive import ContrastiveTargetSampler
from nonverbal.objectives.reconstruction import PatchSampler

ROUNDS = 3

WORKERS, MICRO_BATCHES = (0, 1, 2), (1, 8)
"""Numbers of processes that read ahead, and of micro-batches per step."""

AUDIO = 80.0
"""Seconds of audio in a micro-batch."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of shards; figures' names assume clips of 10 s")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each measurement runs")
    parser.add_argument("--step", type=float, default=0.05, help="seconds of the stand-in per micro-batch")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        shards = open_shards(arguments.data) if arguments.data else synthetic_shards(Path(scratch))
        figures = measure(shards, arguments.seconds, arguments.step)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(shards: ShardFolder, seconds: float, step: float) -> dict[str, Any]:
    """Time all in turn, in several rounds, so that other load on the machine affects all; return medians."""
    rows = kinds(shards)
    rounds: dict[str, list[tuple[float, ...]]] = {}
    for _ in range(ROUNDS):
        rounds.setdefault("webdataset", []).append(rate(theirs(shards), seconds))
        for (name, data), workers in itertools.product(rows.items(), WORKERS):
            rounds.setdefault(f"{name}, {workers} workers", []).append(rate(ours(data(workers, 1)), seconds))
        for (name, data), count in itertools.product(rows.items(), MICRO_BATCHES):
            label = f"{name}, 1 worker, {count} a step"
            rounds.setdefault(label, []).append((waiting(data(1, count), count, seconds, step),))
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in rounds.items()
    }
    named = (("waiting",), ("clips_per_second", "audio_seconds_per_second"))
    return {name: dict(zip(named[len(found) - 1], found, strict=True)) for name, found in medians.items()}


def kinds(shards: ShardFolder) -> dict[str, Callable[[int, int], ShardData]]:
    """Return, by kind of rows, a function of (workers, micro-batches per step) that makes their batches."""
    contrastive, patches = ContrastiveTargetSampler(), PatchSampler(0.5, "masked")
    ssam = {"batch_rows": 8, "short": "tile", "fit": "pad"}

    def of(sampler: TargetSampler, **settings: Any) -> Callable[[int, int], ShardData]:
        def data(workers: int, micro_batches: int) -> ShardData:
            batches = BatchSettings(batch_seconds=AUDIO, batches_per_step=micro_batches, **settings)
            return ShardData([shards], batches, sampler, seed=0, workers=workers)

        return data

    rows = {
        "wav2vec 2.0, 10 s": of(contrastive),
        "wav2vec 2.0, 2 s": of(contrastive, max_seconds=2.0),
        "SSAM, whole rows": of(patches, **ssam),
    }
    found = spectra([shards])
    return rows | ({"SSAM, two seconds": of(found.sampler(patches), **ssam)} if found.tables else {})


def rate(batches: Iterator[tuple[int, int]], seconds: float) -> tuple[float, float]:
    """Return clips and seconds of audio per second; ``batches`` are rows and samples, the first is not counted."""
    next(batches)
    started = time.perf_counter()
    rows = samples = 0
    for own_rows, own_samples in batches:
        rows, samples = rows + own_rows, samples + own_samples
        if time.perf_counter() - started > seconds:
            break
    passed = time.perf_counter() - started
    return rows / passed, samples / SAMPLE_RATE / passed


def waiting(data: ShardData, micro_batches: int, seconds: float, step: float) -> float:
    """Return the share of the time for which steps wait for their batches, which they take before they begin."""
    batches = iter(data.training(range(10**9), 0, 0, 0, 1))
    waited, began = 0.0, time.perf_counter()
    for number in itertools.count():
        if number == 2:
            # In the first steps, the queue fills.
            waited, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        for _ in range(micro_batches):
            next(batches)
        waited += time.perf_counter() - asked
        time.sleep(step * micro_batches)
        if number > 2 and time.perf_counter() - began > seconds:
            break
    return waited / (time.perf_counter() - began)


def ours(data: ShardData) -> Iterator[tuple[int, int]]:
    """Yield rows and samples of planned batches with their targets, as the model gets them."""
    for batch in data.training(range(10**9), 0, 0, 0, 1):
        batch.to(torch.device("cpu"))
        yield len(batch.lengths), int(batch.lengths.sum())


def theirs(shards: ShardFolder) -> Iterator[tuple[int, int]]:
    """Yield rows and samples of WebDataset's batches: shuffled, decoded by soundfile, cropped to the shortest clip."""
    urls = [str(shards.folder / shard["name"]) for shard in shards.shards if shard["split"] == "train"]
    for epoch in itertools.count():
        clips = webdataset.WebDataset(urls, shardshuffle=False, seed=epoch).shuffle(200, seed=epoch)
        batch: list[np.ndarray] = []
        for clip in clips:
            samples, _ = soundfile.read(io.BytesIO(clip["flac"]), dtype="float32")
            batch.append(samples)
            shortest = min(len(row) for row in batch)
            if len(batch) * shortest >= AUDIO * SAMPLE_RATE or len(batch) == 64:
                rows = torch.from_numpy(np.stack([row[:shortest] for row in batch]))
                yield len(rows), rows.numel()
                batch = []


def synthetic_shards(folder: Path) -> ShardFolder:
    """Prepare a few hundred clips of 10 s of synthetic vocal sounds, with their table."""
    from nonverbal.data.preparing.prepare import prepare
    from nonverbal.data.preparing.settings import PrepareConfig, Source
    from nonverbal.data.synthetic import CLASSES, vocal_sound

    (folder / "sounds").mkdir()
    for number in range(200):
        sounds = [vocal_sound(kind, speaker=number % 16, take=number, seed=0) for kind in CLASSES]
        clip = np.resize(np.concatenate(sounds), 10 * SAMPLE_RATE)
        soundfile.write(folder / "sounds" / f"{number}.wav", clip, SAMPLE_RATE)
    config = PrepareConfig(corpora={"synthetic": Source(folder=folder / "sounds")}, out=folder / "shards")
    shards = prepare(config)
    write_log_mel(shards.folder, config.processes)
    return shards


if __name__ == "__main__":
    main()
