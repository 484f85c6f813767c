"""Audio hours a second a core: this toolkit's planned batches against a WebDataset pipeline over the same shards.

``python benchmarks/loader.py [--data SHARDS] [--seconds 10] [--json FILE]``

Both run in one process on one thread and do the same work: read, decode, crop to one length, batch. Ours also plans
the epoch, groups lengths, joins short clips and draws masks and negatives; that is included. Without ``--data``,
synthetic vocal sounds are made and prepared first.
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

import numpy as np
import soundfile
import torch
import webdataset

from nonverbal.data.batches import ShardData
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.data.plan import BatchSettings
from nonverbal.objectives.contrastive import ContrastiveTargetSampler

ROUNDS = 5


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of shards")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each of the rounds runs")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        shards = open_shards(arguments.data) if arguments.data else synthetic_shards(Path(scratch))
        figures = measure(shards, arguments.seconds)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(shards: ShardFolder, seconds: float) -> dict[str, float]:
    """Time both in turn, several rounds, so that a disturbance of the machine meets both."""
    rates: dict[str, list[float]] = {"nonverbal": [], "webdataset": []}
    for _ in range(ROUNDS):
        rates["nonverbal"].append(rate(lambda: ours(shards), seconds))
        rates["webdataset"].append(rate(lambda: theirs(shards), seconds))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "hours_per_second_per_core": medians["nonverbal"],
        "webdataset_hours_per_second_per_core": medians["webdataset"],
        "ratio": statistics.median(a / b for a, b in zip(*rates.values(), strict=True)),
    }


def rate(batches: Callable[[], Iterator[int]], seconds: float) -> float:
    """Return hours of audio a second. ``batches`` yields the samples of each batch."""
    started = time.perf_counter()
    samples = 0
    for count in batches():
        samples += count
        if time.perf_counter() - started > seconds:
            break
    return samples / SAMPLE_RATE / 3600 / (time.perf_counter() - started)


def ours(shards: ShardFolder) -> Iterator[int]:
    """Planned batches with masks and negatives."""
    settings = BatchSettings(batch_seconds=80, batches_per_step=1)
    data = ShardData([shards], settings, ContrastiveTargetSampler(), seed=0, workers=0)
    for batch in data.training(range(10**9), 0, 0, 0, 1):
        yield batch.waveforms.numel()


def theirs(shards: ShardFolder) -> Iterator[int]:
    """WebDataset: shuffled, decoded by soundfile, cropped to the shortest of the batch."""
    urls = [str(shards.folder / shard["name"]) for shard in shards.shards if shard["split"] == "train"]
    for epoch in itertools.count():
        clips = webdataset.WebDataset(urls, shardshuffle=False, seed=epoch).shuffle(200, seed=epoch)
        batch: list[np.ndarray] = []
        for clip in clips:
            samples, _ = soundfile.read(io.BytesIO(clip["flac"]), dtype="float32")
            batch.append(samples)
            shortest = min(len(row) for row in batch)
            if len(batch) * shortest >= 80 * SAMPLE_RATE or len(batch) == 64:
                rows = torch.from_numpy(np.stack([row[:shortest] for row in batch]))
                yield rows.numel()
                batch = []


def synthetic_shards(folder: Path) -> ShardFolder:
    """Prepare a few hundred synthetic vocal sounds."""
    from nonverbal.data.prepare import PrepareConfig, Source, prepare
    from nonverbal.data.synthetic import write_corpus

    write_corpus(folder / "sounds", range(16), takes=5, seed=0)
    return prepare(PrepareConfig(corpora={"synthetic": Source(folder=folder / "sounds")}, out=folder / "shards"))


if __name__ == "__main__":
    main()
