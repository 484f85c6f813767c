"""wav2vec 2.0 in the formats of fairseq and fairseq2, and hidden states computed by fairseq2's own model."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig

from nonverbal.errors import UserError
from nonverbal.families.base import States
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.checkpoints.config_keys import FAIRSEQ_ACTIVATIONS
from nonverbal.models.checkpoints.weight_names import NO_COUNTERPART, Format, Layout, renamed

NO_HISTORY: dict[str, Any] = {
    "optimizer_history": [
        {"criterion_name": "Wav2vecCriterion", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    ],
    "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    "last_optimizer_state": None,
}
"""Entries that fairseq expects in every checkpoint before it reads weights (``checkpoint_utils._upgrade_state_dict``).
"""


def check_fairseq(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that fairseq's model cannot represent."""
    _check(checkpoint, "fairseq", tuple(dict.fromkeys(FAIRSEQ_ACTIVATIONS.values())))


def check_fairseq2(checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that fairseq2's model cannot represent."""
    _check(checkpoint, "fairseq2", ("gelu",))


def write_fairseq(checkpoint: Checkpoint, path: Path) -> None:
    """Write a ``.pt`` file that fairseq can read."""
    content = {"args": None, "cfg": fairseq_config(checkpoint), "model": _renamed(checkpoint, "fairseq")}
    torch.save({**content, **NO_HISTORY}, path)


def write_fairseq2(checkpoint: Checkpoint, path: Path) -> None:
    """Write a ``.pt`` file that fairseq2 can read. It uses only the weights; the rest is for converting back."""
    weights = _renamed(checkpoint, "fairseq2")
    if checkpoint.has_head:
        weights[NO_COUNTERPART] = torch.zeros((), dtype=torch.int64)
    torch.save({"args": None, "cfg": fairseq_config(checkpoint), "model": weights}, path)


def _renamed(checkpoint: Checkpoint, target: Format) -> dict[str, Tensor]:
    weights = renamed(checkpoint.weights, "transformers", target, _layout(checkpoint.config))
    return {name: value.clone() for name, value in weights.items()}


def _layout(config: PretrainedConfig) -> Layout:
    return Layout(config.feat_extract_norm == "group", config.do_stable_layer_norm)


def _check(checkpoint: Checkpoint, target: str, activations: tuple[str, ...]) -> None:
    config = checkpoint.config
    for key, sayable in (
        ("hidden_act", activations),
        ("feat_extract_activation", ("gelu",)),
        ("layer_norm_eps", (1e-5,)),
    ):
        if getattr(config, key) not in sayable:
            raise UserError(
                f"{checkpoint.source} has {key} {getattr(config, key)!r}, but models in {target} always have "
                f"{' or '.join(map(repr, sayable))}; --to transformers keeps it"
            )
    if config.conv_dim[-1] == config.hidden_size:
        raise UserError(
            f"{checkpoint.source} projects {config.hidden_size} channels to the same number, but models in {target} "
            "have no such projection; --to transformers keeps it"
        )


def fairseq_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the settings from which fairseq builds the model: plain values under its own names, without objects."""
    config = checkpoint.config
    layers = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    model = {
        "_name": "wav2vec2",
        "extractor_mode": "default" if config.feat_extract_norm == "group" else "layer_norm",
        "layer_norm_first": config.do_stable_layer_norm,
        "activation_fn": {theirs: ours for ours, theirs in FAIRSEQ_ACTIVATIONS.items()}[config.hidden_act],
        "conv_bias": config.conv_bias,
        "conv_feature_layers": str([tuple(layer) for layer in layers]),
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups,
        "quantize_targets": checkpoint.has_head,
        "latent_groups": config.num_codevector_groups,
        "latent_vars": config.num_codevectors_per_group,
        "latent_dim": config.codevector_dim,
        "final_dim": config.proj_codevector_dim,
    }
    task = {"_name": "audio_pretraining", "data": "", "sample_rate": 16_000, "normalize": checkpoint.normalise}
    return {"model": model, "task": task}


def fairseq2_is_here() -> bool:
    """Whether fairseq2 can be imported."""
    try:
        # fairseq2 uses the libsndfile that soundfile loads, so soundfile is imported first.
        for name in ("soundfile", "fairseq2"):
            import_module(name)
    except (ImportError, OSError):
        return False
    return True


def fairseq2_model(config: PretrainedConfig, weights: Mapping[str, Tensor]) -> Any:
    """Return fairseq2's model of this shape with weights under its names; weights of its head may be missing.

    Raises:
        UserError: fairseq2's encoder has weights that are missing here.
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
        raise UserError(
            f"the file lacks {len(lacking)} weights of fairseq2's model, such as {', '.join(lacking[:3])}; copy it "
            "again from where it comes from"
        )
    return model.eval()


def fairseq2_states(checkpoint: Checkpoint, inputs: Tensor) -> States:
    """Return the hidden states computed by fairseq2's model, with weights by the names in the file."""
    from fairseq2.nn import BatchLayout

    model = fairseq2_model(checkpoint.config, _renamed(checkpoint, "fairseq2"))
    blocks: States = []
    for block in model.encoder.layers:
        block.register_forward_hook(lambda _module, _inputs, output: blocks.append(output))
    with torch.inference_mode():
        first, layout = model.encoder_frontend(inputs, BatchLayout.of(inputs))
        last = model.encoder(first, layout)
    return [state[0] for state in (first, *blocks[:-1], last)]
