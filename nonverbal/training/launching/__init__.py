"""Starting processes, and what is wrong with the machines before a run."""
