"""Encoders and their heads. Knows nothing of training."""
