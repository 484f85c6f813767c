"""What fuzzing found in what the Hugging Face Hub answers: a test for each kind."""

import json
from pathlib import Path
from typing import Any

import pytest
from hub_targets import make_answers, read_download, read_push

from nonverbal.errors import UserError


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_answers_are_those_of_a_push_and_a_download(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_answers(tmp_path / "in")
    address, said = read_push(tmp_path / "in")  # type: ignore[misc]
    assert address.endswith("/org/model/tree/v2")
    assert "org/model: pull request 1 is merged: main has the release" in said
    assert read_download(tmp_path / "in") == ["README.md", "config.json", "passport.json"]


@pytest.mark.parametrize("name", ["../../out.json", "/tmp/nonverbal-out.json", "a/../../b", "a\0b", "x" * 300])
def test_a_download_whose_names_lead_out_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in/deep").mkdir(parents=True)
    make_answers(tmp_path / "in/deep")
    change(tmp_path / "in/deep/info.json", siblings=[{"rfilename": name}])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="org/model: the repository has a file .*, which leads out of it or is no name"):
        read_download(tmp_path / "in/deep")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_download_of_no_commit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_answers(tmp_path / "in")
    change(tmp_path / "in/info.json", sha=None)
    with pytest.raises(UserError, match="the Hub does not say which commit the files belong to"):
        read_download(tmp_path / "in")


@pytest.mark.parametrize(
    ("file", "changes", "doing"),
    [
        ("headers", {"ETag": "x" * 300}, "downloading"),
        ("headers", {"ETag": "x/../../y"}, "downloading"),
        ("whoami", {"name": None, "auth": 3}, "checking the token"),
        ("info", {"siblings": [3]}, "looking for the repository"),
        ("info", {"siblings": [3]}, "downloading"),
        ("refs", {"tags": [{"name": "v1"}]}, "looking at its tags"),
        ("discussions", {"discussions": [{"num": 1}]}, "uploading"),
    ],
)
def test_an_answer_that_lacks_something_is_told_in_words(
    tmp_path: Path, file: str, changes: dict[str, Any], doing: str
) -> None:
    (tmp_path / "in").mkdir()
    make_answers(tmp_path / "in")
    change(tmp_path / f"in/{file}.json", **changes)
    with pytest.raises(UserError, match=f"org/model: {doing} failed: the client cannot read the Hub's answer"):
        (read_download if doing == "downloading" else read_push)(tmp_path / "in")
