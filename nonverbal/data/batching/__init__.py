"""From shards to batches: the content and order of an epoch, and reading ahead."""
