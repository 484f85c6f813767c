"""The settings of ``nonverbal submit``, and which arguments of the command line are its own."""

import re
import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from nonverbal.errors import UserError

PASSED_ON = ("recipe", "seed", "family")
"""Settings of pretraining whose names have no dot."""


@dataclass
class SubmitConfig:
    """Resources on a cluster for a pretraining run or the folds of a fine-tuning.

    All other settings are those of `nonverbal pretrain` or, with `--finetune`, of `nonverbal finetune`.
    """

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder, which all nodes must see. The scripts and logs go into its folder `slurm`."""
    finetune: str | None = None
    """Recipe of `nonverbal finetune`: fine-tunes an encoder, each fold as a task of an array."""
    at_once: int | None = None
    """Maximum number of folds that are trained at the same time. Unset: as many as the cluster allows."""
    nodes: int = 1
    """Number of machines; with --finetune, of each fold."""
    gpus: int = 1
    """GPUs per node, with one process for each. 0 trains on CPUs."""
    processes_per_node: int = 1
    """Processes per node if there are no GPUs."""
    cpus: int = 4
    """CPU cores per process. With GPUs, one core trains and the others read audio ahead: `trainer.workers` is one less,
    at least 1, unless the recipe or the command line sets it."""
    memory: str | None = None
    """Memory per node, such as 200G. Unset: the cluster's default."""
    hours: float = 24.0
    """Time limit of one job. A run that needs longer is queued again, as often as necessary."""
    notice: float = 5.0
    """Minutes before the limit at which the run saves a checkpoint. Must be enough for a step and a checkpoint."""
    partition: str | None = None
    """Slurm's partition. Unset: the cluster's default."""
    account: str | None = None
    """Slurm's account. Unset: your default."""
    staging: str | None = "/tmp/nonverbal-$SLURM_JOB_USER"
    """Folder on each node's own disk to which the shards are copied first, once for all runs. The job expands
    variables such as $TMPDIR. null: read the shards where they are."""
    python: str | None = None
    """Command that runs Python on the nodes, such as `apptainer exec --nv image.sif python`. It is split into words
    as by a shell, and the job expands variables. Unset: the Python that runs this command."""
    setup: str = ""
    """Commands that prepare the environment, such as `module load cuda`. They go into the script unchanged."""
    check: bool = True
    """Run `nonverbal launch-check` first in every job, and end the job if a check fails."""
    then_probe: Path | None = None
    """Folder of labelled shards on which to probe the encoder after pretraining."""
    cluster: Path | None = None
    """YAML file with the settings above that are the same for all your runs, such as partition and setup."""
    submit: bool = False
    """Also submit the scripts after writing them."""

    def __post_init__(self) -> None:
        """Refuse values that Slurm would refuse later or misread."""
        for name, least in (("nodes", 1), ("gpus", 0), ("processes_per_node", 1), ("cpus", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, but is {getattr(self, name)}")
        if self.gpus and self.processes_per_node > 1:
            raise UserError(
                "--processes_per_node needs --gpus 0, because with GPUs there is one process for each; leave one out"
            )
        if self.at_once is not None and (self.finetune is None or self.at_once < 1):
            raise UserError(f"--at_once needs --finetune and must be at least 1, but is {self.at_once}")
        if self.finetune is not None and self.then_probe is not None:
            raise UserError("--then_probe is for pretraining; leave it out, or leave --finetune out")
        if not 0 < self.notice < self.hours * 60:
            raise UserError(
                f"--notice must be shorter than --hours, but is {self.notice:g} of {self.hours * 60:g} minutes"
            )
        for name, pattern in (("memory", r"\d+[KMGT]?"), ("partition", r"[\w.,+-]+"), ("account", r"[\w.@:+-]+")):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(pattern, value, re.ASCII):
                raise UserError(f"--{name} must look like {pattern}, but is {value!r}")
        if not python_words(self.python):
            raise UserError(
                f"--python must be a command such as 'apptainer exec image.sif python', but is {self.python!r}"
            )
        # These characters have a special meaning for Slurm, or in lists on the command line.
        if unusual := sorted({character for character in str(self.out) if character in '",\\' or character < " "}):
            raise UserError(f"--out must not contain {' '.join(map(repr, unusual))}; choose another name")

    @property
    def tasks(self) -> int:
        """Processes on each node."""
        return self.gpus or self.processes_per_node

    @property
    def folder(self) -> Path:
        """The folder for scripts and logs. It has no recipe.yaml, so a folder that holds only it is not a run."""
        return self.out.absolute() / "slurm"

    @property
    def second_after(self) -> str:
        """How the second job depends on the first: after folds it always starts, to report which of them failed."""
        return "afterok" if self.finetune is None else "afterany"


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Divide the command line into the arguments of ``SubmitConfig`` and those of the run, the recipe first.

    An argument with a dot in its name is the run's. Without a dot, pretraining takes those of ``PASSED_ON``, and
    fine-tuning all that are not fields of ``SubmitConfig``.
    """
    names = [argument[2:].partition("=")[0] for argument in argv if argument.startswith("--")]
    ours = {*(field.name for field in fields(SubmitConfig)), "help"}
    passed_on = set(PASSED_ON)
    if "finetune" in names:
        passed_on = {name for name in names if name.replace("-", "_") not in ours}
    own: list[str] = []
    passed: list[str] = []
    target = passed
    for argument in argv:
        if argument.startswith("--"):
            name = argument[2:].partition("=")[0]
            target = passed if "." in name or name in passed_on else own
        target.append(argument)
    return own, passed


def python_words(command: str | None) -> list[str]:
    """Return the words of the command for Python, split by the rules of a shell; empty if it cannot be parsed."""
    try:
        return [sys.executable] if command is None else shlex.split(command)
    except ValueError:
        return []
