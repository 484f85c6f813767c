"""Heads by name, one file each."""

from nonverbal.evaluation.heads.base import Head, Pooled
from nonverbal.evaluation.heads.linear import Linear

HEADS: dict[str, Head[Pooled]] = {"linear": Linear()}
"""What may be trained on pooled embeddings; ``docs/add-a-head.md`` shows how to add one."""
