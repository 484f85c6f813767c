"""Classifies every key of a configuration: used, without effect here, or supported with certain values only.

There is one table for transformers' wav2vec 2.0 and HuBERT (4.57 to 5.18), and one for fairseq's. A family with a model
of its own lists the keys that it uses. A key that is unknown to the class of a configuration has no effect, because
none of its code uses it. ``auto_map``, which names code beside a checkpoint, is never followed.
"""

import sys
from collections.abc import Iterable, Mapping, Set
from typing import Any

from transformers import HubertConfig, PretrainedConfig, Wav2Vec2Config

from nonverbal.errors import UserError

ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2"),
    *("relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh"),
)
"""transformers' activations without weights of their own."""

CALLING = ("return_dict", "torchscript", "output_attentions", "output_hidden_states")
"""Keys with defaults for arguments of a call, which our calls always give."""

AS_CALLED = {"return_dict": True, "output_attentions": False}
"""Values that replace them when transformers reads a configuration itself."""

FUNCTION = {
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps"),
    *("do_stable_layer_norm", "conv_dim", "conv_stride", "conv_kernel", "conv_bias", "num_feat_extract_layers"),
    *("num_conv_pos_embeddings", "num_conv_pos_embedding_groups"),
}
"""Keys on which the output of a wav2vec 2.0 or a HuBERT depends, besides those of ``ONLY``."""

USED = FUNCTION | {
    # the head of pretraining, and the initialisation of weights
    *("num_codevectors_per_group", "num_codevector_groups", "codevector_dim", "proj_codevector_dim"),
    *("initializer_range", "model_type"),
}
"""Keys whose value our forward pass uses."""

WITHOUT_EFFECT = {
    # dropouts, masks and losses: the run has settings of its own
    *("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop"),
    *("feat_quantizer_dropout", "apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks"),
    *("mask_feature_prob", "mask_feature_length", "mask_feature_min_masks", "contrastive_logits_temperature"),
    *("num_negatives", "diversity_loss_weight"),
    # heads of other tasks, and an adapter that must be absent
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
    # decoders, which do not exist here
    *("is_encoder_decoder", "is_decoder", "cross_attention_hidden_size", "add_cross_attention"),
    *("tie_encoder_decoder", "tie_word_embeddings", "chunk_size_feed_forward"),
    # types of stored weights: everything is read in float32
    *("dtype", "torch_dtype", "use_bfloat16", "tf_legacy_loss", "gradient_checkpointing", "_name_or_path"),
    *("transformers_version", "auto_map", *CALLING),
}
"""Keys that affect neither the output of an encoder nor its pretraining here."""

ONLY: dict[str, tuple[Any, ...]] = {
    "feat_extract_norm": ("group", "layer"),
    "feat_extract_activation": ACTIVATIONS,
    "hidden_act": ACTIVATIONS,
    "feat_proj_layer_norm": (True, False),
    # Running statistics, which depend on the number of processes.
    "conv_pos_batch_norm": (False,),
    "add_adapter": (False,),
    # transformers' HuBERT uses it too, although its configuration does not have it.
    "adapter_attn_dim": (None,),
    "pruned_heads": ({}, None),
    "per_layer_config": ({}, None),
    "quantization_config": (None,),
    "compression_config": (None,),
    # Names another file of weights.
    "transformers_weights": (None,),
    # Any other value may be code on the Hub.
    "attn_implementation": (None, "eager", "sdpa"),
    "_attn_implementation": (None, "eager", "sdpa"),
}
"""Keys with their supported values; others are refused."""

ONLY_IN_WAV2VEC2: dict[str, tuple[Any, ...]] = {"feat_proj_layer_norm": (True,)}
"""Keys of HuBERT without a counterpart in transformers' wav2vec 2.0, with their supported values."""

FOREIGN_CODE = ("quantization_config", "compression_config", "transformers_weights", "attn_implementation")
"""Keys that make transformers load code, or files other than those of the model."""

FAIRSEQ_USED = {
    *("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "layer_norm_first"),
    *("conv_feature_layers", "conv_bias", "conv_pos", "conv_pos_groups", "latent_vars", "latent_groups", "latent_dim"),
    *("final_dim", "quantize_targets", "normalize"),
}
"""fairseq's keys whose value is used, or must agree with the weights."""

FAIRSEQ_ACTIVATIONS = {
    **{name: name for name in ("gelu", "relu", "tanh", "linear")},
    "swish": "silu",
    "relu_squared": "relu2",
    # Two names of the same function.
    "gelu_accurate": "gelu_new",
    "gelu_fast": "gelu_new",
}
"""fairseq's names of activations, mapped to those of transformers."""

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
"""fairseq's keys with their supported values."""

FAIRSEQ_WITHOUT_EFFECT = {
    # dropouts, masks, negatives and losses: the run has settings of its own
    *("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "dropout_input", "dropout_features"),
    *("logit_temp", "feature_grad_mult", "latent_temp", "num_negatives", "negatives_from_everywhere"),
    *("cross_sample_negatives", "codebook_negatives", "skip_masked", "skip_nomask", "mask_length", "mask_prob"),
    *("mask_selection", "mask_other", "no_mask_overlap", "mask_min_space", "require_same_masks", "mask_dropout"),
    *("mask_channel_length", "mask_channel_prob", "mask_channel_before", "mask_channel_selection"),
    *("mask_channel_other", "no_mask_channel_overlap", "mask_channel_min_space"),
    # meaningless with the values above
    *("same_quantizer", "quantizer_factor", "depthwise_conv_kernel_size", "adp_num", "adp_dim", "adp_act_fn"),
    *("adp_trf_idx", "untie_final_proj", "label_rate"),
    # how it is computed
    *("_name", "max_positions", "checkpoint_activations", "required_seq_len_multiple", "fp16"),
}
"""fairseq's keys that affect neither the output of an encoder nor its pretraining here."""


def check_config(
    source: str,
    given: Mapping[str, Any],
    kind: type[PretrainedConfig],
    used: Set[str],
    only: Mapping[str, tuple[Any, ...]] = ONLY,
) -> None:
    """Refuse a configuration whose model would compute something that is not supported here.

    Args:
        source: of the configuration, for the message.
        given: the keys of ``config.json``.
        kind: class of the configuration.
        used: keys whose value is used; it must have the type of the default.
        only: keys with their supported values.

    Raises:
        UserError: names the key, its value, and the supported values.
    """
    _check_only(source, given, only)
    defaults = kind().to_dict()
    check_kinds(source, given, {key: value for key, value in defaults.items() if key in used})
    for key in sorted((given.keys() & defaults.keys()) - used - WITHOUT_EFFECT - only.keys()):
        # transformers may be newer than this table.
        _check_only(source, given, {key: (defaults[key],)})


def check_kinds(source: str, given: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    """Refuse values of another type than their example, such as ``"1e-5"``, null, or 4.0 layers, or ``"false"``.

    Numbers must be finite and at least 0, integers at least 1.
    """
    for key in sorted(given.keys() & examples.keys()):
        if not _is_like(given[key], examples[key]):
            raise UserError(
                f"the configuration of {source} has {key}: {given[key]!r}, but a value such as {examples[key]!r} is "
                "expected; correct it there"
            )


def _is_like(value: Any, example: Any) -> bool:
    if isinstance(example, bool):
        return value in (False, True)
    if isinstance(example, int):
        return type(value) is int and value > 0
    if isinstance(example, float):
        # Neither NaN nor a whole number that floating point cannot hold is in this range.
        return type(value) in (int, float) and 0 <= value <= sys.float_info.max
    if isinstance(example, list | tuple):
        return isinstance(value, list | tuple) and all(_is_like(item, example[0]) for item in value)
    return True


def without_calling(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the keys of ``CALLING``, because transformers cannot always do what they say."""
    return {key: value for key, value in given.items() if key not in CALLING}


def check_foreign_code(source: str, given: Mapping[str, Any]) -> None:
    """Refuse a configuration that makes transformers load other files, or code from the Hub."""
    _check_only(source, given, {key: ONLY[key] for key in FOREIGN_CODE})


def check_fairseq(source: str, given: Mapping[str, Any]) -> None:
    """Refuse a configuration of fairseq that describes another model."""
    _check_only(source, given, FAIRSEQ_ONLY)


def unknown_to_fairseq(names: Iterable[str]) -> list[str]:
    """Return those settings of a model that fairseq does not have."""
    return sorted(set(names) - FAIRSEQ_USED - FAIRSEQ_ONLY.keys() - FAIRSEQ_WITHOUT_EFFECT)


def _check_only(source: str, given: Mapping[str, Any], only: Mapping[str, tuple[Any, ...]]) -> None:
    for key in sorted(given.keys() & only.keys()):
        if given[key] not in only[key]:
            accepted = " or ".join(repr(value) for value in only[key])
            raise UserError(
                f"the configuration of {source} has {key}: {given[key]!r}, which is not supported; only {accepted} "
                f"{'is' if len(only[key]) == 1 else 'are'}"
            )


def shared_config(config: PretrainedConfig, wanted: str) -> PretrainedConfig:
    """Return the configuration of a wav2vec 2.0 or HuBERT as one of the ``wanted`` kind with the same encoder."""
    if config.model_type == wanted:
        return config
    kind = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig}[wanted]
    # transformers turns the dtype of a file, which weights do not follow here, into an attribute of torch.
    known = set(kind().to_dict()) - {"model_type", "architectures", "_name_or_path", "dtype", "torch_dtype"}
    return kind(**{key: value for key, value in config.to_dict().items() if key in known})
