"""Folds, embeddings, probes and scores. Knows no trainer."""
