from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest

from nonverbal.errors import UserError
from nonverbal.records import read_record


@dataclass(frozen=True)
class Inner:
    size: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    rows: list[Inner] = field(default_factory=list)
    by_name: dict[str, int] = field(default_factory=dict)
    words: str | list[str] | None = None
    with_: dict[str, Any] = field(default_factory=dict)
    exact: bool = False
    maybe: list[float | None] = field(default_factory=list)
    kind: ClassVar[str] = "none of the keys"


WHOLE = {
    "name": "x",
    "inner": {"size": 1},
    "rows": [{"size": 0.5, "kind": "b"}],
    "by_name": {"one": 1},
    "words": ["a"],
    "with": {"a": [None, {"b": 1}], "c": None},
    "exact": True,
}


def test_a_record_is_what_is_written():
    made = read_record(Outer, WHOLE, "in x.json")
    assert made == Outer(
        "x", Inner(1.0), [Inner(0.5, "b")], {"one": 1}, ["a"], {"a": [None, {"b": 1}], "c": None}, True
    )
    assert type(made.inner.size) is float
    assert read_record(Outer, {"name": "", "inner": {"size": 0}}, "in x.json").words is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 1}, "name must be a text, but is 1 in x.json"),
        ({1: "x"}, "unknown key '1' in x.json"),
        ({"inner": {"size": 1, False: "x"}}, "unknown key 'inner.False' in x.json"),
        ({"nane": 1}, "unknown key 'nane' in x.json; did you mean 'name'?"),
        ({"wiht": {}}, "unknown key 'wiht' in x.json; did you mean 'with'?"),
        ({"with_": {}}, "unknown key 'with_' in x.json; did you mean 'with'?"),
        ({"inner": {}}, "inner.size is missing in x.json"),
        ({"inner": {"size": True}}, "inner.size must be a finite number, but is True"),
        ({"inner": {"size": float("nan")}}, "inner.size must be a finite number, but is nan"),
        ({"inner": {"size": -(10**400)}}, "inner.size must be a finite number, but is -1000"),
        ({"inner": {"size": 1, "kind": "c"}}, "inner.kind must be 'a' or 'b', but is 'c'"),
        ({"inner": [1]}, "inner is \\[1\\] in x.json, but must hold `key: value` lines"),
        ({"rows": [{"size": 1, "sice": 2}]}, r"unknown key 'sice' in rows\[0\] in x.json; did you mean 'size'?"),
        ({"kind": "x"}, "unknown key 'kind' in x.json"),
        ({"maybe": [1, "2"]}, r"maybe\[1\] must be a finite number or null, but is '2'"),
        ({"rows": {}}, "rows must be a list, but is {}"),
        ({"rows": [{"size": 1}, {"size": "1"}]}, r"rows\[1\].size must be a finite number, but is '1'"),
        ({"by_name": {"one": 1.5}}, "by_name.one must be a whole number, but is 1.5"),
        ({"by_name": {"one": True}}, "by_name.one must be a whole number, but is True"),
        ({"words": 3}, "words must be a text, a list or null, but is 3"),
        ({"words": ["a", 3]}, r"words\[1\] must be a text, but is 3"),
        ({"exact": 1}, "exact must be true or false, but is 1"),
        ({"name": None}, "name is null in x.json: give it a value"),
    ],
)
def test_what_is_of_another_kind_is_named(change, message):
    with pytest.raises(UserError, match=message):
        read_record(Outer, WHOLE | change, "in x.json")


def test_lists_may_hold_null_where_their_type_says():
    assert read_record(Outer, WHOLE | {"maybe": [1, None]}, "in x.json").maybe == [1.0, None]


def test_what_is_no_record_is_said():
    with pytest.raises(UserError, match="the content in x.json must be `key: value` pairs, but is \\[\\]"):
        read_record(Outer, [], "in x.json")
