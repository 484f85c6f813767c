"""Measures how fast clips are embedded: one at a time, in exact batches, and by transformers in padded batches.

``python benchmarks/embed.py [--encoder FOLDER] [--lengths FOLDER] [--rounds 3] [--json FILE]``

Clips are noise of realistic lengths: those of the recordings in ``--lengths``, otherwise twelve quantiles from each of
four public corpora (sung vowels, baby cries, five-second cuts, spoken digits). Unless an encoder is given, it is
wav2vec 2.0 base with random weights. All sides pool in the same way: the mean and deviation of each layer.
transformers' padded batches hold 8 clips of similar length, as a careful user would sort them. How padding changes its
embeddings is not measured.

``ratio_single``: our clips per second in the fastest batches over ours one at a time. ``ratio_padded``: ours, by the
default of ``nonverbal embed`` on this machine, over transformers' padded batches.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lengths import QUANTILES
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.encoders.models import ModelEncoder
from nonverbal.evaluation.pieces import embed_clips
from nonverbal.evaluation.pooling import Pool
from nonverbal.families.hidden_states import layers_of

CLIPS = 8
"""Number of clips in transformers' batches."""

BATCHES = (8.0, 20.0, 80.0, 160.0)
"""Seconds of audio in our batches."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", help="folder or id of an encoder of waveforms; unset: random wav2vec 2.0 base")
    parser.add_argument("--lengths", type=Path, help="a folder of recordings, whose lengths are used")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        encoder = load_frame_encoder(arguments.encoder or base(Path(scratch)))
    assert isinstance(encoder, ModelEncoder), "an encoder with weights"
    seconds = lengths_of(arguments.lengths) if arguments.lengths else list(chain.from_iterable(QUANTILES.values()))
    random = np.random.default_rng(0)
    clips = [(0.1 * random.standard_normal(round(s * SAMPLE_RATE))).astype(np.float32) for s in seconds]
    figures = measure(encoder, clips, arguments.rounds)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def base(folder: Path) -> str:
    """Write a wav2vec 2.0 base with random weights, and return its folder."""
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return str(folder)


def lengths_of(folder: Path) -> Sequence[float]:
    """Return the length in seconds of every recording that libsndfile can read."""
    files = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3"))
    return [soundfile.info(path).duration for path in files]


def measure(encoder: ModelEncoder, clips: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """Time all in turn, in several rounds, so that other load on the machine affects all; return medians."""
    ways: dict[str, Callable[[], object]] = {
        "single": lambda: embed_clips(encoder, clips, 0),
        "default": lambda: embed_clips(encoder, clips),
        "transformers, padded": lambda: theirs(encoder, clips),
    }
    for seconds in BATCHES:
        ways[f"batches of {seconds:g} s"] = lambda seconds=seconds: embed_clips(encoder, clips, seconds)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in ways}
    theirs(encoder, clips[:CLIPS])
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - began)
    rate = {name: len(clips) / statistics.median(found) for name, found in times.items()}
    best = max(rate[f"batches of {seconds:g} s"] for seconds in BATCHES)
    alone, together = embed_clips(encoder, clips, 0)[0], embed_clips(encoder, clips, BATCHES[-1])[0]
    scale = np.sqrt(np.square(alone).mean((0, 2), keepdims=True))
    return {
        "device": encoder.device,
        "threads": torch.get_num_threads(),
        "clips": len(clips),
        "seconds": sum(map(len, clips)) / SAMPLE_RATE,
        "clips_per_second": rate,
        "ratio_single": best / rate["single"],
        "ratio_padded": rate["default"] / rate["transformers, padded"],
        "difference": float((np.abs(together - alone) / scale).max()),
    }


def theirs(encoder: ModelEncoder, clips: list[np.ndarray]) -> np.ndarray:
    """Embed with the model itself, in padded batches of similar lengths, and pool over each clip's own frames."""
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    pooled: dict[int, np.ndarray] = {}
    for start in range(0, len(order), CLIPS):
        chosen = order[start : start + CLIPS]
        rows = [encoder.inputs(clips[i]) for i in chosen]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        with torch.inference_mode():
            states = layers_of(encoder.model(padded, output_hidden_states=True, return_dict=True))
        for place, i in enumerate(chosen):
            own = round(states[0].shape[1] * len(clips[i]) / padded.shape[1])
            pool = Pool()
            pool.add(torch.stack([state[place, :own] for state in states]))
            pooled[i] = pool.result()
    return np.stack([pooled[i] for i in range(len(clips))])


if __name__ == "__main__":
    main()
