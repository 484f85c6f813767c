"""Encoders that read waveforms of any length: wav2vec 2.0 and similar ones, and the families of this toolkit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Kind, Named, Size
from nonverbal.evaluation.encoders.models import WINDOW, ModelEncoder, model_of
from nonverbal.models.checkpoints.quiet import quiet

SHORTEST = 400
"""Samples of a frame of wav2vec 2.0's convolutions, which all released encoders of this kind in transformers have."""


class WaveformEncoder(ModelEncoder):
    """A model that takes waveforms, and gives only frames of the clip itself."""

    def __init__(self, named: Named) -> None:
        """Load it, or draw its weights at random.

        Raises:
            UserError: it cannot be loaded completely, or does not read waveforms at 16 kHz.
        """
        with quiet():
            self.normalise = _normalises(named)
        model = _checked(model_of(named), named.source)
        from nonverbal.evaluation.encoders.padding import batching_of

        self.shortest = _shortest(model.config)
        self.batching = batching_of(model.config)
        super().__init__(named, model.config.model_type, model, "normalised" if self.normalise else "as it is")

    def inputs(self, waveform: np.ndarray) -> Any:
        """Return ``(T,)``, with zero mean and unit variance if the checkpoint requires that."""
        import torch

        samples = torch.from_numpy(waveform).to(self.device)
        if self.normalise:
            # As transformers' Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm.
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
        return samples

    def states_of_each(self, inputs: list[Any]) -> list[list[Any]]:
        """Return the hidden states of each input, ``(1, S, M)`` for each layer."""
        if len({len(samples) for samples in inputs}) == 1:
            return super().states_of_each(inputs)
        from nonverbal.evaluation.encoders.padding import padded_states

        return padded_states(self.model, inputs)


def check(named: Named) -> None:
    """Raise the ``UserError`` for a checkpoint that is missing or reads another sample rate."""
    with quiet():
        _normalises(named)


def waveform_kind(
    model_type: str, title: str, notes: str, published: Mapping[str, Size], shortest: int = SHORTEST
) -> Kind:
    """Return the entry of a ``model_type`` whose models take waveforms."""
    return Kind(model_type, title, WaveformEncoder, check, shortest, WINDOW, published=published, notes=notes)


def _checked(model: Any, source: str) -> Any:
    from nonverbal.families import kinds

    own = [model_type for kind in kinds() for model_type in kind.model_types]
    reads_waveforms = hasattr(model.config, "conv_kernel") or model.config.model_type in own
    if not reads_waveforms or not hasattr(model.config, "num_hidden_layers"):
        raise UserError(
            f"{source} is a {model.config.model_type!r} model, which cannot be read here; give one of "
            f"{', '.join(own)}, or one that nonverbal encoders lists"
        )
    if getattr(model, "adapter", None) is not None:
        # The adapter comes after the encoder, whose layers are all that is used.
        model.adapter = None
    return model


def _shortest(config: Any) -> int:
    """Return the smallest number of samples from which an encoder makes a frame."""
    from nonverbal.models.wav2vec2 import frame_size

    return frame_size(config.conv_kernel, config.conv_stride)[0] if hasattr(config, "conv_kernel") else 1


def _normalises(named: Named) -> bool:
    """Whether an encoder's waveforms must have zero mean and unit variance."""
    from nonverbal.models.checkpoints.feature_extractors import normalises

    said = normalises(named.source, named.folder)
    if said is None:
        raise UserError(
            f"there is no preprocessor_config.json in {named.source}, so nothing says whether waveforms are "
            "normalised; download or export it again"
        )
    return said
