"""Where a run goes on a cluster, and which words of the command line say so."""

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
    """Where a pretraining run, or the folds of a fine-tuning, go on a cluster. All other settings are those of
    `nonverbal pretrain` or, with `--finetune`, of `nonverbal finetune`."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder, which all nodes must see. The scripts and logs go into its folder `slurm`."""
    finetune: str | None = None
    """Recipe of `nonverbal finetune`: an encoder is fine-tuned, each fold as a task of an array."""
    at_once: int | None = None
    """Folds that are trained at the same time. Unset: as many as the cluster lets you."""
    nodes: int = 1
    """Machines, of each fold where there are folds."""
    gpus: int = 1
    """GPUs of each node, and processes: one trains on each. 0 trains on CPUs."""
    processes_per_node: int = 1
    """Processes on each node where there are no GPUs."""
    cpus: int = 4
    """CPU cores of each process. On GPUs one of them trains and the others read audio ahead: `trainer.workers` is one
    less, at least 1, unless the recipe or the command line gives it."""
    memory: str | None = None
    """Memory of each node, such as 200G. Unset: what the cluster gives by default."""
    hours: float = 24.0
    """Time limit of one job. A run that needs longer is queued again, as often as it takes."""
    notice: float = 5.0
    """Minutes before the limit at which the run saves itself. It must be enough for a step and a checkpoint."""
    partition: str | None = None
    """Slurm's partition. Unset: the cluster's default."""
    account: str | None = None
    """Slurm's account. Unset: your default."""
    staging: str | None = "/tmp/nonverbal-$SLURM_JOB_USER"
    """Folder on each node's own disk that the shards are copied to first, once for all runs; variables such as
    $TMPDIR are those of the job. null reads the shards where they are."""
    python: str | None = None
    """Command that is Python on the nodes, such as `apptainer exec --nv image.sif python`, in words as a shell takes
    them; variables are those of the job. Unset: the Python that runs this command."""
    setup: str = ""
    """Commands that make the environment ready, such as `module load cuda`. They are run as they are."""
    check: bool = True
    """Run `nonverbal launch-check` first in every job, and end the job where it finds something wrong."""
    then_probe: Path | None = None
    """Folder of labelled shards that the encoder is probed on when pretraining is done."""
    cluster: Path | None = None
    """YAML file with the settings above that are the same for all your runs, such as partition and setup."""
    submit: bool = False
    """Submit the scripts, and not only write them."""

    def __post_init__(self) -> None:
        """Refuse what Slurm would refuse later, or misread."""
        for name, least in (("nodes", 1), ("gpus", 0), ("processes_per_node", 1), ("cpus", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, but is {getattr(self, name)}")
        if self.gpus and self.processes_per_node > 1:
            raise UserError("--processes_per_node goes with --gpus 0: with GPUs there is one process for each")
        if self.at_once is not None and (self.finetune is None or self.at_once < 1):
            raise UserError(f"--at_once goes with --finetune and must be at least 1, but is {self.at_once}")
        if self.finetune is not None and self.then_probe is not None:
            raise UserError("--then_probe goes with pretraining: leave it out, or leave --finetune out")
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
        # Slurm and lists on the command line give these characters a meaning of their own.
        if unusual := sorted({character for character in str(self.out) if character in '",\\' or character < " "}):
            raise UserError(f"--out must not contain {' '.join(map(repr, unusual))}: choose another name")

    @property
    def tasks(self) -> int:
        """Processes on each node."""
        return self.gpus or self.processes_per_node

    @property
    def folder(self) -> Path:
        """Where scripts and logs go: a run is a folder with a recipe.yaml, for which this one alone is not taken."""
        return self.out.absolute() / "slurm"

    @property
    def second_after(self) -> str:
        """What becomes of the first job before the second starts: one after folds says which of them failed."""
        return "afterok" if self.finetune is None else "afterany"


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Divide the command line into what ``SubmitConfig`` takes and what the run takes, its recipe first.

    A name without a dot is pretraining's where it is one of the few that are, and fine-tuning's unless it is our own.
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
    """Return the words of the command that is Python, by the rules of a shell; empty if it cannot be parsed."""
    try:
        return [sys.executable] if command is None else shlex.split(command)
    except ValueError:
        return []
