"""Finds what sets of clips have in common but should not."""
