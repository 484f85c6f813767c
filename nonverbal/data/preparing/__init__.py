"""From corpora to shards: scan, check, split, write, and keep a ledger."""
