"""Training objectives: masks, targets, losses."""
