"""Folders of shards made by hand."""

from labelled import labelled_shards  # noqa: F401  (a fixture)
