"""Tiny encoders that are computed by transformers alone, and batches of clips for them."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from nonverbal.batch import Batch, Rows, Targets
from nonverbal.models.audio_mamba import AudioMambaConfig, AudioMambaModel
from nonverbal.models.checkpoints.base import Account
from nonverbal.models.parts import Part
from nonverbal.models.ssam import save_extractor
from nonverbal.models.tuned.base import Hidden, TunedEncoder
from nonverbal.models.wav2vec2 import frames_of

WAVEFORMS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 8,
    "apply_spec_augment": False,
    **dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"), 0.0),
    "layerdrop": 0.0,
}
KINDS = {
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2 large": ("Wav2Vec2", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert": ("Hubert", {}),
    "wavlm": ("WavLM", {}),
    "unispeech-sat": ("UniSpeechSat", {}),
    "data2vec-audio": ("Data2VecAudio", {"conv_pos_kernel_size": 3}),
}
"""Kinds that transformers has both a model and a classifier of."""

RATE = 16_000


class PlainEncoder(TunedEncoder):
    """An encoder as transformers runs it, all of whose parameters are trained."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        config = model.config
        self.source, self.model_type, self.model, self.config = "plain", config.model_type, model.train(), config
        self.layers, self.width = config.num_hidden_layers, config.hidden_size
        self.shortest, self.longest, self.normalise = 400, float("inf"), False
        self.account = Account("plain", (), (), None)

    def forward(self, batch: Batch) -> Hidden:
        mask = self._own(batch.waveforms.shape[1], batch.lengths).long() if batch.padded else None
        out = self.model(batch.waveforms, attention_mask=mask, output_hidden_states=True)
        states = list(out.hidden_states)
        valid = None
        if batch.padded:
            frames = torch.from_numpy(self.frames(batch.lengths.numpy()))
            valid = self._own(states[-1].shape[1], frames)
        return Hidden(states, valid)

    @staticmethod
    def _own(width: int, lengths: Tensor) -> Tensor:
        return torch.arange(width) < lengths[:, None]

    @property
    def frames(self) -> Any:
        config = self.model.config
        return partial(frames_of, kernels=tuple(config.conv_kernel), strides=tuple(config.conv_stride))

    def part(self, name: str) -> Part:
        return Part("transformer", 0)

    def plain(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(weights)

    def save_reading(self, folder: Path) -> None:
        normalise, masked = self.normalise, getattr(self.config, "feat_extract_norm", "layer") == "layer"
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise, return_attention_mask=masked).save_pretrained(
            folder
        )

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        self.model.save_pretrained(folder, state_dict=dict(weights))
        self.save_reading(folder)


class PlainAudioMamba(PlainEncoder):
    """An Audio Mamba; its frames are the five bands of a time."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.width = 5 * model.config.hidden_size

    def forward(self, batch: Batch) -> Hidden:
        mask = self._own(batch.waveforms.shape[1], batch.lengths).long()
        out = self.model(batch.waveforms, attention_mask=mask, output_hidden_states=True)
        return Hidden(list(out.hidden_states), out.frame_mask if batch.padded else None)

    def save_reading(self, folder: Path) -> None:
        save_extractor(folder)


def plain_encoder(kind: str, seed: int = 0) -> PlainEncoder:
    torch.manual_seed(seed)
    if kind == "audio_mamba":
        return PlainAudioMamba(AudioMambaModel(AudioMambaConfig(hidden_size=8, num_hidden_layers=2, state_size=4)))
    name, more = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**WAVEFORMS, **more)
    model = getattr(transformers, f"{name}Model")(config)
    with torch.no_grad():
        # transformers draws norms as ones and biases as zeros, which would hide their part in a computation.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return PlainEncoder(model)


def clip_batch(
    seconds: list[float], targets: Targets | None = None, clip: list[int] | None = None, seed: int = 0
) -> Batch:
    """Noise of these lengths, a clip each or windows of the clips in ``clip``."""
    lengths = np.array([round(RATE * value) for value in seconds])
    random = np.random.default_rng(seed)
    waveforms = np.zeros((len(lengths), lengths.max()), np.float32)
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * random.standard_normal(length)
    of = list(range(len(lengths))) if clip is None else clip
    targets = targets or Targets(max(of) + 1, {})
    places = {"clip": torch.tensor(of), "places": torch.arange(max(of) + 1)}
    return Batch(
        torch.from_numpy(waveforms),
        torch.from_numpy(lengths),
        [str(i) for i in range(len(lengths))],
        Targets(targets.count, targets.tensors | places),
        seed=0,
        step=0,
        position=0,
        padded=bool((lengths < lengths.max()).any()),
    )


def rows_like(seconds: list[float]) -> Rows:
    return Rows(np.array([round(RATE * value) for value in seconds]))
