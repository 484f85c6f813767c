"""The only training loop, and what it needs. It knows nothing of corpora and papers."""
