"""Hidden states of a checkpoint, by transformers' modules or by fairseq2's own."""

from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, Wav2Vec2Config, Wav2Vec2Model

from nonverbal.errors import UserError
from nonverbal.families import AnyCheckpoint
from nonverbal.models import ssam
from nonverbal.models.checkpoints.config_keys import AS_CALLED
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS
from nonverbal.models.checkpoints.reading import Checkpoint, unloadable
from nonverbal.models.wav2vec2 import normalised

States = list[Tensor]
"""``(S, M)`` of each layer: what enters the first block, then what leaves each; the last as the encoder gives it."""


def fixed_signal() -> np.ndarray:
    """Return 2 s of a synthetic laugh, ``(T,)`` float32, the same everywhere."""
    from nonverbal.data.synthetic import vocal_sound

    return np.resize(vocal_sound("laugh", speaker=0, take=0, seed=0), 32_000)


def prepared(waveform: np.ndarray, normalise: bool) -> Tensor:
    """Return ``(1, T)`` as an encoder reads it."""
    samples = torch.from_numpy(waveform)[None]
    return normalised(samples, torch.tensor([samples.shape[1]])) if normalise else samples


def encoder_of(checkpoint: AnyCheckpoint) -> Any:
    """Return the encoder with the checkpoint's weights: transformers' wav2vec 2.0, or an Audio Mamba."""
    if isinstance(checkpoint, ssam.Checkpoint):
        return checkpoint.model.audio_mamba.eval()
    model = Wav2Vec2Model(checkpoint.config)
    weights = {name.removeprefix("wav2vec2."): value for name, value in checkpoint.weights.items()}
    model.load_state_dict({name: value for name, value in weights.items() if name in model.state_dict()}, strict=False)
    return model.eval()


def states_of(model: Any, inputs: Tensor) -> States:
    """Return the hidden states of an encoder of transformers' kind for ``(1, T)``."""
    with torch.inference_mode():
        return [state[0] for state in layers_of(model(inputs, output_hidden_states=True, return_dict=True))]


def layers_of(output: Any) -> States:
    """Return the hidden states of a model without an adapter, ``(N, S, M)``; the last as the encoder gives it.

    transformers 5 has the last block's own among the hidden states, before the LayerNorm that ends a pre-norm encoder;
    transformers 4 has it after.
    """
    return [*output.hidden_states[:-1], output.last_hidden_state]


def own_states(checkpoint: AnyCheckpoint, inputs: Tensor) -> tuple[States, str]:
    """Return the hidden states by the implementation whose format the file has, where it is installed, and its name."""
    if isinstance(checkpoint, ssam.Checkpoint):
        return states_of(encoder_of(checkpoint), inputs), "this toolkit"
    if checkpoint.format == "transformers" and checkpoint.path is not None and checkpoint.path.is_dir():
        options = {"use_safetensors": True, "dtype": torch.float32, "trust_remote_code": False, **AS_CALLED}
        try:
            model, info = AutoModel.from_pretrained(checkpoint.path, output_loading_info=True, **options)
        except LOADING_ERRORS as error:
            raise unloadable(checkpoint.source, checkpoint.path, error) from error
        # Weights behind a wrapper's name, such as _orig_mod., are not found by transformers, which draws its own.
        if all(name.endswith("masked_spec_embed") for name in info["missing_keys"]):
            # As loaded they may begin at any byte of the file, by which sums are ordered: copies give the same bits.
            return states_of(deepcopy(model).eval(), inputs), "transformers"
    if checkpoint.format == "fairseq2" and fairseq2_is_here():
        return fairseq2_states(checkpoint, inputs), "fairseq2"
    return states_of(encoder_of(checkpoint), inputs), "transformers"


def fairseq2_is_here() -> bool:
    """Whether fairseq2 can be imported."""
    try:
        # fairseq2 takes libsndfile from soundfile, so that comes first.
        for name in ("soundfile", "fairseq2"):
            import_module(name)
    except (ImportError, OSError):
        return False
    return True


def fairseq2_model(config: Wav2Vec2Config, weights: Mapping[str, Tensor]) -> Any:
    """Return fairseq2's model of this shape with weights under its names; its head may be missing.

    Raises:
        UserError: fairseq2's encoder has other weights.
    """
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2.config import Wav2Vec2Config as TheirConfig
    from fairseq2.models.wav2vec2.config import Wav2Vec2EncoderConfig
    from fairseq2.models.wav2vec2.factory import create_wav2vec2_model

    encoder = Wav2Vec2EncoderConfig(
        model_dim=config.hidden_size,
        num_encoder_layers=config.num_hidden_layers,
        num_encoder_attn_heads=config.num_attention_heads,
        ffn_inner_dim=config.intermediate_size,
        feature_dim=config.conv_dim[-1],
        feature_extractor_layer_descs=list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)),
        feature_extractor_bias=config.conv_bias,
        feature_extractor_layer_norm_convs=config.feat_extract_norm == "layer",
        layer_norm_features=not config.do_stable_layer_norm,
        norm_order=TransformerNormOrder.PRE if config.do_stable_layer_norm else TransformerNormOrder.POST,
        pos_conv_kernel_size=config.num_conv_pos_embeddings,
        num_pos_conv_groups=config.num_conv_pos_embedding_groups,
    )
    model = create_wav2vec2_model(
        TheirConfig(
            encoder_config=encoder,
            quantized_dim=config.codevector_dim,
            final_dim=config.proj_codevector_dim,
            num_codebooks=config.num_codevector_groups,
            num_codebook_entries=config.num_codevectors_per_group,
        )
    )
    missing = model.load_state_dict(dict(weights), strict=False).missing_keys
    if lacking := [name for name in missing if name.startswith("encoder")]:
        raise UserError(f"fairseq2's model has {len(lacking)} weights that the file lacks: {', '.join(lacking[:3])}")
    return model.eval()


def fairseq2_states(checkpoint: Checkpoint, inputs: Tensor) -> States:
    """Return the hidden states by fairseq2's model, from the file's own names."""
    from fairseq2.nn import BatchLayout

    model = fairseq2_model(checkpoint.config, checkpoint.original)
    blocks: States = []
    for block in model.encoder.layers:
        block.register_forward_hook(lambda _module, _inputs, output: blocks.append(output))
    with torch.inference_mode():
        first, layout = model.encoder_frontend(inputs, BatchLayout.of(inputs))
        last = model.encoder(first, layout)
    return [state[0] for state in (first, *blocks[:-1], last)]
