"""Folders of shards made by hand."""

from labelled_tones import labelled_shards  # noqa: F401  (a fixture)
