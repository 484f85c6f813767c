"""Launches as ``environment.json`` keeps them."""

import json
import os
from pathlib import Path

import pytest

from nonverbal.errors import UserError
from nonverbal.launches import add_launch, launch_key, launch_of, read_launches


def test_a_key_is_of_what_decides_the_scores() -> None:
    launch = launch_of(["nonverbal", "probe"], settings="head: svm\n", processor="x")
    assert launch_key(launch | {"time": "later", "processor": "y"}) == launch_key(launch)
    for changed in (
        {"command": ["nonverbal", "probe", "--null", "9"]},
        {"settings": "head: mlp\n"},
        {"packages": launch["packages"] | {"torch": "0"}},
        {"python": "2.7"},
        {"platform": "another"},
    ):
        assert launch_key(launch | changed) != launch_key(launch)
    assert launch["packages"]["torch"] is not None


def test_launches_are_added_to_those_before(tmp_path: Path) -> None:
    keys = [add_launch(tmp_path / "new", launch_of(["nonverbal", name])) for name in ("probe", "fuse", "probe")]
    kept = read_launches(tmp_path / "new/environment.json")
    assert [launch_key(launch) for launch in kept] == keys
    assert keys[0] == keys[2] != keys[1]


def test_arguments_that_are_no_text_are_kept_escaped(tmp_path: Path) -> None:
    """A folder whose name is in Latin-1, as the system gives it to a program."""
    command = ["nonverbal", "probe", "--data", os.fsdecode(b"g\xeane"), "gêne"]
    key = add_launch(tmp_path, launch_of(command))
    (kept,) = read_launches(tmp_path / "environment.json")
    assert kept["command"] == ["nonverbal", "probe", "--data", r"g\xeane", "gêne"]
    assert launch_key(kept) == key


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b"[1]", b"[" * 100_000])
def test_a_damaged_file_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "environment.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="environment.json is damaged.*give another --out"):
        add_launch(tmp_path, launch_of(["nonverbal", "probe"]))
    assert path.read_bytes() == content
    path.write_text(json.dumps([]))
    assert len(add_launch(tmp_path, launch_of(["nonverbal", "probe"]))) == 12
