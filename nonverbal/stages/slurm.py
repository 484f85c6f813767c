"""Slurm: the scripts of ``slurm/`` filled in for one run, and handed to ``sbatch``."""

import math
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.files import write_atomically
from nonverbal.recipes import read_recipe
from nonverbal.shipped import find_shipped

PASSED_ON = ("recipe", "seed", "family")
"""Settings of pretraining whose names have no dot."""


@dataclass
class SubmitConfig:
    """Where a pretraining run goes on a cluster. All other settings are those of `nonverbal pretrain`."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder, which all nodes must see. The scripts and logs go into its folder `slurm`."""
    nodes: int = 1
    """Machines."""
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


def split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Divide the command line into what ``SubmitConfig`` takes and what pretraining takes, its recipe first."""
    own: list[str] = []
    passed: list[str] = []
    target = passed
    for argument in argv:
        if argument.startswith("--"):
            name = argument[2:].partition("=")[0]
            target = passed if "." in name or name in PASSED_ON else own
        target.append(argument)
    return own, passed


def check_settings(settings: SubmitConfig, passed: list[str]) -> None:
    """Find out before the queue what the run would find out after it.

    Raises:
        UserError: a setting that pretraining does not know, shards that are not whole, too many processes, bad setup.
    """
    for folder in [*settings.data, *([settings.then_probe] if settings.then_probe else [])]:
        open_shards(folder)
    resolved = resolve(settings, passed)
    if resolved["trainer"]["processes"] is not None:
        raise UserError("trainer.processes follows from --nodes and --gpus: leave it out")
    world, batches = settings.nodes * settings.tasks, resolved["batches"]["batches_per_step"]
    if world > batches:
        raise UserError(
            f"{settings.nodes} x {settings.tasks} processes share the {batches} micro-batches of a step, so some would "
            "have none; take fewer, or raise batches.batches_per_step and lower batches.batch_seconds"
        )
    # A quote that is left open would swallow the rest of the script.
    if error := _run(["bash", "-n"], settings.setup).stderr.strip():
        raise UserError(f"--setup is not valid bash: {error.splitlines()[0]}")


def resolve(settings: SubmitConfig, passed: list[str]) -> dict[str, Any]:
    """Return all settings of the pretraining, as `nonverbal pretrain` itself understands them."""
    command = [sys.executable, "-m", "nonverbal", "pretrain", *passed, f"--out={settings.out}"]
    result = _run([*command, "--data", *map(str, settings.data), "--print_config"])
    if result.returncode != 0:
        raise UserError(result.stderr.strip().removeprefix("nonverbal: "))
    resolved: dict[str, Any] = yaml.safe_load(result.stdout)
    return resolved


def write_scripts(settings: SubmitConfig, passed: list[str]) -> list[Path]:
    """Write the script of the pretraining, and that of the probe where there is to be one."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    passed = [*keep_recipe(settings, passed), *workers(settings, passed)]
    scripts = {"pretrain": pretrain_script(settings, passed)}
    if settings.then_probe is not None:
        scripts["probe"] = probe_script(settings, settings.then_probe)
    for name, text in scripts.items():
        write_atomically(settings.folder / f"{name}.sh", text)
    return [settings.folder / f"{name}.sh" for name in scripts]


def keep_recipe(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Let the run read a copy of its recipe: it is read again at every start, and yours may have changed by then.

    A recipe that is built on another is copied as one file.
    """
    if not passed or passed[0].startswith("--"):
        return passed
    recipe = read_recipe(passed[0])
    copy = settings.folder / recipe.layers[0].path.name
    write_atomically(copy, recipe.text)
    return [str(copy), *passed[1:]]


def workers(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Let all cores but one read audio, unless the recipe or the command line says how many processes do.

    On CPUs, a step takes so long that the one worker of the default is enough.
    """
    given = any(argument.partition("=")[0] == "--trainer.workers" for argument in passed)
    if passed and not passed[0].startswith("--"):
        given |= "workers" in read_recipe(passed[0]).content.get("trainer", {})
    return [] if given or not settings.gpus else ["--trainer.workers", str(max(settings.cpus - 1, 1))]


def pretrain_script(settings: SubmitConfig, passed: list[str]) -> str:
    """Return ``slurm/pretrain.sh`` for this run."""
    directives = {
        "nodes": settings.nodes,
        "ntasks-per-node": settings.tasks,
        "gpus-per-node": settings.gpus or None,
        "signal": f"USR1@{round(settings.notice * 60)}",
    }
    variables = {
        "settings": _array(passed),
        "data": _array(_absolute(settings.data)),
        "out": shlex.quote(str(settings.out.absolute())),
        "processes": str(settings.nodes * settings.tasks),
        "staging": quote_but_variables(settings.staging or ""),
        "check": "true" if settings.check else "false",
    }
    return _filled("pretrain", settings, directives, variables)


def probe_script(settings: SubmitConfig, data: Path) -> str:
    """Return ``slurm/probe.sh`` for the encoder of this run."""
    out = settings.out.absolute()
    variables = {
        "data": shlex.quote(str(data.absolute())),
        "encoders": _array(["logmel", f"initialised:{out / 'encoder'}", str(out / "encoder")]),
        "pretraining": _array([f"{folder}/manifest.jsonl" for folder in _absolute(settings.data)]),
        "out": shlex.quote(str(out / "probe")),
    }
    return _filled("probe", settings, {"gpus-per-node": min(settings.gpus, 1) or None}, variables)


def python_words(command: str | None) -> list[str]:
    """Return the words of the command that is Python, by the rules of a shell; empty if it cannot be parsed."""
    try:
        return [sys.executable] if command is None else shlex.split(command)
    except ValueError:
        return []


def quote_but_variables(text: str) -> str:
    """Quote for bash, but let $NAME and ${NAME} stand for what they are in the job."""
    parts = re.split(r"(\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\})", text, flags=re.ASCII)
    quoted = [f'"{part}"' if i % 2 else shlex.quote(part) for i, part in enumerate(parts) if part]
    return "".join(quoted) or "''"


def fill(template: str, directives: dict[str, Any], variables: dict[str, str], setup: str) -> str:
    """Replace values in the upper part of a script. A directive whose value is None becomes a comment: ``##SBATCH``."""
    values = {f"#SBATCH --{name}": value for name, value in directives.items()} | variables
    upper, mark, lower = template.partition("\n# What follows")
    lines = []
    for line in upper.splitlines():
        key, _, example = line.replace("##SBATCH", "#SBATCH").partition("=")
        if key in values:
            value = values.pop(key)
            lines.append(f"#{key}={example}" if value is None else f"{key}={value}")
        else:
            lines.append(setup if line == "# setup" and setup else line)
    assert not values, f"the template lacks {', '.join(values)}"
    return "\n".join(lines) + mark + lower


def submit(script: Path, after: str | None = None) -> str:
    """Hand a script to ``sbatch``, to start when the job ``after`` has succeeded. Returns the job's id."""
    dependency = [] if after is None else [f"--dependency=afterok:{after}"]
    try:
        result = _run(["sbatch", "--parsable", *dependency, str(script)])
    except FileNotFoundError as error:
        raise UserError(
            f"sbatch is not on the PATH; {script} is written: submit it on a machine of the cluster"
        ) from error
    if result.returncode != 0:
        raise UserError(f"sbatch refused {script}: {result.stderr.strip()}")
    # With the cluster's name where there are several: 123;first.
    return result.stdout.strip().partition(";")[0]


def submit_command(scripts: list[Path]) -> str:
    """Return the line of bash that submits the scripts, each after the one before."""
    line = ""
    for script in scripts:
        after = f'--dependency=afterok:"$({line})" ' if line else ""
        parsable = "--parsable " if script != scripts[-1] else ""
        line = f"sbatch {parsable}{after}{shlex.quote(str(script))}"
    return line


def _filled(name: str, settings: SubmitConfig, directives: dict[str, Any], variables: dict[str, str]) -> str:
    """A script of ``slurm/`` with what both have in common."""
    common = {
        "job-name": re.sub(r"[^\w.-]", "-", settings.out.absolute().name, flags=re.ASCII) + f"-{name}",
        "cpus-per-task": settings.cpus,
        "mem": settings.memory,
        "partition": settings.partition,
        "account": settings.account,
        "time": math.ceil(settings.hours * 60),
        # In double quotes Slurm takes all but \ and " as it is, and % is for names such as %j.
        "output": '"{}/{}-%j.log"'.format(str(settings.folder).replace("%", "%%"), name),
    }
    template = find_shipped(f"slurm/{name}.sh").read_text(encoding="utf-8")
    python = {"python": f"({' '.join(map(quote_but_variables, python_words(settings.python)))})"}
    return fill(template, common | directives, python | variables, settings.setup)


def _array(values: list[str]) -> str:
    return f"({shlex.join(values)})"


def _absolute(folders: list[Path]) -> list[str]:
    return [str(folder.absolute()) for folder in folders]


def _run(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True)
