"""Folds, embeddings, probes and scores, independent of any trainer."""
