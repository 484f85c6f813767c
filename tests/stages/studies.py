"""Small studies, and commands that are over at once, for tests of what runs them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from nonverbal.stages.studying.costs import Costs
from nonverbal.stages.studying.kept import Kept
from nonverbal.stages.studying.placing import placed, sources
from nonverbal.stages.studying.planning import Plan
from nonverbal.stages.studying.running import Running
from nonverbal.stages.studying.settings import read_study_recipe
from nonverbal.stages.studying.standing import rows_of

STUDY = """\
title: A study
corpora:
  heard: {use: pretrain}
  cries: {reader: donateacry, printed: donate a cry}
  laughs: {note: fewer clips than printed}
models:
  logmel: {source: logmel}
  ours: {source: "{step:pretrain}/encoder"}
steps:
  pretrain:
    run: pretrain
    with: {data: "{data:heard}", trainer: {steps: 3}}
    shows: [Table I]
  finetune:
    run: finetune
    each: {corpus: score, model: [ours]}
    with: {data: "{data}", init: "{source}", pretraining: "{manifests:pretrain}", epochs: 2}
  probe:
    run: probe
    each: {corpus: all}
    with: {data: "{data}", encoders: "{source:all}"}
  scores:
    run: scores
    with: {paths: "{step:finetune}"}
    out: json
    file: json
tables:
  Table II: {caption: what was scored, steps: [finetune], metrics: [uar]}
"""


def shards(folder, sha="0" * 64, seconds=3600.0):
    """Write what a study reads of a folder of shards: without sound, for commands that read none."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.json").write_text(json.dumps({"sha": sha, "seconds": seconds}))
    return folder


def sounds(folder, files=("a/1.wav", "b/2.wav")):
    """Write a folder that stands for a corpus."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")
    return folder


@dataclass
class Commands:
    """Takes the place of ``run_command``: makes the outputs, unless told otherwise."""

    ran: list[list[str]] = field(default_factory=list)
    ends: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By output: exit status and signal, once."""
    shards: dict[str, str] = field(default_factory=dict)
    """By output: what prepare finds there."""

    def __call__(self, arguments, log):
        """Run a command."""
        self.ran.append(list(arguments))
        place = next(arguments[arguments.index(key) + 1] for key in ("--out", "--json") if key in arguments)
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") as file:
            file.write(f"== began\n{arguments[0]} says this\n== ended\n")
        out = Path(place)
        if arguments[0] == "plan":
            code, came = self.ends.pop(place, (0, 0))
            if code == 0:
                out.write_text(json.dumps({"hours": 5, "disk_bytes": 1e9}))
            return code, came
        if out.suffix in (".json", ".html"):
            out.write_text("{}")
        else:
            out.mkdir(parents=True, exist_ok=True)
            (out / "half").write_text("half")
        if arguments[0] == "prepare":
            shards(out, self.shards.get(out.name, out.name))
        return self.ends.pop(place, (0, 0))

    def names(self):
        """Return what was run, by output, and forget it."""
        ran = [next(line[line.index(key) + 1] for key in ("--out", "--json") if key in line) for line in self.ran]
        self.ran.clear()
        return ran


def planned(tmp_path, text=STUDY, data=(), models=(), change=None):
    """Return the plan of a study, whose keys ``change`` replaces."""
    content = yaml.safe_load(text)
    for key, value in (change or {}).items():
        *path, last = key.split("/")
        inner = content
        for name in path:
            inner = inner[name]
        inner[last] = value
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    study, recipe = read_study_recipe(str(file))
    out = tmp_path / "out"
    plan = Plan(study, placed(study, data, out), sources(study, models), out, file)
    return plan, recipe.text


def running(tmp_path, **options):
    """Return a study that can be run."""
    plan, text = planned(tmp_path, **options)
    return Running(plan, Kept(plan.out), Costs(tmp_path / "rates.jsonl", plan.out / "plans"), text)


def run(study, only=()):
    """Run a study, or some of its steps."""
    study.run(only, lambda steps: None)


def statuses(study):
    """Return the status of each step."""
    return {row.step.name: row.status for row in rows_of(study.plan, study.kept, study.costs)}


def ran(fake, tmp_path):
    """Return the outputs of what was run, in the study's folder."""
    return [name.removeprefix(f"{tmp_path}/out/") for name in fake.names()]
