"""What a study is given: where its corpora are, which models it takes, and what is absent."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.paths import expanded
from nonverbal.stages.studying.settings import NAME, OTHERS, USES, Corpus, Study
from nonverbal.stages.studying.words import LeftOut

PREFIXES = ("initialised:", "finetuned:")
"""What may stand before the folder of an encoder."""


@dataclass(frozen=True)
class Placed:
    """A corpus of the study."""

    name: str
    corpus: Corpus
    path: Path | None
    """What ``--data`` gave; None where it is absent."""
    shards: Path
    """Folder of its shards: the path itself, or where they are made."""

    @property
    def made(self) -> bool:
        """Whether its shards are made here."""
        return self.path is not None and self.path != self.shards

    @property
    def why(self) -> str | None:
        """Why it is absent."""
        return None if self.path is not None else f"no --data {self.name}=PATH is given"


def placed(study: Study, given: Iterable[str], out: Path) -> dict[str, Placed]:
    """Return the corpora of a study, as ``NAME=PATH`` gives them.

    Raises:
        UserError: a corpus that the study does not have, a path that is not there, or a name that is given twice.
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
    """Return the corpora that a name or a word for several stands for; of a word, those that are there.

    Raises:
        LeftOut: a corpus that is named is absent.
        UserError: there is none of this name.
    """
    if name in USES:
        return [one for one in corpora.values() if one.path is not None and name in ("all", one.corpus.use)]
    if name not in corpora:
        raise UserError(f"the study has no corpus {name!r}; {nearest(name, corpora)}")
    if corpora[name].why is not None:
        raise LeftOut(corpora[name].why)
    return [corpora[name]]


def pairs(given: Iterable[str], key: str, form: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` as name and value.

    Raises:
        UserError: something has another form, or a name is there twice.
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
    """Return what each model of a study is read from, ``--models NAME=SOURCE`` before the recipe; None where unknown.

    Raises:
        UserError: a model that the study does not have, or a path that is not there.
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
    """Return the folder or id within a source: without ``initialised:`` or ``finetuned:``."""
    for prefix in PREFIXES:
        source = source.removeprefix(prefix)
    return source


def _is_path(text: str) -> bool:
    """Whether a source can only be a path: ids of the Hub have one slash at most, and begin with neither."""
    return text.startswith(("/", ".", "~", "$")) or text.count("/") > 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which of the known names may be meant by another one."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
