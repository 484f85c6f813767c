"""The folders of shards of ``tests/tasks``."""

from labelled_tones import labelled_shards  # noqa: F401  (a fixture)
