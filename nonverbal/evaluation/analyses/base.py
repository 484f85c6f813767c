"""What an analysis is: settings to numbers, kept as JSON under a name that says what they are, and told in words.

Shapes and units are those of each analysis. Files may come from others: every value is checked for its type.
"""

import json
import math
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, get_args, get_origin, get_type_hints

from nonverbal.errors import UserError
from nonverbal.evaluation.tables import Table
from nonverbal.files import write_atomically


@dataclass(kw_only=True)
class AnalysisSettings:
    """What every analysis is told."""

    out: Path
    """The numbers: a file whose name ends in the analysis's own end, such as .decisions.json, by which `nonverbal
    report` knows it."""
    figure: Path | None = None
    """The figure too, as a file that ends in .svg or .png."""


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
        """Return a few sentences: the result with its interval, what chance gives, what it does not show."""

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
        made: A = built(kind, json.loads(path.read_text(encoding="utf-8")))
        made.check()
    except (OSError, ValueError, RecursionError, OverflowError) as error:
        raise UserError(
            f"{path} does not hold what its name says ({' '.join(str(error).split())}); make it again with nonverbal "
            f"analyze {kind.NAME}"
        ) from error
    return made


def built(hint: Any, value: Any, where: str = "") -> Any:
    """Return a value of JSON as a type has it: a dataclass from its fields, a float from any number.

    Args:
        hint: a dataclass, ``str``, ``int``, ``float``, ``bool``, ``list``, ``dict`` by text, or a union with None.
        value: as JSON has it.
        where: the field, as errors call it; empty for the whole.

    Raises:
        ValueError: it is of another type, a number is NaN or infinite, a field is missing or unknown.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (other,) = (kind for kind in inner if kind is not type(None))
        return None if value is None else built(other, value, where)
    if is_dataclass(hint):
        return _dataclass(hint, value, where)
    if origin is list and isinstance(value, list):
        return [built(inner[0], item, f"{where}[{place}]") for place, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {_text(key, where): built(inner[1], item, f"{where}[{key!r:.40}]") for key, item in value.items()}
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint is str and isinstance(value, str):
        return _text(value, where)
    if hint in (int, bool) and type(value) is hint:
        return value
    raise ValueError(f"{where or 'it'} is {value!r:.60}, but must be {_words(hint)}")


def _dataclass(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'it'} is {value!r:.60}, but must hold fields")
    hints = get_type_hints(cls)
    required = {field.name for field in fields(cls) if field.default is field.default_factory is MISSING}
    names = {field.name for field in fields(cls)}
    if not required <= value.keys() <= names:
        wrong = sorted(required - value.keys() | value.keys() - names)
        raise ValueError(f"missing or unknown fields of {where or 'it'}: {wrong!r:.200}")
    before = f"{where}." if where else ""
    return cls(**{name: built(hints[name], item, f"{before}{name}") for name, item in value.items()})


def _text(value: str, where: str) -> str:
    """A text that can be written: JSON can hold halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} is no text ({error.reason})") from error
    return value


def _words(hint: Any) -> str:
    plain: Mapping[Any, str] = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
    return plain.get(hint, "a list" if get_origin(hint) is list else "a table by text")
