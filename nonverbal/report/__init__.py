"""A page of what was measured: what others wrote, read, drawn and set. No score is computed here."""
