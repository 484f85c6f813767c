"""Tiny classifiers over encoders of every kind, and batches of clips for them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tiny_encoders import SAVED, save_tiny
from tuned_batches import NONE

from nonverbal.batch import Batch, Rows, Targets
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.models.tuned.opening import KINDS, open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.models.wav2vec2 import normalised
from nonverbal.objectives.classification import ClassificationObjective, ClassifierSettings

RATE = 16_000
CLASSES = ["cough", "laugh", "sigh"]
LABELS = np.array([0, 1, 2, 0, 0, 1])
NAMES = [name for name in SAVED if name.split()[0] in KINDS]

WHOLE = ClassifierSettings(
    pooling="attentive",
    layers="weighted",
    hidden=[5],
    dropout=0.1,
    time_masking=0.4,
    time_mask_length=2,
    feature_masking=0.5,
    feature_mask_length=4,
    mixup=0.5,
)
"""All that a head can have, and all that is drawn."""

PLAIN = [
    (name, layers)
    for name in NAMES
    for layers in ("last", "weighted")
    if name not in ("whisper", "audio-spectrogram-transformer") and (name, layers) != ("audio_mamba", "weighted")
]
"""Encoders and layers of which transformers, or an Audio Mamba's own code, has a classifier."""


def encoder_of(name: str = "wav2vec2 base", train: str = "all") -> TunedEncoder:
    with tempfile.TemporaryDirectory() as folder:
        save_tiny(name, Path(folder))
        return open_tuned(folder, TunedSettings(**{**NONE, "train": train}), seed=0)


def objective_of(
    name: str = "wav2vec2 base",
    settings: ClassifierSettings | None = None,
    classes: Sequence[str] = CLASSES,
    train: str = "all",
) -> ClassificationObjective:
    """A classifier whose head is not as it began: a query of zeros would be a mean."""
    objective = ClassificationObjective(encoder_of(name, train), classes, settings or ClassifierSettings(), seed=3)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in objective.head.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
    return objective


def rows_like(seconds: Sequence[float]) -> Rows:
    return Rows(np.array([round(RATE * value) for value in seconds]))


def clip_batch(
    seconds: Sequence[float], targets: Targets | None = None, clip: Sequence[int] | None = None, seed: int = 0
) -> Batch:
    """Noise of these lengths, each a clip, or a window of the clip that ``clip`` says."""
    lengths = rows_like(seconds).lengths
    waveforms = np.zeros((len(lengths), lengths.max()), np.float32)
    random = np.random.default_rng(seed)
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * random.standard_normal(length)
    of = list(range(len(lengths))) if clip is None else list(clip)
    clips = max(of) + 1
    tensors = {} if targets is None else targets.tensors
    places = {"clip": torch.tensor(of), "places": torch.arange(clips)}
    return Batch(
        torch.from_numpy(waveforms),
        torch.from_numpy(lengths),
        [str(row) for row in range(len(lengths))],
        Targets(clips if targets is None else targets.count, tensors | places),
        seed=0,
        step=0,
        position=0,
        padded=bool((lengths < lengths.max()).any()),
    )


def batch_for(
    objective: ClassificationObjective, seconds: Sequence[float], random: np.random.Generator | None = None
) -> Batch:
    """The first of the clips whose classes are ``LABELS``, with these lengths."""
    clips = np.arange(len(seconds))
    targets = objective.targets(LABELS, np.arange(len(LABELS)))
    return clip_batch(seconds, targets(clips, rows_like(seconds), clips, random))


def as_read(objective: ClassificationObjective, batch: Batch) -> torch.Tensor:
    """Waveforms as transformers' feature extractor gives them."""
    return normalised(batch.waveforms, batch.lengths) if objective.encoder.normalise else batch.waveforms
