"""Targets that are recipes, and names where a command line and messages take them."""

import functools
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import Target

from nonverbal import config

RECIPE = """\
base: below.yaml
corpora:
  cries: {folder: /data/cries, texts: {"0": zero}}
out: shards/x
seed: 3
exclude: [a.jsonl]
validation_share: 0.1
"""


kept_parser = functools.cache(config._parser)
"""A parser is the same for every input, and takes longer to make than an input to read."""


def loaded(arguments: list[str]) -> Any:
    """Read a command line of ``nonverbal prepare``."""
    from nonverbal.data.preparing.settings import PrepareConfig

    with patch.object(config, "_parser", kept_parser):
        return config.load(PrepareConfig, arguments, "nonverbal prepare", "")


def make_recipe(folder: Path) -> None:
    """Write a recipe, its base, and the recipe of a study."""
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "below.yaml").write_text("seed: 2\nprocesses: 2\nstrict: true\n")


def read_recipe(folder: Path) -> object:
    """Read a recipe as programs do."""
    return config.dump(loaded([str(folder / "recipe.yaml"), "--out", "x"]))


STUDY = """\
title: A study
notes: [short]
corpora:
  sounds: {use: pretrain}
  "*": {use: score, reader: vivae, prepare: {validation_share: 0}}
models:
  tiny: {source: "{step:pretrain}/encoder", note: pretrained}
steps:
  pretrain:
    run: pretrain
    recipe: below.yaml
    with: {data: "{data:pretrain}", trainer: {steps: 6}}
  probe:
    run: probe
    each: {corpus: score, model: [tiny]}
    with: {data: "{data}", encoders: ["{source}"], group: known}
    shows: [Probes, Map]
  map:
    run: analyze
    with: {name: map, scores: "{step:probe.{corpus}}"}
    file: map.json
tables:
  Probes: {caption: Probes, steps: [probe], rows: [model, head], columns: corpus, metrics: [uar]}
figures:
  Map: {steps: [map], caption: A map}
"""


def make_study_recipe(folder: Path) -> None:
    """Write the recipe of a study."""
    (folder / "study.yaml").write_text(STUDY)


def read_study_recipe(folder: Path) -> object:
    """Read the recipe of a study."""
    from nonverbal.stages.studying.settings import read_study_recipe as read

    return read(str(folder / "study.yaml"))


def make_names(folder: Path) -> None:
    """Write a list of names: of files, models, commands."""
    (folder / "names.jsonl").write_text('"a.wav"\n"runs/x/encoder"\n"cry"\n')


def read_names(folder: Path) -> object:
    """Give names where a command line and messages take them."""
    from nonverbal.cli import _unknown_command
    from nonverbal.errors import UserError
    from nonverbal.files import json_lines
    from nonverbal.text import one_line, shown, slug

    said = []
    for _, name in json_lines(folder / "names.jsonl"):
        if isinstance(name, str):
            said += [one_line(_unknown_command(name)), shown(name), slug(name)]
            try:
                loaded([name, "--out", "x", "--corpora", f"{name}=b"])
            except UserError as error:
                said.append(one_line(str(error)))
    assert all(text.isprintable() for text in said), "a message breaks its line"
    return said


TARGETS = [
    Target("recipe", make_recipe, read_recipe),
    Target("study-recipe", make_study_recipe, read_study_recipe),
    Target("names", make_names, read_names, (OSError,)),
]
