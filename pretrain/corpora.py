"""List the corpora that can be read as they are distributed: ``nonverbal corpora``.

By path: ``python pretrain/corpora.py``.
"""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from nonverbal import cli, config
from nonverbal.data.corpora import CATALOG


@dataclass
class CorporaConfig:
    """There is nothing to set."""


def main(argv: list[str]) -> None:
    """Show the catalog."""
    config.load(CorporaConfig, argv, prog="nonverbal corpora", description=__doc__)
    table = Table()
    for column in ("name", "corpus", "clips", "hours", "licence", "allows", "home"):
        table.add_column(column, overflow="fold")
    for corpus in CATALOG.values():
        hours = "unknown" if corpus.hours is None else f"{corpus.hours:.2f}"
        row = (corpus.name, corpus.title, str(corpus.clips), hours, corpus.licence, corpus.allows, corpus.home)
        table.add_row(*row)
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    console.print(table)
    console.print("Read one with: nonverbal prepare NAME=FOLDER --out SHARDS", highlight=False)
    for corpus in CATALOG.values():
        console.print(f"{corpus.name} looks like {corpus.looks_like}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        "Any other folder is read as a folder a class, or as Hugging Face's audiofolder where it holds a metadata.csv "
        "or .jsonl (file_name, label, speaker, session, recording, language).",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    cli.run(main)
