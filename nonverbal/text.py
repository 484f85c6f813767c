"""Text from other people: split into lines, and shown without line breaks or invisible characters; numbers as text."""

import re
from collections.abc import Sequence

LINE_END = re.compile(r"\r\n|\r|\n")
"""Ends of lines in files. ``str.splitlines`` also splits at characters that labels may contain: U+2028, U+0085, form
feeds."""


def shown(text: str) -> str:
    """Return a text for a message: as Python's ``repr`` if it contains invisible characters or line breaks."""
    return text if text and text.isprintable() else repr(text)


def one_line(text: str) -> str:
    """Return a text with line breaks and invisible characters escaped as in Python."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def counted(number: int, what: str) -> str:
    """Return a number with its noun: 1 fold, 5 folds."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def some_of(texts: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first texts, and the number of others: ``a, b and 3 more``."""
    others = len(texts) - most
    return between.join(texts[:most]) + (f" and {others} more" if others > 0 else "")


def slug(name: str) -> str:
    """Return a name with only characters that are safe in a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[-80:]


def told_apart(texts: list[str]) -> str:
    """Return texts that may look the same, such as é as one character and as two, so that the difference is visible."""
    return ", ".join(map(ascii, texts))


def size(count: float) -> str:
    """Return a number of bytes for people to read: 1.52 GB."""
    for unit, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        # So that 999.7 MB is shown as 1 GB, not as 1e+03 MB.
        if count >= 0.9995 * power:
            return f"{count / power:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def duration(seconds: float) -> str:
    """Return a duration for people to read: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
