"""From corpora to shards: scan, check, split, write, and the ledger of it."""
