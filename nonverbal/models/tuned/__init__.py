"""Encoders as fine-tuning trains them."""
