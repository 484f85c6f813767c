"""From shards to batches: what an epoch holds, in which order, read ahead."""
