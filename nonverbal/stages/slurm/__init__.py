"""Slurm: the scripts of ``slurm/`` filled in for one run, and handed to ``sbatch``."""
