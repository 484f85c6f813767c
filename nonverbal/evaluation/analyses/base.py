"""What an analysis is: settings to numbers, kept as JSON under a name that says what they are, and told in words.

Shapes and units are those of each analysis. Files may come from others: every value is checked for its type.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from nonverbal.errors import UserError
from nonverbal.evaluation.tables import Table
from nonverbal.files import read_json, write_atomically
from nonverbal.records import read_record


@dataclass(kw_only=True)
class AnalysisSettings:
    """Settings of every analysis."""

    out: Path
    """File for the numbers. Its name must have the ending of the analysis, such as .decisions.json, by which `nonverbal
    report` recognises it."""
    figure: Path | None = None
    """File for the figure too, which ends in .svg or .png."""


S = TypeVar("S", bound=AnalysisSettings)


class Analysis(ABC, Generic[S]):
    """A frozen dataclass of numbers, texts, lists, dictionaries by text, and dataclasses of these."""

    NAME: ClassVar[str]
    """On the command line, and in the end of its files' names."""
    ABOUT: ClassVar[str]
    """A line for the list of analyses."""
    SETTINGS: ClassVar[type[AnalysisSettings]]
    """What ``make`` takes; the docstrings under its fields are the help."""

    @classmethod
    @abstractmethod
    def make(cls, settings: S) -> Self:
        """Compute it.

        Raises:
            UserError: says what of the settings does not fit, or what is missing or damaged.
        """

    @property
    @abstractmethod
    def heading(self) -> str:
        """Of its section in a report."""

    @abstractmethod
    def summary(self) -> str:
        """Return a few sentences: the result with its interval, what chance gives, what it does not show.

        Line breaks divide paragraphs.
        """

    @abstractmethod
    def tables(self) -> list[Table]:
        """Return the numbers."""

    def check(self) -> None:
        """Raise ValueError where values, each of its own type, do not fit each other."""


def end_of(name: str) -> str:
    """Return the end of the names of files with an analysis."""
    return f".{name}.json"


def write_analysis(path: Path, made: Analysis[Any]) -> None:
    """Write an analysis as JSON, whole or not at all.

    Args:
        path: ends in the analysis's own end.
        made: holds no number that is NaN or infinite.
    """
    assert path.name.endswith(end_of(made.NAME)), "the name says what is in a file"
    write_atomically(path, json.dumps(asdict(made), allow_nan=False) + "\n")  # type: ignore[call-overload]


A = TypeVar("A", bound=Analysis[Any])


def read_as(kind: type[A], path: Path) -> A:
    """Read an analysis of a kind.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    try:
        content = read_json(path)
        # JSON can hold halves of characters, which no file can.
        json.dumps(content, ensure_ascii=False).encode()
        made = read_record(kind, content, "in it")
        made.check()
    except (OSError, ValueError, RecursionError, OverflowError, UserError) as error:
        raise UserError(
            f"{path} does not contain what its name says ({' '.join(str(error).split())}); make it again with "
            f"nonverbal analyze {kind.NAME}"
        ) from error
    return made
