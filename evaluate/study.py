"""Run the experiments of a paper, step by step: ``nonverbal study RECIPE --data NAME=PATH ... --out DIR``.

By path: ``python evaluate/study.py RECIPE --data NAME=PATH ... --out DIR``. A study is a recipe that lists steps, each
of them a command: prepare, pretrain, finetune, probe, analyze. Steps that are done are skipped, and interrupted steps
continue. Corpora that are not given are left out, together with the steps that need them. The study ends with a report.
``--dry-run`` shows the steps, and the time and disk they will take, and runs nothing.
"""

import contextlib
import importlib.util
import io
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from nonverbal import cli, config
from nonverbal.errors import UserError
from nonverbal.evaluation.tables import show
from nonverbal.paths import PathOrName
from nonverbal.shipped import find_shipped
from nonverbal.stages.studying.commands import shown
from nonverbal.stages.studying.costs import Costs
from nonverbal.stages.studying.kept import Kept
from nonverbal.stages.studying.overview import tables_of
from nonverbal.stages.studying.placing import nearest, placed, sources
from nonverbal.stages.studying.planning import PREPARE, Plan, Planned
from nonverbal.stages.studying.running import Running
from nonverbal.stages.studying.settings import Study, read_study_recipe
from nonverbal.stages.studying.standing import command_of, rows_of

REFUSED = ("study", "submit", "demo", "corpora", "encoders", "launch-check")
"""Commands that make no output, or run other commands."""


@dataclass
class StudyConfig:
    """Which study is run, on which data, and where the results go."""

    study: PathOrName
    """Recipe of the study: a path, or the name of a shipped recipe. It may come first, without `--study`."""
    out: Path
    """Folder of everything that the study produces. Running the same command again continues the study."""
    data: list[str] = field(default_factory=list)
    """Corpora, as NAME=PATH: folders of sound, as for `nonverbal prepare`, or of shards. A corpus that is not given is
    left out."""
    models: list[str] = field(default_factory=list)
    """Models to read from another place than the recipe names, as NAME=SOURCE."""
    only: list[str] = field(default_factory=list)
    """Run only these steps, given by name: finetune.vivae.voc2vec-ls; or finetune, for all of its combinations; or
    report. The steps on which they depend must be done."""
    dry_run: bool = False
    """Print the steps and the time they will take, and run nothing."""
    rates: Path = Path("runs/rates.jsonl")
    """File with measured times of steps, which studies share: JSON Lines."""


def main(argv: list[str]) -> None:
    """Plan the study, and show or run it."""
    settings = config.load(StudyConfig, config.with_first(argv, "study"), prog="nonverbal study", description=__doc__)
    study, recipe = read_study_recipe(settings.study)
    check_commands(study)
    corpora = placed(study, settings.data, settings.out)
    plan = Plan(study, corpora, sources(study, settings.models), settings.out, recipe.layers[0].path)
    kept, costs = Kept(settings.out), Costs(settings.rates, settings.out / "plans")
    running = Running(plan, kept, costs, recipe.text)
    wanted = running.wanted(settings.only)
    if not settings.dry_run:
        running.run(settings.only, check_settings)
        return
    check_settings(wanted)
    named = {step.name for step in wanted}
    show(tables_of(plan, [row for row in rows_of(plan, kept, costs) if not settings.only or row.step.name in named]))
    if settings.only:
        print("\n".join(shown(command_of(step)) for step in wanted))


def check_commands(study: Study) -> None:
    """Refuse steps whose command does not exist, or cannot be a step."""
    known = [name for name in cli.PROGRAMS if name not in REFUSED]
    for name, step in study.steps.items():
        if step.run not in known:
            raise UserError(f"steps.{name}.run: no step can run {step.run!r}; {nearest(step.run, known)}")


def check_settings(steps: list[Planned]) -> None:
    """Refuse settings that a step's command does not have, before anything runs.

    Of the combinations of a step that differ only in corpus or model, one is checked; for preparing, every corpus is,
    because each has its own settings. The check runs in a separate process, because commands import packages that this
    one does not need.
    """
    first = {_checked_as(step): step for step in reversed(steps)}
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        for step in reversed(first.values()):
            if error := pool.submit(setting_error, command_of(step)).result():
                where = f"corpora.{step.loop['corpus']}.prepare" if step.step == PREPARE else f"steps.{step.step}"
                raise UserError(f"{where}: {error}")


def _checked_as(step: Planned) -> tuple[str, ...]:
    """Return a key that is the same for all steps of which only one is checked."""
    given = [] if step.step == PREPARE else ["corpus", "model"]
    return step.step, *(value for word, value in step.loop.items() if word not in given)


def setting_error(command: list[str]) -> str | None:
    """Return a command's error message about its settings, without running it; None if there is no error."""
    program = imported(find_shipped(cli.PROGRAMS[command[0]][0]))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            program.main([*command[1:], "--print_config"])
    except UserError as error:
        return str(error)
    except SystemExit:
        return None
    raise AssertionError(f"{command[0]} does not print its settings")


def imported(path: Path) -> ModuleType:
    """Import a program by its path, even if another module has its name."""
    name = f"checked_{path.parent.name}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    # The types of its settings are looked up in sys.modules.
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    cli.run(main)
