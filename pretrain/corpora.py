"""The corpora that can be read as they are distributed.

``nonverbal corpora`` lists them; --for, --licence and --language filter the list.
``nonverbal corpora show NAME`` prints how to get one, what its licence allows, and what to expect.
``nonverbal corpora check NAME FOLDER`` prints what is missing, extra or unreadable in a folder, and describes the
clips.

By path: ``python pretrain/corpora.py``.
"""

import difflib
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from nonverbal import cli, config
from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora.base import Corpus, Purpose
from nonverbal.data.corpora.listing import there
from nonverbal.data.preparing.check import check, counted, number, print_checked
from nonverbal.data.preparing.settings import available_processors
from nonverbal.errors import UserError
from nonverbal.files import write_atomically
from nonverbal.licences import in_words
from nonverbal.terminal import console_of


@dataclass
class ListConfig:
    """What to list."""

    purpose: Purpose | None = None
    """Also --for. pretraining: the ten corpora of Voc125 and similar ones; evaluation: non-verbal sounds that encoders
    are compared on; emotion: in speech; recognition: of speech."""
    licence: Literal["commercial"] | None = None
    """commercial: those whose licence, as far as is known, allows training a product on them."""
    language: str | None = None
    """ISO 639 code of the words, such as it; none: sounds without words."""


@dataclass
class ShowConfig:
    """Which corpus to show."""

    name: str
    """Name of a corpus of the catalog."""


@dataclass
class CheckConfig:
    """Which folder to check."""

    name: str
    """Name of a corpus of the catalog."""
    folder: Path
    """Folder of the corpus, or a zip archive of it."""
    processes: int = field(default_factory=available_processors)
    """Processes that decode."""
    json: Path | None = None
    """JSON file for all findings, with every path."""


def main(argv: list[str]) -> None:
    """List, show or check."""
    # In a pipe, the table would otherwise be wrapped to 80 columns, which makes it hard to read.
    console = console_of(160)
    if argv[:1] == ["show"]:
        chosen = config.load(ShowConfig, _named(argv[1:], "name"), "nonverbal corpora show", str(__doc__))
        show(_corpus(chosen.name), console)
    elif argv[:1] == ["check"]:
        checked = config.load(CheckConfig, _named(argv[1:], "name", "folder"), "nonverbal corpora check", str(__doc__))
        _check(checked, console)
    else:
        argv = [re.sub("^--for(?==|$)", "--purpose", argument) for argument in argv]
        list_corpora(config.load(ListConfig, argv, "nonverbal corpora", str(__doc__)), console)


def _named(argv: list[str], *names: str) -> list[str]:
    """Turn leading arguments without a name into ``--name value``, by their order."""
    count = next((i for i, argument in enumerate(argv[: len(names)]) if argument.startswith("-")), len(argv))
    count = min(count, len(names))
    return [part for name, value in zip(names, argv[:count], strict=False) for part in (f"--{name}", value)] + argv[
        count:
    ]


def _corpus(name: str) -> Corpus:
    if name not in CATALOG:
        near = difflib.get_close_matches(name, CATALOG, 1)
        hint = f"did you mean {near[0]!r}?" if near else "nonverbal corpora lists the catalog"
        raise UserError(f"no corpus {name!r} in the catalog; {hint}")
    return CATALOG[name]


def list_corpora(chosen: ListConfig, console: Console) -> None:
    """Show the corpora that pass the filters, one per line."""
    table = Table()
    for column in ("name", "corpus", "for", "clips", "hours", "words", "products", "licence"):
        table.add_column(column, justify="right" if column in ("clips", "hours") else "left", overflow="fold")
    for corpus in CATALOG.values():
        if _passes(corpus, chosen):
            table.add_row(
                corpus.name,
                corpus.title,
                ", ".join(corpus.purposes),
                number(corpus.clips),
                number(corpus.hours),
                ", ".join(corpus.languages) or "none",
                {True: "yes", False: "no", None: "unclear"}[corpus.terms.commercial],
                corpus.licence,
            )
    if not table.row_count:
        console.print("No corpus of the catalog matches; nonverbal corpora lists them all.")
        return
    console.print(table)
    console.print(
        "products: whether the licence allows training a product on it. How to get one, and what to expect: nonverbal "
        "corpora show NAME. Read one with: nonverbal prepare NAME=FOLDER --out SHARDS. Any other folder is read "
        "with one folder per class, or as Hugging Face's audiofolder if it holds a metadata.csv or .jsonl.",
        highlight=False,
        soft_wrap=True,
    )


def _passes(corpus: Corpus, chosen: ListConfig) -> bool:
    return (
        (chosen.purpose is None or chosen.purpose in corpus.purposes)
        and (chosen.licence is None or corpus.terms.commercial is True)
        and (chosen.language is None or chosen.language in (corpus.languages or ("none",)))
    )


def show(corpus: Corpus, console: Console) -> None:
    """Print how to get a corpus, what its licence allows, and what to expect."""
    expected = f"{number(corpus.clips)} clips, {number(corpus.hours)} h"
    facts = {
        "home": corpus.home,
        "DOI": corpus.doi or "none known",
        "licence": corpus.licence,
        "terms": in_words(corpus.terms),
        "by": corpus.terms.source + ("" if corpus.terms.verified else ", not verified"),
        "to get it": corpus.get,
        "expect": expected,
        "classes": counted(corpus.classes) or "not published",
        "words": ", ".join(corpus.languages) or "none",
        "Voc125": "{} clips, {} h in Table I of voc2vec".format(*corpus.voc125) if corpus.voc125 else "no part of it",
        "verified": corpus.verified,
        "looks like": corpus.looks_like,
    }
    console.print(f"{corpus.title}\n", markup=False, highlight=False, style="bold")
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        grid.add_row(name, re.sub(r"\[", r"\\[", value))
    console.print(grid, highlight=False)
    for paragraph in corpus.notes.strip().split("\n\n")[2:]:
        console.print("\n" + " ".join(paragraph.split()), markup=False, highlight=False)
    console.print(
        f"\nnonverbal corpora check {corpus.name} FOLDER\nnonverbal prepare {corpus.name}=FOLDER --out SHARDS",
        highlight=False,
    )


def _check(chosen: CheckConfig, console: Console) -> None:
    corpus = _corpus(chosen.name)
    if not there(chosen.folder):
        file = f"{chosen.folder} is a file, but not a zip archive"
        wrong = file if chosen.folder.exists() else f"there is no folder {chosen.folder}"
        raise UserError(f"{wrong}; {corpus.name} looks like {corpus.looks_like}")
    checked = check(corpus, chosen.folder, chosen.processes)
    if chosen.json is not None:
        content = {"corpus": corpus.name, "folder": str(chosen.folder), "expected clips": corpus.clips}
        write_atomically(chosen.json, json.dumps(content | asdict(checked), indent=1, ensure_ascii=False) + "\n")
    print_checked(corpus, checked, console)


if __name__ == "__main__":
    cli.run(main)
