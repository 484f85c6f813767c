"""Submits scripts with ``sbatch``."""

import shlex
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.stages.slurm.bash import captured


def submit(script: Path, after: str | None = None) -> str:
    """Submit a script with ``sbatch``, to start after a dependency such as ``afterok:7``. Returns the job's id."""
    dependency = [] if after is None else [f"--dependency={after}"]
    try:
        result = captured(["sbatch", "--parsable", *dependency, str(script)])
    except FileNotFoundError as error:
        raise UserError(
            f"sbatch is not on the PATH; {script} is written: submit it on a machine of the cluster"
        ) from error
    if result.returncode != 0:
        raise UserError(f"sbatch refused {script}: {result.stderr.strip()}")
    # Followed by the cluster's name if there are several clusters: 123;first.
    return result.stdout.strip().partition(";")[0]


def submit_command(scripts: list[Path], second_after: str) -> str:
    """Return the bash command that submits scripts, each to start ``afterok`` or ``afterany`` of the one before."""
    line = ""
    for script in scripts:
        after = f'--dependency={second_after}:"$({line})" ' if line else ""
        parsable = "--parsable " if script != scripts[-1] else ""
        line = f"sbatch {parsable}{after}{shlex.quote(str(script))}"
    return line
