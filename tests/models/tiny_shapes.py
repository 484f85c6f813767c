"""The shapes of the tiny encoders that tests build, each under the names of whoever reads them."""

from typing import Any

HUBERT: dict[str, Any] = {
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "ffn_size": 48,
    "conv_channels": 16,
    "position_kernel": 16,
    "position_groups": 4,
    "projection_size": 12,
}
"""Of HuBERT's ``Architecture``."""

WAV2VEC2: dict[str, Any] = {**HUBERT, "codes": 16, "code_size": 16}
"""Of wav2vec 2.0's ``Architecture``."""

SSAM: dict[str, Any] = {"hidden_size": 16, "layers": 2, "state_size": 3}
"""Of an Audio Mamba's ``Architecture``."""

AUDIO_MAMBA: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 3}
"""The same, of its configuration."""

TRANSFORMER: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
"""Of the configurations of transformers."""

WAVEFORMS: dict[str, Any] = {
    **TRANSFORMER,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
"""Of those that take waveforms: wav2vec 2.0, HuBERT, WavLM and their like."""

LARGE: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
"""What makes the layout large: a norm in every convolution, and before rather than after each layer."""
