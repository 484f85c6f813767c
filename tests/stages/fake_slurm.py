"""Slurm's commands, as far as scripts and `nonverbal submit` use them."""

import os
import subprocess

# Notes how it was called, does as a run would, and ends as it is told.
PYTHON = """#!/bin/bash
printf '%s\\0' "$@" > "$NOTES/arguments"
env > "$NOTES/environment"
if [ "$3" = prepare ]; then echo "$5" >> "$NOTES/verified"; exit "${VERIFY:-0}"; fi
if [ "$3" = launch-check ]; then
    echo "$LOCAL_RANK $*" >> "$NOTES/checked"
    if [ -n "${FINDINGS-}" ]; then touch "$FINDINGS"; fi
    exit "${CHECK:-0}"
fi
if [ -n "${STEP-}" ]; then echo '{"cause": "SIGUSR1", "step": '"$STEP"'}' > "$OUT/${MARKER:-interrupted.json}"; fi
exit "${STATUS:-0}"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do echo "$1" >> "$NOTES/srun"; shift; done
SLURM_PROCID=5 SLURM_LOCALID=1 exec "$@"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo "JobId=7 PreemptTime=${PREEMPTED:-None}"; else echo "$@" >> "$NOTES/scontrol"; fi
"""
SBATCH = """#!/bin/bash
echo "$@" >> "$NOTES/sbatch"
if [ -n "${REFUSE-}" ]; then echo "sbatch: error: $REFUSE" >&2; exit 1; fi
echo "$((100 + $(wc -l < "$NOTES/sbatch")));first"
"""


class Fakes:
    """Slurm's commands and a Python that only note how they are called."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in (("python", PYTHON), ("srun", SRUN), ("scontrol", SCONTROL), ("sbatch", SBATCH)):
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        self.python = str(folder / "bin" / "python")
        self.path = f"{folder / 'bin'}:{os.environ['PATH']}"

    def run(self, script, out, **environment):
        """Run a script as Slurm would, and return its exit status."""
        job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_NTASKS": "8", "SLURM_CPUS_PER_TASK": "4"}
        job["SLURM_TASKS_PER_NODE"] = "2(x4)"
        names = {**os.environ, **job, "SLURM_JOB_USER": "me", "NOTES": str(self.folder), "OUT": str(out)}
        names |= {"PATH": self.path, **{name: str(value) for name, value in environment.items()}}
        syntax = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        assert syntax.returncode == 0, syntax.stderr
        return subprocess.run(["bash", script], env=names, cwd=self.folder, capture_output=True, text=True)

    def notes(self, name):
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def arguments(self):
        return (self.folder / "arguments").read_text().split("\0")[:-1]
