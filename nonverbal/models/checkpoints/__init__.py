"""Reads checkpoints of wav2vec 2.0, HuBERT and Audio Mamba in every format, and builds models from them."""
