"""Studies: what a paper did, as steps that are commands; which are done, what they cost, and running them in order."""
