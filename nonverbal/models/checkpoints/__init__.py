"""Checkpoints of wav2vec 2.0 and HuBERT in every format: what they hold, and what is made of them."""
