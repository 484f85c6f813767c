"""AST, the Audio Spectrogram Transformer: patches of a log-mel spectrogram (Gong et al., 2021).

Papers: the cross-lingual one, from scratch; voc2vec's AudioSet checkpoints are compared with it. Home: huggingface.co,
by the id below, trained on AudioSet with labels.

It reads 1024 frames of 128 bands, 10.24 s, and has no mask: the input beyond the end of a clip is filled as in
training, and the clip's tokens attend to it. A token is a patch of 16 frames and 16 bands, one every 10 of both. A
frame here is the mean over the 12 bands at one time; there are ten per second. A clip's own frames are those whose
patches lie wholly within it, or the first one if the clip is shorter than a patch (175 ms). The class and distillation
tokens belong to no time, and are left out.
"""

import json
from typing import Any

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Kind, Named, Size
from nonverbal.evaluation.encoders.models import ModelEncoder, model_of

WINDOW, HOP = 400, 160
"""Samples of a frame of the spectrogram, and from the start of one frame to the next."""

FIRST = 2
"""Number of tokens before those of patches: one for the class, one for distillation."""


class SpectrogramTransformer(ModelEncoder):
    """All hidden states of an AST, restricted to a clip's own time."""

    shortest = WINDOW

    def __init__(self, named: Named) -> None:
        """Load it, or draw its weights at random.

        Raises:
            UserError: it cannot be loaded completely, or its spectrogram is not that of its model.
        """
        self.extractor = _extractor(named)
        model = model_of(named)
        config, extractor = model.config, self.extractor
        from nonverbal.models.checkpoints.feature_extractors import check_spectrogram

        made = (extractor.num_mel_bins, extractor.max_length)
        check_spectrogram(named.source, made, (config.num_mel_bins, config.max_length))
        self.max_seconds = config.max_length * HOP / SAMPLE_RATE
        scale = {"mean": extractor.mean, "std": extractor.std} if extractor.do_normalize else {}
        super().__init__(named, config.model_type, model, f"log-mel {json.dumps(scale)} mean over bands")

    def inputs(self, waveform: np.ndarray) -> Any:
        """Return the log-mel spectrogram ``(1024, bands)`` from transformers' own extractor."""
        if len(waveform) > self.max_seconds * SAMPLE_RATE:
            raise UserError(f"{self.name} reads {self.max_seconds} s at once, but was given {len(waveform)} samples")
        features = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        return features[0].to(self.device)

    def own(self, states: list[Any], samples: int) -> list[Any]:
        """Return the means over bands of the patches that lie within the clip, or at least of the first."""
        bands, times = self._bands(), self._times(samples)
        # (N, 2 + bands x all times, M) -> (N, bands, all times, M) -> (N, times, M)
        return [state[:, FIRST:].unflatten(1, (bands, -1)).mean(1)[:, :times] for state in states]

    def own_tokens(self, tokens: int, samples: int) -> Any:
        """Return the positions of those patches, band by band."""
        places = np.arange(FIRST, tokens).reshape(self._bands(), -1)
        return places[:, : self._times(samples)].ravel()

    def _bands(self) -> int:
        config = self.model.config
        return int((config.num_mel_bins - config.patch_size) // config.frequency_stride + 1)

    def _times(self, samples: int) -> int:
        config = self.model.config
        frames = 1 + (samples - WINDOW) // HOP
        return int(max((frames - config.patch_size) // config.time_stride + 1, 1))


def _extractor(named: Named) -> Any:
    from nonverbal.models.checkpoints.feature_extractors import ast_extractor

    return ast_extractor(named.source, named.folder)


def check(named: Named) -> None:
    """Raise the ``UserError`` for a checkpoint that is missing or reads another sample rate."""
    _extractor(named)


KINDS = (
    Kind(
        "audio-spectrogram-transformer",
        "AST: patches of a log-mel spectrogram of 10.24 s",
        SpectrogramTransformer,
        check,
        shortest=WINDOW,
        max_seconds=10.24,
        published={"MIT/ast-finetuned-audioset-10-10-0.4593": Size(768, 13)},
        notes=__doc__,
    ),
)
