"""``nonverbal verify``: what it prints, writes and ends with, of folders and of repositories."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from released import in_this_process
from tiny_encoders import save_tiny

from evaluate import verify as program
from nonverbal.errors import UserError
from nonverbal.release import measuring
from nonverbal.release.passport import write_passport


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which is quicker than another."""
    monkeypatch.setattr(measuring, "run_plain", in_this_process)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = save_tiny("hubert large", tmp_path / "release")
    (folder / "README.md").write_text("A model. Anna was here.\n")
    write_passport(folder, None, [measuring.measure(folder)])
    return folder


def test_a_whole_folder_ends_well(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program.main([str(release)])
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith(f"{release}: nothing is wrong, by 2")
    program.main([str(release), "--all"])
    assert "embeddings" in capsys.readouterr().out


def test_what_is_wrong_is_shown_and_written(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (release / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "names.txt").write_text("anna\n")
    found = tmp_path / "found.json"
    with pytest.raises(SystemExit) as end:
        program.main([str(release), "--names", str(tmp_path / "names.txt"), "--json", str(found)])
    assert end.value.code == 1
    assert "problems found: 3" in capsys.readouterr().out
    bad = [row for row in json.loads(found.read_text()) if not row["ok"]]
    assert [row["check"] for row in bad] == ["file too many", "pickle", "name"]
    assert bad[2]["file"] == "README.md"
    assert all(row["value"] and row["expected"] and row["remedy"] for row in bad)


def test_names_that_no_text_can_hold_are_shown_and_written(release: Path, tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(release) + b"/\xff.txt"))).write_text("x")
    with pytest.raises(SystemExit):
        program.main([str(release), "--json", str(tmp_path / "found.json")])
    bad = [row for row in json.loads((tmp_path / "found.json").read_text()) if not row["ok"]]
    assert [(row["check"], row["file"]) for row in bad] == [("file too many", "\udcff.txt")]


def test_a_repository_is_downloaded_and_removed_again(
    release: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Path, str | None]] = []

    def download(repo: str, into: Path, revision: str | None = None) -> Path:
        asked.append((repo, into, revision))
        shutil.copytree(release, into)
        return into

    monkeypatch.setattr(program, "download", download)
    program.main(["anna/model", "--revision", "v1"])
    assert "anna/model: nothing is wrong" in capsys.readouterr().out
    ((repo, into, revision),) = asked
    assert (repo, revision) == ("anna/model", "v1")
    assert not into.exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (lambda folder: ["./none"], "there is no folder ./none"),
        (lambda folder: ["none"], "ORGANISATION/NAME"),
        (lambda folder: [str(folder), "--revision", "x"], "--revision applies only to a repository"),
        (lambda folder: [str(folder), "--json", "none/x.json"], "there is no folder none"),
    ],
)
def test_what_cannot_be_verified_is_an_error(tmp_path: Path, argv: Callable[[Path], list[str]], message: str) -> None:
    with pytest.raises(UserError) as error:
        program.main(argv(tmp_path))
    assert message in str(error.value)
