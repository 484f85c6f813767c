"""The keys of a study's recipe, and their values."""

import re
from dataclasses import dataclass, field
from typing import Any

from nonverbal.errors import UserError
from nonverbal.evaluation.studies import FigureShape, TableShape, Use
from nonverbal.recipes import Recipe, read_recipe
from nonverbal.records import read_record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Names of steps, corpora and models, which are parts of file names, between dots."""

END = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
"""Ending of an output that is a file in the study's folder, after its step's name and a dot."""

USES = ("all", "pretrain", "score")
"""Words that stand for several corpora."""

OTHERS = "*"
"""Key that stands for every other corpus that ``--data`` names."""

OWN = ("shards", "steps", "logs", "past", "plans", "locks", "prepare", "report")
"""Names in a study's folder, and of the steps that it adds: no step of a recipe may have such a name."""


@dataclass(frozen=True)
class Corpus:
    """A corpus that steps name; ``--data NAME=PATH`` says where it is."""

    reader: str | None = None
    """Its name in `nonverbal prepare`. Left out: read as any folder of this name."""
    printed: str | None = None
    """The paper's name for it in published.csv."""
    use: Use = "score"
    """Clips of scored corpora are excluded from those that are pretrained on."""
    note: str | None = None
    """What a reader must know about it, such as that the paper counts other clips than the reader."""
    prepare: dict[str, Any] = field(default_factory=dict)
    """Settings of `nonverbal prepare` that differ, and those of the folder: pattern, texts, licence, columns."""


@dataclass(frozen=True)
class Model:
    """A model that steps name; ``--models NAME=SOURCE`` replaces its source."""

    source: str | None = None
    """Encoder, as for probe and finetune. It may name a step: "{step:pretrain}/encoder". Left out: only `--models`
    gives it."""
    printed: str | None = None
    """The paper's name for it in published.csv."""
    note: str | None = None
    """What a reader must know about it."""


@dataclass(frozen=True)
class Step:
    """A command, once or for each combination of its loops."""

    run: str
    """The command of `nonverbal`."""
    recipe: str | None = None
    """The command's recipe: a file in the folder of the study's recipe, or a shipped one."""
    each: dict[str, str | list[Any]] = field(default_factory=dict)
    """Loops, the last one the fastest: corpus to all, score, pretrain or names; model to all or names; any other word
    to a list of its own values."""
    with_: dict[str, Any] = field(default_factory=dict)
    """Settings, in which words in braces are replaced."""
    out: str = "out"
    """The setting that is the step's output."""
    file: str | None = None
    """How the output's name ends, if it is a file: map.json makes NAME.map.json. Left out: a folder NAME."""
    shows: list[str] = field(default_factory=list)
    """Tables and figures of the paper that it fills, in addition to those that name it."""
    note: str | None = None
    """What a reader must know before it runs, such as its cost in the paper."""


@dataclass(frozen=True)
class Study:
    """A study, as in its recipe."""

    title: str
    steps: dict[str, Step]
    corpora: dict[str, Corpus] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    paper: str | None = None
    """The paper whose rows of published.csv are shown."""
    tables: dict[str, TableShape] = field(default_factory=dict)
    """Tables in the paper's format, by their name in the paper."""
    figures: dict[str, FigureShape] = field(default_factory=dict)
    """Figures, by their name in the paper."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know about the whole study."""


def read_study_recipe(name: str) -> tuple[Study, Recipe]:
    """Read a study: a path, or the name of a shipped recipe.

    Raises:
        UserError: the recipe cannot be read, or holds what no study has. Names file and key.
    """
    recipe = read_recipe(name)
    where = f"in the recipe {recipe.layers[0].path}"
    recipe.check(Study)
    study = read_record(Study, recipe.content, where)
    _check_names(study, where)
    return study, recipe


def _check_names(study: Study, where: str) -> None:
    for kind, names, taken in (
        ("step", study.steps, OWN),
        ("corpus", study.corpora, USES),
        ("model", study.models, ("all",)),
    ):
        for name in names:
            if kind == "corpus" and name == OTHERS:
                continue
            if not NAME.fullmatch(name):
                raise UserError(f"the {kind} {name!r} {where} must be named in letters, digits, - and _")
            if name in taken:
                raise UserError(f"the {kind} {name!r} {where} has a reserved name; give it another")
    for name, step in study.steps.items():
        if step.file is not None and not END.fullmatch(step.file):
            raise UserError(
                f"steps.{name}.file {where} must be the end of a file's name, such as map.json, but is {step.file!r}"
            )
    for name in study.corpora:
        if name != name.lower():
            raise UserError(f"the corpus {name!r} {where} must be named in lower-case letters, as prepare names it")
