"""What sets of clips have in common that they should not."""
