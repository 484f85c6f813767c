"""Checkpoints of wav2vec 2.0, HuBERT and Audio Mamba in every format: what they hold, and what is made of them."""
