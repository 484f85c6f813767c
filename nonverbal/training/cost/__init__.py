"""What a run will take: measured for a minute, then estimated."""
