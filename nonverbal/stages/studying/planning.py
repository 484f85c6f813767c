"""From a study to its steps: loops are written out and words replaced, and each step follows those that it needs."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nonverbal.data.preparing.settings import Source
from nonverbal.errors import UserError
from nonverbal.evaluation.studies import stands_for
from nonverbal.shipped import find_file
from nonverbal.stages.studying.arguments import flat
from nonverbal.stages.studying.placing import Placed, chosen, nearest
from nonverbal.stages.studying.settings import USES, Step, Study
from nonverbal.stages.studying.words import LeftOut, resolved

PREPARE = "prepare"


@dataclass(frozen=True)
class Planned:
    """A step of a study: one command."""

    name: str
    step: str
    """Its name in the recipe."""
    template: Step
    loop: dict[str, str]
    out: Path
    recipe: str | None
    """Recipe of the command, as a path from the current folder or a name."""
    why: str | None = None
    """Why it is left out, if it is."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Flat settings by dotted key, without the output."""
    needs: tuple[str, ...] = ()
    """Names of the steps that it needs, in the order in which they are named."""
    corpora: tuple[str, ...] = ()
    """Names of the corpora whose shards it reads."""
    sources: tuple[str, ...] = ()
    """Models that it reads, and steps that may have made one."""


class Plan:
    """The steps of a study, given its corpora and models."""

    def __init__(
        self, study: Study, corpora: dict[str, Placed], sources: Mapping[str, str | None], out: Path, recipe: Path
    ) -> None:
        """Write out the loops, and replace the words.

        Args:
            study: the content of its recipe.
            corpora: by name, with their paths.
            sources: of the models; None if unknown.
            out: the study's folder.
            recipe: file of the study; the recipes of steps are first looked for in its folder.

        Raises:
            UserError: a step names something that is not in the study, or depends on itself.
        """
        self.study, self.corpora, self.sources, self.out = study, corpora, sources, out
        self.where = f"in the recipe {recipe}"
        self._recipes = {name: _located(step.recipe, recipe.parent) for name, step in study.steps.items()}
        self._looped = {f"{PREPARE}.{name}": (PREPARE, step, {"corpus": name}) for name, step in self._prepared()}
        for name, step in study.steps.items():
            self._looped |= {full: (name, step, loop) for full, loop in self._loops(name, step)}
        self._made: dict[str, Planned] = {}
        self._open: list[str] = []
        for name in self._looped:
            self._add(name)
        for names in self.shown.values():
            for name in names:
                self.named(name)

    @property
    def steps(self) -> list[Planned]:
        """All steps, each after those that it needs."""
        return list(self._made.values())

    @property
    def shown(self) -> dict[str, list[str]]:
        """The names of the steps that each table and figure shows."""
        tables = {name: shape.all_steps for name, shape in self.study.tables.items()}
        return tables | {name: shape.steps for name, shape in self.study.figures.items()}

    def shows(self, step: Planned) -> list[str]:
        """Return the tables and figures that show a step."""
        named = [name for name, steps in self.shown.items() if any(stands_for(one, step.name) for one in steps)]
        return list(dict.fromkeys([*step.template.shows, *named]))

    def step(self, name: str) -> Planned:
        """Return a step by its whole name."""
        return self._made[name]

    def _prepared(self) -> Iterator[tuple[str, Step]]:
        """Return the steps that make shards, by corpus."""
        for name, placed in self.corpora.items():
            if placed.made:
                corpus = placed.corpus
                own = {key: value for key, value in corpus.prepare.items() if key in Source.__dataclass_fields__}
                folder = {"folder": f"{{path:{name}}}", **({"reader": corpus.reader} if corpus.reader else {}), **own}
                rest = {key: value for key, value in corpus.prepare.items() if key not in own}
                if corpus.use == "pretrain":
                    # Manifests that the recipe excludes are added to those of the scored corpora, and do not replace
                    # them.
                    asked, scored = rest.pop("exclude", []), "{manifests:score}"
                    rest = {
                        "exclude": [scored, *(asked if isinstance(asked, list) else [asked])] if asked else scored
                    } | rest
                yield name, Step(PREPARE, with_={"corpora": {name: folder}, **rest})

    def _loops(self, name: str, step: Step) -> Iterator[tuple[str, dict[str, str]]]:
        """Return the combinations of a step's loops, even absent ones, by full name; without loops, the step itself."""
        values = {word: self._values(name, word, given) for word, given in step.each.items()}
        names = set()
        for row in itertools.product(*values.values()):
            full = ".".join([name, *(re.sub(r"[^A-Za-z0-9_-]+", "-", one) for one in row)])
            if full in names:
                raise UserError(f"steps.{name}.each {self.where}: two combinations would be called {full}")
            names.add(full)
            yield full, dict(zip(values, row, strict=True))
        if not names:
            yield name, {word: "" for word, own in values.items() if not own}

    def _values(self, step: str, word: str, given: str | list[Any]) -> list[str]:
        key = f"steps.{step}.each.{word} {self.where}"
        known = {"corpus": list(self.corpora), "model": list(self.study.models)}.get(word)
        if isinstance(given, str):
            uses = {name: one.corpus.use for name, one in self.corpora.items()} if word == "corpus" else {}
            words = {"corpus": USES, "model": ("all",)}.get(word, ())
            if known is None or given not in words:
                expected = f"{', '.join(words)} or a list of names" if words else "a list"
                raise UserError(f"{key} must be {expected}, but is {given!r}")
            return [name for name in known if given in ("all", uses.get(name))]
        texts = [one if isinstance(one, str) else format(one) for one in given]
        for text in texts:
            if known is not None and text not in known:
                raise UserError(f"{key} names {text!r}, but the study has no such {word}; {nearest(text, known)}")
        return texts

    def _add(self, name: str) -> Planned:
        """Plan a step after those that it needs."""
        if name not in self._made:
            self._made[name] = self._alone(name, lambda: self._planned(name))
        return self._made[name]

    def _alone(self, name: str, made: Callable[[], Any]) -> Any:
        """Make something that must not depend on itself."""
        if name in self._open:
            circle = " -> ".join([*self._open[self._open.index(name) :], name])
            raise UserError(f"steps or models {self.where} depend on each other: {circle}")
        self._open.append(name)
        try:
            return made()
        finally:
            self._open.pop()

    def _planned(self, name: str) -> Planned:
        step, template, loop = self._looped[name]
        own = name if template.file is None else f"{name}.{template.file}"
        out = self.out / "shards" / loop["corpus"] if step == PREPARE else self.out / own
        lookup = Paths(self)
        try:
            self._check_loop(loop)
            settings = resolved(template.with_, loop, lookup, f"steps.{step}.with {self.where}")
        except LeftOut as reason:
            return Planned(name, step, template, loop, out, self._recipes.get(step), why=str(reason))
        needs = [tuple(dict.fromkeys(names)) for names in (lookup.steps, lookup.heard, lookup.models)]
        return Planned(name, step, template, loop, out, self._recipes.get(step), None, flat(settings), *needs)

    def _check_loop(self, loop: dict[str, str]) -> None:
        for word, value in loop.items():
            if value == "":
                raise LeftOut(f"its loop over {word} has no values")
        if "corpus" in loop:
            chosen(self.corpora, loop["corpus"])
        if "model" in loop:
            self.source(loop["model"], Paths(self))

    def source(self, name: str, lookup: "Paths") -> list[str]:
        """Return what a model is read from, which is several sources if it names a step with several combinations.

        Raises:
            LeftOut: the model is absent.
            UserError: there is no such model, or it depends on itself.
        """
        if name not in self.sources:
            raise UserError(f"{self.where}: the study has no model {name!r}; {nearest(name, self.sources)}")
        source = self.sources[name]
        if source is None:
            raise LeftOut(f"no --models {name}=SOURCE is given")
        key = f"models.{name}.source {self.where}"
        found = self._alone(f"model {name}", lambda: resolved(source, {}, lookup, key))
        return found if isinstance(found, list) else [found]

    def named(self, name: str) -> list[Planned]:
        """Return the planned steps that a name stands for, including those that are left out.

        ``prepare.NAME`` stands for no step if the corpus is absent or its shards were given.

        Raises:
            UserError: no step has this name.
        """
        names = [full for full in self._looped if stands_for(name, full)]
        others = [PREPARE, *(f"{PREPARE}.{corpus}" for corpus in ("*", *self.corpora)), *self.study.steps]
        if not names and name not in others:
            known = [*self.study.steps, *self._looped, *others]
            raise UserError(f"{self.where}: the study has no step {name!r}; {nearest(name, dict.fromkeys(known))}")
        return [self._add(full) for full in names]


class Paths:
    """Replaces words on the command line by paths and ids of models, and records what they name."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.steps: list[str] = []
        """Names of the steps that were named."""
        self.heard: list[str] = []
        """Names of the corpora whose shards were named."""
        self.models: list[str] = []
        """Names of the models that were named, and of steps that may have made one."""

    def texts(self, kind: str, name: str) -> list[str]:
        """Return what ``{kind:name}`` stands for; see ``words.Lookup``."""
        if kind == "source":
            return self._sources(name)
        if kind == "step":
            return self._of_steps(name)
        found = chosen(self.plan.corpora, name)
        if not found and kind != "manifests":
            raise LeftOut(f"--data names no corpus{'' if name == 'all' else f' to {name}'}")
        if kind != "path":
            made = [step for one in found if one.made for step in self.plan.named(f"{PREPARE}.{one.name}")]
            self.steps += [step.name for step in made]
        self.heard += [one.name for one in found if kind == "data"]
        return [self.of_corpus(kind, one) for one in found]

    def of_corpus(self, kind: str, placed: Placed) -> str:
        """Return what stands for a corpus that is present."""
        return str({"path": placed.path, "data": placed.shards, "manifests": placed.shards / "manifest.jsonl"}[kind])

    def of_step(self, step: Planned) -> str:
        """Return what stands for a step."""
        return str(step.out)

    def _of_steps(self, name: str) -> list[str]:
        steps = self.plan.named(name)
        there = [step for step in steps if step.why is None]
        if not there:
            raise LeftOut(f"{steps[0].name} is left out: {steps[0].why}" if steps else f"there is no step {name}")
        self.steps += [step.name for step in there]
        self.models += [step.name for step in there]
        return [self.of_step(step) for step in there]

    def _sources(self, name: str) -> list[str]:
        found: list[str] = []
        reasons: list[str] = []
        for model in self.plan.sources if name == "all" else [name]:
            try:
                found += self.plan.source(model, self)
            except LeftOut as reason:
                reasons.append(str(reason))
                continue
            self.models.append(model)
        if not found:
            raise LeftOut(reasons[0] if reasons else "the study has no models")
        return found


def _located(recipe: str | None, folder: Path) -> str | None:
    """Return a step's recipe as a path from the current folder, if it is beside that of the study, or as given."""
    if recipe is None:
        return None
    if (folder / recipe).is_file():
        return str(folder / recipe)
    find_file(recipe)
    return recipe
