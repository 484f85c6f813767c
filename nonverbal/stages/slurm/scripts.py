"""The scripts of one run."""

import math
import re
import shlex
from pathlib import Path
from typing import Any

from nonverbal.files import write_atomically
from nonverbal.recipes import read_recipe
from nonverbal.shipped import find_shipped
from nonverbal.stages.slurm.bash import array, fill, quote_but_variables
from nonverbal.stages.slurm.settings import SubmitConfig, python_words

FOLDS = "finetune"
"""Name of the script whose job is an array."""


def write_scripts(settings: SubmitConfig, passed: list[str]) -> list[Path]:
    """Write the script of the pretraining, and that of the probe if one is wanted."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    scripts = {"pretrain": pretrain_script(settings, kept(settings, passed))}
    if settings.then_probe is not None:
        scripts["probe"] = probe_script(settings, settings.then_probe)
    return _write(settings.folder, scripts)


def write_fold_scripts(settings: SubmitConfig, passed: list[str], folds: list[str]) -> list[Path]:
    """Write the script of the array that trains the folds with these names, and that of the job that follows."""
    settings.folder.mkdir(parents=True, exist_ok=True)
    passed = kept(settings, passed)
    at_once = "" if settings.at_once is None else f"%{settings.at_once}"
    scripts = {
        FOLDS: finetune_script(FOLDS, settings, passed, folds, f"0-{len(folds) - 1}{at_once}"),
        "finish": finetune_script("finish", settings, passed, folds, None),
    }
    return _write(settings.folder, scripts)


def kept(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Return the run's settings as arguments for its script."""
    return [*keep_recipe(settings, passed), *workers(settings, passed)]


def keep_recipe(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Copy the recipe for the run, because every start reads it again and yours may have changed by then.

    A recipe with a ``base:`` is resolved into one file.
    """
    if not passed or passed[0].startswith("--"):
        return passed
    recipe = read_recipe(passed[0])
    copy = settings.folder / recipe.layers[0].path.name
    write_atomically(copy, recipe.text)
    return [str(copy), *passed[1:]]


def workers(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Use all cores but one as data workers, unless the recipe or the command line gives their number.

    On CPUs a step takes so long that the default of one worker is enough.
    """
    given = any(argument.partition("=")[0] == "--trainer.workers" for argument in passed)
    if passed and not passed[0].startswith("--"):
        given |= "workers" in read_recipe(passed[0]).content.get("trainer", {})
    return [] if given or not settings.gpus else ["--trainer.workers", str(max(settings.cpus - 1, 1))]


def pretrain_script(settings: SubmitConfig, passed: list[str]) -> str:
    """Return ``slurm/pretrain.sh`` for this run."""
    return _filled("pretrain", "pretrain", settings, _shape(settings), _run(settings, passed))


def finetune_script(name: str, settings: SubmitConfig, passed: list[str], folds: list[str], tasks: str | None) -> str:
    """Return ``slurm/finetune.sh`` for this run: for the array of ``tasks``, or for the job after it if None."""
    directives = _shape(settings) | {"array": tasks}
    return _filled("finetune", name, settings, directives, _run(settings, passed) | {"folds": array(folds)})


def probe_script(settings: SubmitConfig, data: Path) -> str:
    """Return ``slurm/probe.sh`` for the encoder of this run."""
    out = settings.out.absolute()
    variables = {
        "data": shlex.quote(str(data.absolute())),
        "encoders": array(["logmel", f"initialised:{out / 'encoder'}", str(out / "encoder")]),
        "pretraining": array([f"{folder}/manifest.jsonl" for folder in _absolute(settings.data)]),
        "out": shlex.quote(str(out / "probe")),
    }
    return _filled("probe", "probe", settings, {"gpus-per-node": min(settings.gpus, 1) or None}, variables)


def log_of(script: Path, job: str) -> Path:
    """Return the path of a job's log, with * for the number of a fold."""
    return script.with_name(_log(script.stem).replace("%j", job).replace("%A", job).replace("%a", "*"))


def _log(name: str) -> str:
    return f"{name}-%A_%a.log" if name == FOLDS else f"{name}-%j.log"


def _shape(settings: SubmitConfig) -> dict[str, Any]:
    """Resources requested by a job that trains."""
    return {
        "nodes": settings.nodes,
        "ntasks-per-node": settings.tasks,
        "gpus-per-node": settings.gpus or None,
        "signal": f"USR1@{round(settings.notice * 60)}",
    }


def _run(settings: SubmitConfig, passed: list[str]) -> dict[str, str]:
    """Variables of the script that describe the run."""
    return {
        "settings": array(passed),
        "data": array(_absolute(settings.data)),
        "out": shlex.quote(str(settings.out.absolute())),
        "processes": str(settings.nodes * settings.tasks),
        "staging": quote_but_variables(settings.staging or ""),
        "check": "true" if settings.check else "false",
    }


def _filled(
    template: str, name: str, settings: SubmitConfig, directives: dict[str, Any], variables: dict[str, str]
) -> str:
    """Return a complete script of ``slurm/``, with the values that all of them need."""
    common = {
        "job-name": re.sub(r"[^\w.-]", "-", settings.out.absolute().name, flags=re.ASCII) + f"-{name}",
        "cpus-per-task": settings.cpus,
        "mem": settings.memory,
        "partition": settings.partition,
        "account": settings.account,
        "time": math.ceil(settings.hours * 60),
        # In double quotes Slurm takes all but \ and " literally, and % begins names such as %j.
        "output": '"{}/{}"'.format(str(settings.folder).replace("%", "%%"), _log(name)),
    }
    python = {"python": f"({' '.join(map(quote_but_variables, python_words(settings.python)))})"}
    text = fill(_shipped(template), common | directives, python | variables, settings.setup)
    return text.replace("source slurm/common.sh\n", _shipped("common"))


def _shipped(name: str) -> str:
    return find_shipped(f"slurm/{name}.sh").read_text(encoding="utf-8")


def _write(folder: Path, scripts: dict[str, str]) -> list[Path]:
    for name, text in scripts.items():
        write_atomically(folder / f"{name}.sh", text)
    return [folder / f"{name}.sh" for name in scripts]


def _absolute(folders: list[Path]) -> list[str]:
    return [str(folder.absolute()) for folder in folders]
