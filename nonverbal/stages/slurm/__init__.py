"""Slurm: fills in the scripts of ``slurm/`` for a run, and submits them with ``sbatch``."""
