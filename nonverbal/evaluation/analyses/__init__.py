"""Analyses of what models decide and represent: one file an analysis, all kept and shown in one frame."""
