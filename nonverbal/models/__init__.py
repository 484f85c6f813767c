"""Encoders and their heads, without any code for training."""
