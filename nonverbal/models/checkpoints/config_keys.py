"""What becomes of every key of a configuration: used, without effect here, or of one value alone.

One table for transformers' wav2vec 2.0 and HuBERT (4.57 to 5.18), and one for fairseq's; a family with a model of its
own names the keys that it uses itself. A key that a configuration's class does not know is used by none of its code and
has no effect; ``auto_map``, which names code beside a checkpoint, is never followed.
"""

import math
from collections.abc import Iterable, Mapping, Set
from typing import Any

from transformers import HubertConfig, PretrainedConfig, Wav2Vec2Config

from nonverbal.errors import UserError

ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2"),
    *("relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh"),
)
"""Of transformers: those without weights of their own."""

CALLING = ("return_dict", "torchscript", "output_attentions", "output_hidden_states")
"""Keys that say what a model is asked for where its caller does not say it; ours do."""

AS_CALLED = {"return_dict": True, "output_attentions": False}
"""What replaces them where transformers reads a configuration itself."""

FUNCTION = {
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps"),
    *("do_stable_layer_norm", "conv_dim", "conv_stride", "conv_kernel", "conv_bias", "num_feat_extract_layers"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups"),
}
"""Keys on which what a wav2vec 2.0 or a HuBERT computes depends, besides those of ``ONLY``."""

USED = FUNCTION | {
    # the head of pretraining, and how weights are drawn
    *("num_codevectors_per_group", "num_codevector_groups", "codevector_dim", "proj_codevector_dim"),
    *("initializer_range", "model_type"),
}
"""Keys whose value our forward pass takes."""

WITHOUT_EFFECT = {
    # dropouts, masks and losses: the run's own settings
    *("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop"),
    *("feat_quantizer_dropout", "apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks"),
    *("mask_feature_prob", "mask_feature_length", "mask_feature_min_masks", "contrastive_logits_temperature"),
    *("num_negatives", "diversity_loss_weight"),
    # heads of other tasks, and the adapter that is not there
    *("vocab_size", "use_weighted_layer_sum", "ctc_loss_reduction", "ctc_zero_infinity", "classifier_proj_size"),
    *("tdnn_dim", "tdnn_kernel", "tdnn_dilation", "xvector_output_dim", "adapter_kernel_size", "adapter_stride"),
    *("num_adapter_layers", "output_hidden_size", "architectures", "id2label", "label2id", "num_labels"),
    *("problem_type", "finetuning_task", "task_specific_params"),
    # text, and its generation
    *("tokenizer_class", "prefix", "bos_token_id", "pad_token_id", "eos_token_id", "sep_token_id", "max_length"),
    *("decoder_start_token_id", "min_length", "do_sample", "early_stopping", "num_beams", "temperature", "top_k"),
    *("top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "bad_words_ids"),
    *("encoder_no_repeat_ngram_size", "num_return_sequences", "output_scores", "return_dict_in_generate"),
    *("forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty"),
    *("suppress_tokens", "begin_suppress_tokens", "num_beam_groups", "diversity_penalty"),
    # decoders, of which there are none
    *("is_encoder_decoder", "is_decoder", "cross_attention_hidden_size", "add_cross_attention"),
    *("tie_encoder_decoder", "tie_word_embeddings", "chunk_size_feed_forward"),
    # how a model is held: everything is read in float32
    *("dtype", "torch_dtype", "use_bfloat16", "tf_legacy_loss", "gradient_checkpointing", "_name_or_path"),
    *("transformers_version", "auto_map", *CALLING),
}
"""Keys that change neither what an encoder computes nor how it is pretrained here."""

ONLY: dict[str, tuple[Any, ...]] = {
    "feat_extract_norm": ("group", "layer"),
    "feat_extract_activation": ACTIVATIONS,
    "hidden_act": ACTIVATIONS,
    "feat_proj_layer_norm": (True, False),
    # Running statistics, which come out otherwise on another number of processes.
    "conv_pos_batch_norm": (False,),
    "add_adapter": (False,),
    # transformers' HuBERT heeds it too, though its configuration does not have it.
    "adapter_attn_dim": (None,),
    "pruned_heads": ({}, None),
    "per_layer_config": ({}, None),
    "quantization_config": (None,),
    "compression_config": (None,),
    # Names another file of weights.
    "transformers_weights": (None,),
    # Any other may be code on the Hub.
    "attn_implementation": (None, "eager", "sdpa"),
    "_attn_implementation": (None, "eager", "sdpa"),
}
"""Keys of which the values here are read, and any other is refused."""

ONLY_IN_WAV2VEC2: dict[str, tuple[Any, ...]] = {"feat_proj_layer_norm": (True,)}
"""Keys of HuBERT's that transformers' wav2vec 2.0 has no counterpart of."""

FOREIGN_CODE = ("quantization_config", "compression_config", "transformers_weights", "attn_implementation")
"""Keys that make transformers load other files than the model's, or code."""

FAIRSEQ_USED = {
    *("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "layer_norm_first"),
    *("conv_feature_layers", "conv_bias", "conv_pos", "conv_pos_groups", "latent_vars", "latent_groups", "latent_dim"),
    *("final_dim", "quantize_targets", "normalize"),
}
"""fairseq's keys whose value is taken, or must be that of the weights."""

FAIRSEQ_ACTIVATIONS = {
    **{name: name for name in ("gelu", "relu", "tanh", "linear")},
    "swish": "silu",
    "relu_squared": "relu2",
    # One function by two names.
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
}
"""fairseq's names of activations to transformers'."""

FAIRSEQ_ONLY: dict[str, tuple[Any, ...]] = {
    "activation_fn": tuple(FAIRSEQ_ACTIVATIONS),
    "extractor_mode": ("default", "layer_norm"),
    "layer_type": ("transformer",),
    "pos_conv_depth": (1,),
    "conv_pos_batch_norm": (False,),
    "pos_enc_type": ("abs",),
    "attn_type": ("",),
    "quantize_input": (False,),
    "quantizer_depth": (1,),
    "target_glu": (False,),
    "crop_seq_to_multiple": (1,),
    "sample_rate": (16_000,),
}
"""fairseq's keys of which the values here are read."""

FAIRSEQ_WITHOUT_EFFECT = {
    # dropouts, masks, negatives and losses: the run's own settings
    *("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "dropout_input", "dropout_features"),
    *("logit_temp", "feature_grad_mult", "latent_temp", "num_negatives", "negatives_from_everywhere"),
    *("cross_sample_negatives", "codebook_negatives", "skip_masked", "skip_nomask", "mask_length", "mask_prob"),
    *("mask_selection", "mask_other", "no_mask_overlap", "mask_min_space", "require_same_masks", "mask_dropout"),
    *("mask_channel_length", "mask_channel_prob", "mask_channel_before", "mask_channel_selection"),
    *("mask_channel_other", "no_mask_channel_overlap", "mask_channel_min_space"),
    # what the values above leave without a meaning
    *("same_quantizer", "quantizer_factor", "depthwise_conv_kernel_size", "adp_num", "adp_dim", "adp_act_fn"),
    *("adp_trf_idx", "untie_final_proj", "label_rate"),
    # how it is computed
    *("_name", "max_positions", "checkpoint_activations", "required_seq_len_multiple", "fp16"),
}
"""fairseq's keys that change neither what an encoder computes nor how it is pretrained here."""


def check_config(
    source: str,
    given: Mapping[str, Any],
    kind: type[PretrainedConfig],
    used: Set[str],
    only: Mapping[str, tuple[Any, ...]] = ONLY,
) -> None:
    """Refuse a configuration under which a model would compute what is not computed here.

    Args:
        source: whose it is, for the message.
        given: the keys of ``config.json``.
        kind: its class.
        used: keys whose value is taken, whatever it is, if it is of the kind of the default.
        only: keys of which the values here are read.

    Raises:
        UserError: names the key, its value, and what is read.
    """
    _check_only(source, given, only)
    defaults = kind().to_dict()
    check_kinds(source, given, {key: value for key, value in defaults.items() if key in used})
    for key in sorted((given.keys() & defaults.keys()) - used - WITHOUT_EFFECT - only.keys()):
        # A transformers newer than this table.
        _check_only(source, given, {key: (defaults[key],)})


def check_kinds(source: str, given: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    """Refuse values that are not of their example's kind: ``"1e-5"``, null, 4.0 layers, or ``"false"``, which is true.

    Numbers must be finite and at least 0, whole ones at least 1.
    """
    for key in sorted(given.keys() & examples.keys()):
        if not _is_like(given[key], examples[key]):
            raise UserError(
                f"{source}: its configuration says {key}: {given[key]!r}, where a value such as {examples[key]!r} "
                "belongs; correct it there"
            )


def _is_like(value: Any, example: Any) -> bool:
    if isinstance(example, bool):
        return value in (False, True)
    if isinstance(example, int):
        return type(value) is int and value > 0
    if isinstance(example, float):
        return type(value) in (int, float) and math.isfinite(value) and value >= 0
    if isinstance(example, list | tuple):
        return isinstance(value, list | tuple) and all(_is_like(item, example[0]) for item in value)
    return True


def without_calling(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what a model is to be asked for: transformers cannot always give it."""
    return {key: value for key, value in given.items() if key not in CALLING}


def check_foreign_code(source: str, given: Mapping[str, Any]) -> None:
    """Refuse a configuration that makes transformers load other files, or code from the Hub."""
    _check_only(source, given, {key: ONLY[key] for key in FOREIGN_CODE})


def check_fairseq(source: str, given: Mapping[str, Any]) -> None:
    """Refuse a configuration of fairseq whose model is another."""
    _check_only(source, given, FAIRSEQ_ONLY)


def unknown_to_fairseq(names: Iterable[str]) -> list[str]:
    """Return the settings of a model that fairseq does not have."""
    return sorted(set(names) - FAIRSEQ_USED - FAIRSEQ_ONLY.keys() - FAIRSEQ_WITHOUT_EFFECT)


def _check_only(source: str, given: Mapping[str, Any], only: Mapping[str, tuple[Any, ...]]) -> None:
    for key in sorted(given.keys() & only.keys()):
        if given[key] not in only[key]:
            accepted = " or ".join(repr(value) for value in only[key])
            raise UserError(
                f"{source}: its configuration says {key}: {given[key]!r}, which is not computed here; only {accepted} "
                f"{'is' if len(only[key]) == 1 else 'are'} read"
            )


def shared_config(config: PretrainedConfig, wanted: str) -> PretrainedConfig:
    """Return a wav2vec 2.0's or a HuBERT's configuration as that of the wanted family's model with the same encoder."""
    if config.model_type == wanted:
        return config
    kind = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig}[wanted]
    known = set(kind().to_dict()) - {"model_type", "architectures", "_name_or_path"}
    return kind(**{key: value for key, value in config.to_dict().items() if key in known})
