"""Classifiers that are trained on frozen embeddings."""
