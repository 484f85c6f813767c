"""The encoders that can be compared, and what is known about each.

``nonverbal encoders`` lists them: name, size, licence, training data, and what must be installed.
``nonverbal encoders show NAME`` prints all that is known about one: a name from the list, a kind, or your own folder.
``nonverbal encoders check NAME`` tests whether a clip's embedding depends on its neighbours in a batch, on padding or
on the run, and prints shortest clip, speed and memory. The exit code is 2 if the embedding depends on any of these.

By path: ``python evaluate/encoders.py``.
"""

import math
import re
import sys
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from nonverbal import cli, config
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.evaluation.encoders import INITIALISED, KINDS, Encoder, Kind, ManifestEncoder, encoders_in, load_encoder
from nonverbal.evaluation.encoders.listing import Entry, entries
from nonverbal.evaluation.exactness import EXACT, check_exactness
from nonverbal.licences import Terms, in_words
from nonverbal.paths import PathOrName
from nonverbal.terminal import console_of
from nonverbal.text import counted, size

COLUMNS = ("name", "kind", "values", "layers", "licence", "trained on", "needs", "tried")

INEXACT = 2
"""Exit code if embeddings depend on something that must not affect them."""


@dataclass
class ListConfig:
    """What to list."""

    kind: str | None = None
    """List only this kind, such as whisper."""


@dataclass
class ShowConfig:
    """Which encoder to show."""

    name: PathOrName
    """A name from the list, a kind, or a folder or Hub id as for `nonverbal probe`; for `finetuned:RUN`, the encoder of
    the first fold."""


@dataclass
class CheckConfig:
    """Which encoder to check."""

    name: PathOrName
    """An encoder as for `nonverbal probe`, such as a folder or `initialised:FOLDER`; for `finetuned:RUN`, the encoder
    of the first fold."""
    seed: int = 0
    """Seed of the random weights of `initialised:`."""


def main(argv: list[str]) -> None:
    """List, show, or check."""
    # In a pipe, the table would otherwise be wrapped to 80 columns, which makes it hard to read.
    console = console_of(160)
    if argv[:1] == ["show"]:
        chosen = config.load(ShowConfig, config.with_first(argv[1:], "name"), "nonverbal encoders show", str(__doc__))
        show(encoders_in(chosen.name)[0], console)
    elif argv[:1] == ["check"]:
        asked = config.load(CheckConfig, config.with_first(argv[1:], "name"), "nonverbal encoders check", str(__doc__))
        check(encoders_in(asked.name)[0], asked.seed)
    else:
        list_encoders(config.load(ListConfig, argv, "nonverbal encoders", str(__doc__)), console)


def list_encoders(chosen: ListConfig, console: Console) -> None:
    """Show the encoders of one kind or of all, one per line."""
    table = Table()
    for column in COLUMNS:
        numbers = column in ("values", "layers")
        table.add_column(column, justify="right" if numbers else "left", no_wrap=column == "name", overflow="fold")
    for entry in entries():
        if chosen.kind in (None, entry.kind.name):
            size, kind = entry.size, entry.kind
            row = (str(size.dimensions), str(size.layers), _licence(entry.terms), entry.heard, kind.needs, entry.tried)
            table.add_row(entry.name, kind.name if kind.learned else "computed", *row)
    if not table.row_count:
        console.print(f"No encoder of this kind has a name here; the kinds are {', '.join(KINDS)}.")
        return
    console.print(table)
    console.print(
        "values: per frame. layers: including the input to the first block. Both are as published, not read from "
        "checkpoints. A licence with ? was not read at its source. tried: on which released weights; if on none, "
        "only with random weights, against the original code. Folders and Hub ids of these kinds are accepted too, and "
        f"{INITIALISED}NAME draws random weights. More: nonverbal encoders show NAME.",
        highlight=False,
        soft_wrap=True,
    )


def _licence(terms: Terms) -> str:
    if not terms.identifier:
        return "not stated"
    return terms.identifier if terms.verified else f"{terms.identifier} ?"


def show(name: str, console: Console) -> None:
    """Print what is known about an encoder; if it is not in the list, load it and print its properties."""
    entry = next((entry for entry in entries() if entry.name == name), None)
    if entry is not None:
        title, facts, notes = entry.kind.title, _of_entry(entry) | _of_kind(entry.kind), entry.kind.notes
    elif name in KINDS:
        kind = KINDS[name]
        title, notes = kind.title, kind.notes
        facts = {"checkpoints": ", ".join(kind.published) or "none with an id on the Hub"} | _of_kind(kind)
    else:
        title, facts, notes = name, _of_loaded(load_encoder(name)), ""
    console.print(f"{title}\n", markup=False, highlight=False, style="bold")
    grid = Table.grid(padding=(0, 2))
    for label, value in facts.items():
        grid.add_row(label, re.sub(r"\[", r"\\[", value))
    console.print(grid, highlight=False)
    for paragraph in notes.strip().split("\n\n")[1:]:
        console.print("\n" + " ".join(paragraph.split()), markup=False, highlight=False)


def check(name: str, seed: int) -> None:
    """Print what an encoder's embeddings depend on; end with exit code 2 if anything that should not affects them."""
    found = check_exactness(name, seed)
    said = {
        "run": (found.run, ""),
        "neighbours": (found.neighbours, "it is given one clip at a time"),
        "padding": (found.padding, "it is never padded"),
    }
    over = "its layer" if found.scale == "layer" else "each value"
    print(f"{name}: largest difference of an embedding, over the RMS of {over}; {EXACT:g} counts as exact")
    for what, (value, otherwise) in said.items():
        words = otherwise if value is None else f"{value:.1e}{'' if value <= EXACT else '  NOT EXACT'}"
        print(f"  {what:<22}{words}")
    if found.plain is not None:
        print(f"  {'plain transformers':<22}{found.plain:.1e} (a padded batch; not counted)")
    shortest = f"{counted(found.shortest, 'sample')} ({1000 * found.shortest / SAMPLE_RATE:g} ms)"
    print(f"shortest clip: {shortest}; {found.audio_per_second:.3g} s of audio a second, one clip at a time", end="; ")
    print(f"memory: {size(found.memory)}")
    if found.faults:
        print(f"depends on: {', '.join(found.faults)}")
        sys.exit(INEXACT)


def _of_entry(entry: Entry) -> dict[str, str]:
    said = entry.checkpoint
    return {
        "name": entry.name,
        "frames": _frames(entry.size.layers, entry.size.dimensions),
        "licence": _licence(entry.terms),
        "terms": in_words(entry.terms),
        "by": entry.terms.source + ("" if entry.terms.verified else ", not verified"),
        "trained on": entry.heard,
        **({"says": said.source + ("" if said.verified else ", not verified")} if said else {}),
    }


def _of_loaded(encoder: Encoder) -> dict[str, str]:
    facts = {
        "name": encoder.name,
        "kind": encoder.kind,
        "frames": _frames(encoder.layers, encoder.dimensions),
        "key": encoder.key,
    }
    if not isinstance(encoder, ManifestEncoder):
        facts |= _limits(encoder.shortest, encoder.max_seconds)
    return facts


def _of_kind(kind: Kind) -> dict[str, str]:
    return {
        "kind": kind.name,
        **_limits(kind.shortest, kind.max_seconds),
        "needs": f"pip install 'nonverbal[{kind.needs}]'" if kind.needs else "nothing more",
        **({"tried": kind.tried or "only with random weights, never on released ones"} if kind.learned else {}),
    }


def _frames(layers: int, dimensions: int) -> str:
    return f"{counted(layers, 'layer')} of {counted(dimensions, 'value')}"


def _limits(shortest: int, max_seconds: float) -> dict[str, str]:
    longest = "any length" if math.isinf(max_seconds) else f"{max_seconds:g} s; longer clips in equal windows"
    milliseconds = f"{1000 * shortest / SAMPLE_RATE:g} ms"
    return {"shortest clip": f"{counted(shortest, 'sample')} ({milliseconds})", "longest input": longest}


if __name__ == "__main__":
    cli.run(main)
