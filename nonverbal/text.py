"""Text that other people wrote: split into lines, shown so that nothing breaks a line or hides; numbers as text."""

import re
from collections.abc import Sequence

LINE_END = re.compile(r"\r\n|\r|\n")
"""What ends a line in a file. ``str.splitlines`` splits at more, which labels may hold: U+2028, U+0085, form feeds."""


def shown(text: str) -> str:
    """Return a text as a message can hold it: as Python writes it where it has what cannot be seen or breaks a line."""
    return text if text and text.isprintable() else repr(text)


def one_line(text: str) -> str:
    """Return a text with what breaks lines, or cannot be seen, as Python would write it."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def some_of(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first texts, and how many others there are: ``a, b and 3 more``."""
    others = len(texts) - most
    return between.join(texts[:most]) + (f" and {others} more" if others > 0 else "")


def slug(name: str) -> str:
    """Return a name as it may stand in a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[-80:]


def told_apart(texts: list[str]) -> str:
    """Return texts that may look the same, such as é in one character and in two, so that they can be told apart."""
    return ", ".join(map(ascii, texts))


def size(count: float) -> str:
    """Return a number of bytes as a person reads it: 1.52 GB."""
    for unit, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        # So that 999.7 MB are 1 GB and not 1e+03 MB.
        if count >= 0.9995 * power:
            return f"{count / power:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def duration(seconds: float) -> str:
    """Return a time as a person reads it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
