"""Analyses of what models decide and represent: one file per analysis, all stored and shown in the same way."""
