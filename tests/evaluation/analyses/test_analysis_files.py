"""Files of analyses: written and read alike, and refused where a value is not of its type."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import built, end_of
from nonverbal.evaluation.analyses.kinds import KINDS, kind_of, read_analysis


@dataclass(frozen=True)
class Part:
    share: float
    low: float | None = None


@dataclass(frozen=True)
class Whole:
    name: str
    count: int
    sure: bool
    parts: list[Part]
    by_name: dict[str, list[float | None]] = field(default_factory=dict)


GOOD: dict[str, Any] = {"name": "a", "count": 3, "sure": True, "parts": [{"share": 1, "low": 0.5}, {"share": 0.25}]}


def test_values_are_built_as_their_types_say() -> None:
    made = built(Whole, GOOD | {"by_name": {"x": [1, None]}})
    assert made == Whole("a", 3, True, [Part(1.0, 0.5), Part(0.25)], {"x": [1.0, None]})
    assert type(made.parts[0].share) is float
    assert type(made.by_name["x"][0]) is float


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "name is 3, but must be a text"),
        ({"name": "\ud800"}, "name is no text"),
        ({"count": 3.0}, "count is 3.0, but must be a whole number"),
        ({"count": True}, "count is True"),
        ({"sure": 1}, "sure is 1, but must be true or false"),
        ({"parts": {}}, "parts is {}, but must be a list"),
        ({"parts": [3]}, r"parts\[0\] is 3, but must hold fields"),
        ({"parts": [{"share": None}]}, r"parts\[0\].share is None, but must be a number"),
        ({"parts": [{"share": True}]}, r"parts\[0\].share is True, but must be a number"),
        ({"parts": [{"share": float("nan")}]}, "share is nan"),
        ({"parts": [{"share": float("inf")}]}, "share is inf"),
        ({"parts": [{}]}, r"missing or unknown fields of parts\[0\]: \['share'\]"),
        ({"by_name": {"x": [""]}}, r"by_name\['x'\]\[0\] is '', but must be a number"),
        ({"by_name": []}, "by_name is \\[\\], but must be a table by text"),
        ({"more": 1}, r"missing or unknown fields of it: \['more'\]"),
    ],
)
def test_a_value_of_another_type_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        built(Whole, GOOD | change)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff", '{"first": ' + "9" * 400 + "}"])
@pytest.mark.parametrize("name", KINDS)
def test_what_holds_something_else_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / f"x{end_of(name)}"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=f"x.{name}.json does not hold what its name says .*nonverbal analyze {name}"):
        read_analysis(path)


def test_a_number_beyond_floats_is_refused() -> None:
    with pytest.raises((ValueError, OverflowError)):
        built(Part, json.loads('{"share": 1' + "0" * 400 + "}"))


def test_the_name_says_the_kind() -> None:
    for name, kind in KINDS.items():
        assert kind_of(Path(f"a/b.c{end_of(name)}")) is kind
    assert kind_of(Path("scores.jsonl")) is None
    with pytest.raises(UserError, match="x.json has not the name of an analysis, which ends in one of .map.json"):
        read_analysis(Path("x.json"))
