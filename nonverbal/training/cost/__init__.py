"""Estimates the cost of a run from a minute of training."""
