"""The base of analyses: from settings to numbers, which are stored as JSON and described in words.

Shapes and units are those of each analysis. Files may come from other people, so every value is checked for its type.
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
    """A frozen dataclass of numbers, texts, lists, dictionaries with text keys, and dataclasses of these."""

    NAME: ClassVar[str]
    """Its name on the command line, and in the ending of its files' names."""
    ABOUT: ClassVar[str]
    """Its line in the list of analyses."""
    SETTINGS: ClassVar[type[AnalysisSettings]]
    """The settings that ``make`` takes; the docstrings under their fields are the help."""

    @classmethod
    @abstractmethod
    def make(cls, settings: S) -> Self:
        """Compute the analysis.

        Raises:
            UserError: settings do not fit, or something is missing or damaged; the message says which.
        """

    @property
    @abstractmethod
    def heading(self) -> str:
        """The heading of its section in a report."""

    @abstractmethod
    def summary(self) -> str:
        """Return a few sentences: the result with its interval, the value by chance, and what the result does not show.

        Line breaks separate paragraphs.
        """

    @abstractmethod
    def tables(self) -> list[Table]:
        """Return the numbers as tables."""

    def check(self) -> None:
        """Raise ValueError if values contradict each other, although each has the right type."""


def end_of(name: str) -> str:
    """Return the ending of the names of files with an analysis."""
    return f".{name}.json"


def write_analysis(path: Path, made: Analysis[Any]) -> None:
    """Write an analysis as JSON, completely or not at all.

    Args:
        path: has the ending of the analysis.
        made: the analysis; none of its numbers may be NaN or infinite.
    """
    assert path.name.endswith(end_of(made.NAME)), "the name says what is in a file"
    write_atomically(path, json.dumps(asdict(made), allow_nan=False) + "\n")  # type: ignore[call-overload]


A = TypeVar("A", bound=Analysis[Any])


def read_as(kind: type[A], path: Path) -> A:
    """Read an analysis of the given kind.

    Raises:
        UserError: the file cannot be read, or contains something else.
    """
    try:
        content = read_json(path)
        # JSON can contain lone surrogates, which no UTF-8 file can.
        json.dumps(content, ensure_ascii=False).encode()
        made = read_record(kind, content, "in it")
        made.check()
    except (OSError, ValueError, RecursionError, OverflowError, UserError) as error:
        raise UserError(
            f"{path} does not contain what its name says ({' '.join(str(error).split())}); make it again with "
            f"nonverbal analyze {kind.NAME}"
        ) from error
    return made
