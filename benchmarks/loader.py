"""How fast shards are read: rows of wav2vec 2.0 and of SSAM, by 0, 1 and 2 workers; and by WebDataset.

``python benchmarks/loader.py [--data SHARDS] [--seconds 10] [--json FILE]``

Read in this process, on one thread, ours and WebDataset's do the same work: read, decode, crop to one length, batch.
Ours also plans the epoch, groups lengths, joins short clips and draws masks and negatives; that is included. Workers
are timed twice: batches taken as fast as they come, and by a stand-in for a step, which takes ``--step`` seconds a
micro-batch without using the processor, as where a GPU computes; of that, the share of the time spent waiting counts.
SSAM's rows are read whole, and as two seconds where the folder has a table (``nonverbal prepare --log-mel``). Without
``--data``, synthetic vocal sounds of 10 s are made and prepared first.
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
"""Processes that read ahead, and micro-batches of a step."""

AUDIO = 80.0
"""Seconds in a micro-batch."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of shards, of clips of 10 s for the names to be true")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each measurement runs")
    parser.add_argument("--step", type=float, default=0.05, help="seconds that the stand-in takes a micro-batch")
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
    """Time all in turn, several rounds, so that a disturbance of the machine meets all; return medians."""
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
    """Return, by name, what makes the batches of some rows with (workers, micro-batches a step)."""
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
    """Return clips and seconds of audio a second; ``batches`` are rows and samples, of which the first do not count."""
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
    """Return the share of the time that steps wait for their batches, all of which they take before they begin."""
    batches = iter(data.training(range(10**9), 0, 0, 0, 1))
    waited, began = 0.0, time.perf_counter()
    for number in itertools.count():
        if number == 2:
            # The queue fills in the first steps.
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
    """Planned batches with their targets, as the model gets them."""
    for batch in data.training(range(10**9), 0, 0, 0, 1):
        batch.to(torch.device("cpu"))
        yield len(batch.lengths), int(batch.lengths.sum())


def theirs(shards: ShardFolder) -> Iterator[tuple[int, int]]:
    """WebDataset: shuffled, decoded by soundfile, cropped to the shortest of the batch."""
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
