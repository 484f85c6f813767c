"""Corpora to shards, and shards to batches. Knows nothing of models or training."""
