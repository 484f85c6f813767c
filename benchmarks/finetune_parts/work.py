"""The clips and models of both sides of ``finetune.py``, and their clock."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lengths import spread
from transformers import AutoConfig, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.models.ssam import Architecture, build_model, export
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.objectives.classification import ClassificationObjective, ClassifierSettings

BATCH = 16
"""Number of clips in a batch."""

MODELS = ("wav2vec2", "ssam")


@dataclass(frozen=True)
class Work:
    """Folders that are made once and read by every process that measures."""

    folder: Path

    @property
    def sounds(self) -> Path:
        """Folder of the clips, with one folder per class."""
        return self.folder / "sounds"

    @property
    def shards(self) -> Path:
        """Folder of shards with the same clips, which our side reads."""
        return self.folder / "shards"

    def model(self, name: str) -> Path:
        """Folder of a transformers model for audio classification, with random weights."""
        return self.folder / name

    def make(self, clips: int, layers: int, models: Sequence[str]) -> None:
        """Write everything."""
        random = np.random.default_rng(0)
        for corpus, seconds in spread(clips).items():
            (self.sounds / corpus).mkdir(parents=True)
            for number, length in enumerate(seconds.tolist()):
                noise = 0.1 * random.standard_normal(round(length * SAMPLE_RATE))
                soundfile.write(self.sounds / corpus / f"{number:04}.wav", noise, SAMPLE_RATE)
        prepare(PrepareConfig(self.shards, {"sounds": Source(self.sounds)}), say=lambda _: None)
        for name in models:
            self._write_model(name, layers)

    def _write_model(self, name: str, layers: int) -> None:
        """Write a random encoder, and our export of it with a head, from which both sides start."""
        bare = self.folder / f"{name}-encoder"
        torch.manual_seed(0)
        if name == "ssam":
            model, _ = build_model(None, Architecture(layers=layers), {}, seed=0)
            export(model, model.state_dict(), bare)
        else:
            # The dropout of the released base. Every block runs and nothing is masked, as by our defaults.
            config = Wav2Vec2Config(
                num_hidden_layers=layers,
                activation_dropout=0.0,
                feat_proj_dropout=0.1,
                layerdrop=0.0,
                apply_spec_augment=False,
            )
            Wav2Vec2Model(config).save_pretrained(bare)
            Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False).save_pretrained(bare)
        encoder = open_tuned(str(bare), TunedSettings(), seed=0)
        objective = ClassificationObjective(encoder, list(spread(1)), ClassifierSettings(), seed=0)
        objective.export(self.model(name), objective.state_dict())
        assert AutoConfig.from_pretrained(self.model(name), trust_remote_code=True).num_labels == len(spread(1))


def picked(padded: Sequence[int], count: int) -> list[int]:
    """Return ``count`` batches, or all if there are fewer, spread over sizes: samples including padding."""
    order, count = np.argsort(padded, kind="stable"), min(count, len(padded))
    middles = (np.arange(count) + 0.5) * len(order) / count
    return [int(order[int(middle)]) for middle in middles]


def share_of(batches: int, share: float) -> int:
    """Return how many batches a share is, at least one."""
    return max(round(share * batches), 1)


@dataclass(frozen=True)
class Phase:
    """Training or testing: samples of all batches with padding and without, and of the share with padding."""

    through: int
    real: int
    measured: int

    def figures(self, seconds: tuple[float, float]) -> dict[str, float]:
        """Return the figures, with elapsed and CPU seconds extrapolated to all batches."""
        scale = self.through / self.measured
        return {
            "seconds": seconds[0] * scale,
            "cpu_seconds": seconds[1] * scale,
            "padding": 1 - self.real / self.through,
            "share": 1 / scale,
        }


class Clock:
    """Laps, in elapsed seconds and in CPU seconds of this process's threads."""

    def __init__(self) -> None:
        self.laps: dict[str, tuple[float, float]] = {}
        self.start()

    def start(self) -> None:
        """Start a lap."""
        self.began = time.perf_counter(), time.process_time()

    def stop(self, name: str) -> None:
        """End the lap, and start the next."""
        now = time.perf_counter(), time.process_time()
        self.laps[name] = now[0] - self.began[0], now[1] - self.began[1]
        self.began = now


def resident(key: str) -> float:
    """Return this process's memory in 10^9 bytes: ``VmRSS`` for now, ``VmHWM`` for the peak so far."""
    # Unlike the value of getrusage, it is not inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) * 1024 / 1e9


Figures = dict[str, Any]
