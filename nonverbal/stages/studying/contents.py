"""The content of a step: its key, by which a finished step is recognised."""

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from nonverbal.files import sha256_of
from nonverbal.recipes import read_recipe
from nonverbal.stages.studying.arguments import counted, flat
from nonverbal.stages.studying.placing import Placed, bare
from nonverbal.stages.studying.planning import Paths, Plan, Planned
from nonverbal.stages.studying.words import resolved
from nonverbal.system import version_of

VERSION = version_of("nonverbal") or "unknown"

KeyOf = Callable[[str], str | None]
"""From the name of a step to its key if it is done, otherwise to None."""


class Unknown(Exception):
    """A key cannot be known until another step is done."""


class Contents(Paths):
    """Replaces words, for a key, by what something contains rather than by where it is."""

    def __init__(self, plan: Plan, key_of: KeyOf) -> None:
        super().__init__(plan)
        self.key_of = key_of

    def of_corpus(self, kind: str, placed: Placed) -> str:
        """Return the content of a corpus: for shards, by the index, which lists all hashes; else by names and sizes."""
        if placed.made and kind == "path":
            assert placed.path is not None
            return f"{kind} {listing(placed.path)}"
        if placed.made and self.key_of(f"prepare.{placed.name}") is None:
            raise Unknown(f"prepare.{placed.name}")
        return f"{kind} {file_sha256(placed.shards / 'index.json')}"

    def of_step(self, step: Planned) -> str:
        """Return a step's key."""
        key = self.key_of(step.name)
        if key is None:
            raise Unknown(step.name)
        return f"step {key}"

    def _sources(self, name: str) -> list[str]:
        """Return models by their ids, or by the content of their folders."""
        found = [(text, Path(bare(text))) for text in super()._sources(name)]
        return [
            f"{text.removesuffix(str(path))}weights {tree_sha256(path)}" if path.exists() else text
            for text, path in found
        ]


class Inputs(Paths):
    """Replaces words without regard to which input it is, to find similar steps."""

    def of_corpus(self, kind: str, placed: Placed) -> str:
        """Return only the kind."""
        return kind

    def of_step(self, step: Planned) -> str:
        """Return the same for all steps."""
        return "step"

    def _sources(self, name: str) -> list[str]:
        return ["source"]


def key_of(plan: Plan, step: Planned, of_others: KeyOf) -> str:
    """Return the SHA-256 of a step: version, command, recipe, and settings with the contents of its inputs.

    Args:
        plan: the plan that the step belongs to.
        step: a step that is not left out.
        of_others: the keys of steps that are done.

    Raises:
        Unknown: the step needs one that is not done.
    """
    settings = _by_content(_settings(step, Contents(plan, of_others)))
    return _sha256([VERSION, step.template.run, recipe_text(step.recipe), settings])


def likeness(plan: Plan, step: Planned) -> str:
    """Return the SHA-256 of what is the same in steps whose costs differ only because of their inputs."""
    lookup = Inputs(plan)
    settings = _settings(step, lookup)
    loops = {word: value for word, value in step.loop.items() if word not in ("corpus", "model")}
    return _sha256([step.template.run, recipe_text(step.recipe), settings if step.step != "prepare" else [], loops])


@cache
def recipe_text(recipe: str | None) -> str | None:
    """Return a step's recipe, with bases resolved. It is read once until the cache is cleared: many steps share one."""
    return None if recipe is None else read_recipe(recipe).text


def _settings(step: Planned, lookup: Paths) -> dict[str, Any]:
    found = resolved(step.template.with_, step.loop, lookup, f"steps.{step.step}.with {lookup.plan.where}")
    return counted(flat(found))


def _by_content(value: Any) -> Any:
    """Settings in which names of existing files are replaced by the files' contents."""
    if isinstance(value, dict):
        return {key: _by_content(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_by_content(item) for item in value]
    is_file = isinstance(value, str) and "/" in value and "\0" not in value and os.path.isfile(value)
    return f"file {file_sha256(Path(value))}" if is_file else value


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, which is only read again if it has changed."""
    stat = path.stat()
    return _read(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)


@cache
def _read(path: Path, *_: int) -> str:
    return sha256_of(path)


def tree_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the whole content of a folder."""
    if path.is_file():
        return file_sha256(path)
    return _sha256([[str(file.relative_to(path)), file_sha256(file)] for file in _files(path)])


def listing(path: Path) -> str:
    """Return the SHA-256 of the names and sizes of a folder's files: reading all recordings each time is too slow."""
    folder, files = (path.parent, [path]) if path.is_file() else (path, _files(path))
    return _sha256([[str(file.relative_to(folder)), file.stat().st_size] for file in files])


def size_of(path: Path) -> int:
    """Return the number of bytes of a file, or of all files in a folder."""
    return path.stat().st_size if path.is_file() else sum(file.stat().st_size for file in _files(path))


def _files(folder: Path) -> list[Path]:
    found = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(file for file in found if file.is_file())


def _sha256(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    # Names of files may contain characters that valid text cannot.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
