"""Files of analyses: written and read alike, and refused where a value is not of its type."""

import json
from pathlib import Path
from typing import Any

import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import end_of, read_as, write_analysis
from nonverbal.evaluation.analyses.confusion import Confusions
from nonverbal.evaluation.analyses.kinds import KINDS, kind_of, read_analysis
from nonverbal.evaluation.analyses.measured import Measured


def confusions(**changes: Any) -> dict[str, Any]:
    measured = {"value": 0.5, "low": None, "high": 0.75, "clips": 2}
    system = {"system": "x", "counts": [[1, 1], [0, 2]], "uar": measured, "recalls": {"a": measured}}
    facts = {"corpus": "c", "classes": ["a", "b"], "protocol": "p", "data_sha256": "s", "clips": {"a": 2, "b": 2}}
    return {**facts, "units": 2, "unit": "speakers", "systems": [system | changes.pop("system", {})], **changes}


def test_what_fits_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.confusion.json"
    path.write_text(json.dumps(confusions()))
    made = read_as(Confusions, path)
    assert made.systems[0].uar == Measured(0.5, None, 0.75, 2.0)
    assert type(made.systems[0].counts[0][0]) is float
    write_analysis(path, made)
    assert read_analysis(path) == made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus": 3}, "corpus must be a text, but is 3"),
        ({"corpus": "\ud800"}, "surrogates not allowed"),
        ({"units": 2.0}, "units must be a whole number, but is 2.0"),
        ({"units": True}, "units must be a whole number, but is True"),
        ({"system": {"uar": 0.5}}, r"uar is 0.5 in systems\[0\] in it, but must hold"),
        ({"system": {"uar": {"value": float("nan"), "low": None, "high": None, "clips": 1}}}, "value must be a finite"),
        ({"system": {"recalls": {"a": None}}}, "recalls.a is null"),
        ({"system": {"recalls": {}, "more": 1}}, r"unknown key 'more' in systems\[0\]"),
        ({"system": {"counts": [["1"]]}}, r"counts\[0\]\[0\] must be a finite number, but is '1'"),
        ({"system": {"counts": [[1]]}}, "counts are not classes by classes"),
        ({"classes": ["a"]}, "clips are not of the classes"),
        ({"systems": []}, "there is no system"),
        ({"classes": [], "clips": {}, "system": {"counts": [], "recalls": {}}}, "there is no class"),
        ({"NAME": "x"}, "unknown key 'NAME'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "x.confusion.json"
    path.write_text(json.dumps(confusions(**change)))
    with pytest.raises(
        UserError, match=f"x.confusion.json does not contain what its name says .*{said}.*make it again"
    ):
        read_as(Confusions, path)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "\xff", '{"first": ' + "9" * 400 + "}"])
@pytest.mark.parametrize("name", KINDS)
def test_what_holds_something_else_is_refused(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / f"x{end_of(name)}"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(
        UserError, match=f"x.{name}.json does not contain what its name says .*nonverbal analyze {name}"
    ):
        read_analysis(path)


def test_a_number_beyond_floats_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.confusion.json"
    path.write_text(json.dumps(confusions()).replace("0.75", "9" * 400))
    with pytest.raises(UserError, match="does not contain what its name says"):
        read_as(Confusions, path)


def test_the_name_says_the_kind() -> None:
    for name, kind in KINDS.items():
        assert kind_of(Path(f"a/b.c{end_of(name)}")) is kind
    assert kind_of(Path("scores.jsonl")) is None
    with pytest.raises(UserError, match="x.json does not have the name of an analysis, which ends in one of .map.json"):
        read_analysis(Path("x.json"))
