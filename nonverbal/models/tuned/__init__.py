"""Encoders for fine-tuning, which return all hidden states of a batch, each row computed as if it were alone."""
