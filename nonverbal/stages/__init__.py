"""What each command does: its settings become an objective, data and a trainer. One file per stage of a project."""
