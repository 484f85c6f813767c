"""Tasks: clips whose classes are to be distinguished, how the clips are divided, and how decisions are scored."""
