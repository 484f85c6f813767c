"""Readers of encoders for fine-tuning. Weights are loaded completely or drawn at random, and accounted for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import Tensor, nn
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    AutoModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    HubertModel,
    PretrainedConfig,
    UniSpeechSatConfig,
    UniSpeechSatModel,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from nonverbal.errors import UserError
from nonverbal.models.audio_mamba import AudioMambaModel
from nonverbal.models.checkpoints import audio_mamba, reading
from nonverbal.models.checkpoints.base import Account, Checkpoint, account_of
from nonverbal.models.checkpoints.config_keys import USED
from nonverbal.models.checkpoints.feature_extractors import (
    ast_extractor,
    check_spectrogram,
    normalises,
    whisper_extractor,
)
from nonverbal.models.checkpoints.hugging_face import config_from, load_whole, new_model, read_config, refuse_not_finite
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS
from nonverbal.models.drawn import drawn_from
from nonverbal.models.tuned.base import Opened

MASK = "masked_spec_embed"

AST = "ast"
"""Name of an AST of the paper's size (Gong et al., 2021) after ``initialised:``."""


@dataclass(frozen=True)
class Asked:
    """A request for an encoder."""

    source: str
    """As the user gave it."""
    named: str
    """The same without ``initialised:``."""
    path: Path | None
    """The folder or file; None for a Hub id."""
    model_type: str
    initialised: bool
    """Whether to draw its weights at random."""
    seed: int


def read_convolutional(asked: Asked) -> Opened:
    """Read a wav2vec 2.0 or a HuBERT."""
    kind = cast(reading.Kind, asked.model_type)
    if asked.initialised:
        config, normalise, notes = reading.read_shape(asked.named, asked.path, kind)
        checkpoint = Checkpoint(asked.source, "", config, {}, normalise, False, notes=notes)
    else:
        checkpoint = reading.read_checkpoint(asked.named, kind=kind)
        refuse_not_finite(asked.named, checkpoint.weights)
    model_class = HubertModel if asked.model_type == "hubert" else Wav2Vec2Model
    with drawn_from(asked.seed):
        model = made(asked, model_class, reading.with_mask(checkpoint.config))
    return _loaded(asked, model, checkpoint, "wav2vec2.")


def read_mamba(asked: Asked) -> Opened:
    """Read an Audio Mamba."""
    if asked.initialised:
        checkpoint = Checkpoint(asked.source, "", audio_mamba.read_shape(asked.named), {}, False, False)
    else:
        checkpoint = audio_mamba.read_checkpoint(asked.named)
        refuse_not_finite(asked.named, checkpoint.weights)
    with drawn_from(asked.seed):
        model = AudioMambaModel(checkpoint.config)
    return _loaded(asked, model, checkpoint, audio_mamba.INSIDE)


def _loaded(asked: Asked, model: Any, checkpoint: Checkpoint, prefix: str) -> Opened:
    """Load a checkpoint's weights whose names begin with ``prefix`` into a model; the others are left over."""
    own = {prefix + name for name in model.state_dict()}
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items() if name in own}
    model.load_state_dict(weights, strict=False)
    left = (*checkpoint.left_over, *(checkpoint.weights.keys() - own))
    account = account_for(asked, model, weights, left, checkpoint.notes)
    return Opened(asked.source, model.float(), checkpoint.normalise, account)


class _Related(NamedTuple):
    """A kind of encoder whose modules are the same as those of wav2vec 2.0, or nearly."""

    config: type[PretrainedConfig]
    model: Any
    used: frozenset[str]
    """Keys of the configuration whose value is used, besides those of wav2vec 2.0."""


RELATED = {
    "wavlm": _Related(WavLMConfig, WavLMModel, frozenset({"num_buckets", "max_bucket_distance", "num_ctc_classes"})),
    "unispeech-sat": _Related(UniSpeechSatConfig, UniSpeechSatModel, frozenset({"num_clusters"})),
    "data2vec-audio": _Related(Data2VecAudioConfig, Data2VecAudioModel, frozenset({"conv_pos_kernel_size"})),
}
"""By ``model_type``."""


def read_related(asked: Asked) -> Opened:
    """Read a WavLM, a UniSpeech-SAT or a data2vec from a folder or Hub id in Hugging Face format."""
    kind = RELATED[asked.model_type]
    given = read_config(asked.named, asked.path)
    used = USED | kind.used
    config = reading.with_mask(config_from(asked.named, asked.path, given, kind.config, used))
    normalise = normalises(asked.named, asked.path)
    if normalise is None:
        raise UserError(
            f"{asked.named} has no preprocessor_config.json, which says whether waveforms are normalised; "
            "download or export it again"
        )
    model, account = drawn_or_loaded(asked, kind.model, config)
    return Opened(asked.source, model, normalise, account)


def read_whisper(asked: Asked) -> Opened:
    """Read the encoder of a Whisper. The decoder may be missing."""
    extractor = whisper_extractor(asked.named, asked.path)
    model, account = drawn_or_loaded(asked, AutoModel, None, ("decoder.",))
    config = model.config
    made_here = (extractor.feature_size, extractor.nb_max_frames)
    check_spectrogram(asked.named, made_here, (config.num_mel_bins, 2 * config.max_source_positions))
    return Opened(asked.source, model.encoder, False, account, extractor)


def read_ast(asked: Asked) -> Opened:
    """Read an AST, or make one of the paper's size for ``initialised:ast``."""
    if asked.initialised and asked.path is None and asked.named == AST:
        with drawn_from(asked.seed):
            model = ASTModel(ASTConfig())
        return Opened(asked.source, model, False, account_for(asked, model, (), ()), ASTFeatureExtractor())
    extractor = ast_extractor(asked.named, asked.path)
    model, account = drawn_or_loaded(asked, AutoModel, None)
    made_here = (extractor.num_mel_bins, extractor.max_length)
    check_spectrogram(asked.named, made_here, (model.config.num_mel_bins, model.config.max_length))
    return Opened(asked.source, model, False, account, extractor)


def drawn_or_loaded(
    asked: Asked, kind: Any, config: PretrainedConfig | None, spare: tuple[str, ...] = ()
) -> tuple[Any, Account]:
    """Return a model of transformers with drawn or loaded weights, and an account of them.

    Args:
        asked: the request.
        kind: class of the model.
        config: replaces the configuration of the source; None to use that.
        spare: prefixes of the names of weights that do not belong to the encoder, and may be missing.
    """
    with drawn_from(asked.seed):
        if asked.initialised:
            model = new_model(asked.named, asked.path) if config is None else made(asked, kind, config)
            return model, account_for(asked, model, (), ())
        loaded = load_whole(asked.named, asked.path, spare, kind, config)
    taken = loaded.model.state_dict().keys() - set(loaded.missing)
    return loaded.model, account_for(asked, loaded.model, taken, loaded.unexpected)


def made(asked: Asked, kind: Any, config: PretrainedConfig) -> Any:
    """Return a model of this configuration, with weights drawn by torch's generator."""
    try:
        return kind(config)
    except LOADING_ERRORS as error:
        raise UserError(f"transformers cannot build the model that {asked.named} configures: {error}") from error


def account_for(
    asked: Asked, model: nn.Module, taken: Iterable[str], left_over: Iterable[str], notes: tuple[str, ...] = ()
) -> Account:
    """Report which weights of a model were loaded, which were drawn, and which of the source were not used."""
    state: Mapping[str, Tensor] = model.state_dict()
    weights = {name: state[name] for name in taken if name in state}
    config: PretrainedConfig = cast(Any, model).config
    checkpoint = Checkpoint(asked.source, "", config, weights, False, False, tuple(sorted(left_over)), notes)
    groups = {
        "encoder": [name for name in state if name != MASK],
        "mask embedding": [name for name in state if name == MASK],
    }
    return account_of(checkpoint, state, groups, None)
