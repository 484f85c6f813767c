"""Starts wav2vec 2.0 and HuBERT from a checkpoint: a model with its weights, and an account of what was loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import HubertModel, PretrainedConfig, Wav2Vec2ForPreTraining

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.base import Account, Checkpoint, account_of
from nonverbal.models.checkpoints.hugging_face import refuse_not_finite
from nonverbal.models.checkpoints.reading import HEAD, MASK, Kind, read_checkpoint, with_mask
from nonverbal.models.drawn import drawn_from
from nonverbal.models.wav2vec2 import Architecture, EncoderArchitecture, config_of, encoder_options

GROUPS = {"quantiser": "quantizer.", "projections": "project_", "mask embedding": MASK}
"""Prefixes of the weights that pretraining needs besides the encoder."""

NO_QUANTISER = (
    "the checkpoint has no quantiser, so codes and projections start at random and disturb the encoder until they have "
    "learned; with --wav2vec2.warm_quantiser_steps, such as 1000, they are trained alone at first"
)

HEAD_SIZES = ("num_codevector_groups", "num_codevectors_per_group", "codevector_dim", "proj_codevector_dim")


@dataclass(frozen=True)
class Start:
    """A model to train."""

    model: Wav2Vec2ForPreTraining
    normalise: bool
    account: Account


@dataclass(frozen=True)
class EncoderStart:
    """A HuBERT encoder to train; the checkpoint has no head."""

    model: HubertModel
    normalise: bool
    account: Account


def start_from(init: str, architecture: Architecture, normalise: bool | None, seed: int) -> Start:
    """Return the model of a checkpoint in float32; missing weights are drawn from ``seed``.

    Raises:
        UserError: it cannot be read, has values that are not finite, or has another architecture than the settings.
    """
    checkpoint = _read(init, architecture, "wav2vec2")
    if _is_given(architecture):
        if not checkpoint.has_head:
            checkpoint.config.update({size: getattr(config_of(architecture), size) for size in HEAD_SIZES})
        wanted = config_of(architecture)
        _check_architecture(checkpoint, wanted, set(wanted.to_diff_dict()), "wav2vec2")
    with drawn_from(seed):
        model = Wav2Vec2ForPreTraining(with_mask(checkpoint.config))
    model.load_state_dict(checkpoint.weights, strict=False)
    state = model.state_dict()
    account = account_of(checkpoint, state, _parts_of(state), None if checkpoint.has_head else NO_QUANTISER)
    return Start(model.float(), checkpoint.normalise if normalise is None else normalise, account)


def hubert_from(init: str, architecture: EncoderArchitecture, normalise: bool | None, seed: int) -> EncoderStart:
    """Return the encoder of a checkpoint as a HuBERT in float32; a missing mask embedding is drawn from ``seed``.

    Raises:
        UserError: as in ``start_from``.
    """
    checkpoint = _read(init, architecture, "hubert")
    if _is_given(architecture):
        options = encoder_options(architecture)
        _check_architecture(checkpoint, type(checkpoint.config)(**options), set(options), "hubert")
    with drawn_from(seed):
        model = HubertModel(with_mask(checkpoint.config))
    prefix = "wav2vec2."
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
    model.load_state_dict(weights, strict=False)
    state = {prefix + name: value for name, value in model.state_dict().items()}
    account = account_of(checkpoint, state, _parts_of(state), None)
    return EncoderStart(model.float(), checkpoint.normalise if normalise is None else normalise, account)


def _read(init: str, architecture: EncoderArchitecture, kind: Kind) -> Checkpoint:
    checkpoint = read_checkpoint(init, architecture.heads if _is_given(architecture) else None, kind)
    refuse_not_finite(init, checkpoint.weights)
    return checkpoint


def _is_given(architecture: EncoderArchitecture) -> bool:
    """Whether the settings describe more of the architecture than its layout."""
    return architecture != type(architecture)(layout=architecture.layout)


def _parts_of(state: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of a model's weights, those of ``Wav2Vec2ForPreTraining``, by part of the model."""
    encoder = [key for key in state if not key.startswith((*HEAD, MASK))]
    return {"encoder": encoder} | {
        name: [key for key in state if key.startswith(prefix)] for name, prefix in GROUPS.items()
    }


def _check_architecture(checkpoint: Checkpoint, wanted: PretrainedConfig, keys: set[str], group: str) -> None:
    expected, found = wanted.to_dict(), checkpoint.config.to_dict()
    different = sorted(key for key in keys if found.get(key) != expected[key])
    if different:
        raise UserError(
            f"{group}.architecture contradicts the checkpoint {checkpoint.source!r} in {', '.join(different)}; leave "
            "it out to use the checkpoint's"
        )
