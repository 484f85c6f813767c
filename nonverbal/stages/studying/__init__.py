"""Studies: the experiments of a paper as steps, each a command; their status, their cost, and running them in order."""
