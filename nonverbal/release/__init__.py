"""Checkpoints for other people's hands: facts, terms, card, folder, passport, and the Hugging Face Hub."""
