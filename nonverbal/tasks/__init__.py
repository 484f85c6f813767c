"""Tasks: clips whose classes are to be told apart, how they are divided, and what the decisions are worth."""
