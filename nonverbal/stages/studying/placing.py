"""The inputs of a study: where its corpora are, which models it uses, and what is absent."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.paths import expanded
from nonverbal.stages.studying.settings import NAME, OTHERS, USES, Corpus, Study
from nonverbal.stages.studying.words import LeftOut

PREFIXES = ("initialised:", "finetuned:")
"""Prefixes that a source may have."""


@dataclass(frozen=True)
class Placed:
    """A corpus of the study."""

    name: str
    corpus: Corpus
    path: Path | None
    """The path from ``--data``; None if the corpus is absent."""
    shards: Path
    """Folder of its shards: the path itself, or where the study makes them."""

    @property
    def made(self) -> bool:
        """Whether the study makes its shards."""
        return self.path is not None and self.path != self.shards

    @property
    def why(self) -> str | None:
        """Why it is absent."""
        return None if self.path is not None else f"no --data {self.name}=PATH is given"


def placed(study: Study, given: Iterable[str], out: Path) -> dict[str, Placed]:
    """Return the corpora of a study, with their paths as given by ``NAME=PATH``.

    Raises:
        UserError: the study has no corpus of this name, a path does not exist, or a name is given twice.
    """
    paths = {name: Path(expanded(path, f"--data {name}")) for name, path in pairs(given, "--data", "NAME=PATH").items()}
    known = dict(study.corpora)
    others = known.pop(OTHERS, None)
    for name, path in paths.items():
        if name not in known and (others is None or not NAME.fullmatch(name)):
            raise UserError(f"--data {name}: the study has no corpus of this name; {nearest(name, known)}")
        if not path.exists():
            raise UserError(f"--data {name}: there is no {path}; give a folder of sound, or a folder of shards")
        known.setdefault(name, others or Corpus())
    return {name: _placed(name, corpus, paths.get(name), out) for name, corpus in known.items()}


def _placed(name: str, corpus: Corpus, path: Path | None, out: Path) -> Placed:
    is_shards = path is not None and (path / "index.json").is_file()
    return Placed(name, corpus, path, path if path is not None and is_shards else out / "shards" / name)


def chosen(corpora: dict[str, Placed], name: str) -> list[Placed]:
    """Return the corpora that a name, or a word for several, stands for; for a word, those that are present.

    Raises:
        LeftOut: the named corpus is absent.
        UserError: the study has no corpus of this name.
    """
    if name in USES:
        return [one for one in corpora.values() if one.path is not None and name in ("all", one.corpus.use)]
    if name not in corpora:
        raise UserError(f"the study has no corpus {name!r}; {nearest(name, corpora)}")
    if corpora[name].why is not None:
        raise LeftOut(corpora[name].why)
    return [corpora[name]]


def pairs(given: Iterable[str], key: str, form: str) -> dict[str, str]:
    """Return names and values from ``NAME=VALUE``.

    Raises:
        UserError: an item has another form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UserError(f"{key} takes {form}, but was given {text!r}")
        if name in found:
            raise UserError(f"{key} {name}: this name is given twice")
        found[name] = value
    return found


def sources(study: Study, given: Iterable[str]) -> dict[str, str | None]:
    """Return the source of each model of a study, from ``--models NAME=SOURCE`` or else the recipe; None if unknown.

    Raises:
        UserError: the study has no model of this name, or a path does not exist.
    """
    found = {name: model.source for name, model in study.models.items()}
    for name, source in pairs(given, "--models", "NAME=SOURCE").items():
        if name not in found:
            raise UserError(f"--models {name}: the study has no model of this name; {nearest(name, found)}")
        found[name] = expanded(source, f"--models {name}")
    for name, own in found.items():
        if own is not None and "{" not in own and _is_path(bare(own)) and not Path(bare(own)).exists():
            raise UserError(f"the model {name}: there is no {bare(own)}; give another with --models {name}=SOURCE")
    return found


def bare(source: str) -> str:
    """Return the folder or id of a source, without ``initialised:`` or ``finetuned:``."""
    for prefix in PREFIXES:
        source = source.removeprefix(prefix)
    return source


def _is_path(text: str) -> bool:
    """Whether a source can only be a path: ids of the Hub have at most one slash and never start with /, ., ~ or $."""
    return text.startswith(("/", ".", "~", "$")) or text.count("/") > 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known names that may be meant by an unknown one."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
