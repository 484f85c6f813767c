"""Starts the processes of a run, and checks the machines before it."""
