"""Pushing to a Hub on this machine, by its real client: what is made, in which order, and what is refused.

These tests and test_hub_faults.py need huggingface_hub and pytest alone, so that they can be run against any version
of it (docs/push.md).
"""

import re
from pathlib import Path

import pytest
from hub_release import DRAWN, FILES, finding, hub_here, released, write_release
from hub_repositories import READ, WRITE
from hub_server import HubServer

from nonverbal.errors import UserError
from nonverbal.release.findings import Finding
from nonverbal.release.hub import download, push
from nonverbal.release.hub_contents import identities_of, key_of


@pytest.fixture
def hub(monkeypatch):
    with hub_here(monkeypatch) as server:
        yield server


def pushed(folder: Path, repo: str = "org/model", verify=lambda folder: [], **how) -> str:
    return push(folder, repo, verify, **how)


def changes(hub: HubServer) -> list[str]:
    """What was asked to change, in order, large files aside."""
    asked = [re.sub(r"[0-9a-f]{40}", "SHA", said) for said in hub.requests if said.startswith(("POST", "PUT"))]
    reading = ("validate", "preupload", "batch", "/large/")
    return [said for said in asked if not any(word in said for word in reading)]


def test_a_release_is_made_private_verified_merged_and_tagged(hub, tmp_path, capsys):
    seen: list[dict[str, bytes]] = []

    def verify(folder: Path) -> list[Finding]:
        seen.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")})
        # What is verified came down from the pull request, and main holds nothing of it yet.
        assert hub.repositories["org/model"].files() == {}
        return [finding()]

    folder = write_release(tmp_path / "model")
    assert pushed(folder, verify=verify) == f"{hub.endpoint}/org/model/tree/v1"
    assert seen == [FILES]
    assert released(hub) == (FILES, ["merged"], {"v1": True}, True)
    assert changes(hub) == [
        "POST /api/repos/create",
        "POST /api/models/org/model/commit/main",
        "POST /api/models/org/model/discussions/1/merge",
        "POST /api/models/org/model/tag/SHA",
    ]
    assert capsys.readouterr().out.splitlines() == [
        "org/model: created, private",
        "org/model: uploading 5 files (3.13 kB) as a pull request",
        "org/model: pull request 1, downloaded into a fresh folder, passes all checks",
        "org/model: pull request 1 is merged: main has the release",
        "org/model: tagged v1",
    ]


def test_it_is_public_only_after_all_else(hub, tmp_path):
    pushed(write_release(tmp_path / "model"), private=False, tag="first")
    assert changes(hub)[0] == "POST /api/repos/create"
    assert changes(hub)[-2:] == ["POST /api/models/org/model/tag/SHA", "PUT /api/models/org/model/settings"]
    assert released(hub) == (FILES, ["merged"], {"first": True}, False)


def test_the_same_push_again_changes_nothing(hub, tmp_path):
    folder = write_release(tmp_path / "model")
    first = pushed(folder)
    before = changes(hub)
    assert pushed(folder) == first
    assert changes(hub) == before


def test_another_release_replaces_the_files_and_keeps_the_tag_of_the_first(hub, tmp_path):
    folder = write_release(tmp_path / "model")
    pushed(folder)
    (folder / "config.json").write_text("{2}")
    (folder / "code/modeling.py").unlink()
    (folder / "code").rmdir()
    assert pushed(folder).endswith("/tree/v2")
    files = {**FILES, "config.json": b"{2}"}
    del files["code/modeling.py"]
    assert released(hub) == (files, ["merged", "merged"], {"v1": False, "v2": True}, True)


def test_a_repository_that_the_page_of_the_hub_made_is_taken(hub, tmp_path):
    hub.make("org/model", files={"README.md": b"", "LICENSE": b"Apache"})
    folder = write_release(tmp_path / "model")
    pushed(folder)
    assert released(hub)[0] == FILES | {"LICENSE": b"Apache"}
    # What is released already is known again, and the next release keeps the licence, too.
    assert pushed(folder).endswith("/tree/v1")
    (folder / "config.json").write_text("{2}")
    assert pushed(folder).endswith("/tree/v2")
    assert released(hub)[0] == FILES | {"LICENSE": b"Apache", "config.json": b"{2}"}
    assert identities_of(download("org/model", tmp_path / "new")) == identities_of(folder)


def test_what_others_keep_is_not_replaced(hub, tmp_path):
    there = hub.make("org/model", files={"pytorch_model.bin": b"theirs"})
    with pytest.raises(UserError, match="org/model: the repository has files but no release .*: pytorch_model.bin; ch"):
        pushed(write_release(tmp_path / "model"))
    assert there.files() == {"pytorch_model.bin": b"theirs"}
    assert changes(hub) == []


def test_a_public_repository_is_met_only_where_that_is_said(hub, tmp_path):
    hub.make("org/model", private=False)
    with pytest.raises(UserError, match="org/model: the repository is public, but .*; give --public, or another --rep"):
        pushed(write_release(tmp_path / "model"))
    assert changes(hub) == []
    pushed(tmp_path / "model", private=False)
    assert released(hub) == (FILES, ["merged"], {"v1": True}, False)


def test_what_does_not_pass_is_not_merged_and_continues_when_it_does(hub, tmp_path):
    folder = write_release(tmp_path / "model")
    with pytest.raises(UserError) as error:
        pushed(folder, verify=lambda folder: [finding(), DRAWN])
    assert str(error.value) == (
        "org/model: the download does not pass verification: key drawn at random: model.safetensors masked_spec_embed, "
        "expected the same weights each time that it is loaded: release the model again. Pull request 1 stays open and "
        "main is unchanged; correct the release and run the same command again"
    )
    assert released(hub) == ({}, ["open"], {}, True)
    pushed(folder)
    assert released(hub) == (FILES, ["merged"], {"v1": True}, True)


def test_a_pull_request_that_another_release_left_is_closed(hub, tmp_path):
    folder = write_release(tmp_path / "model")
    with pytest.raises(UserError):
        pushed(folder, verify=lambda folder: [finding(ok=False)])
    (folder / "config.json").write_text("{2}")
    pushed(folder)
    assert released(hub) == ({**FILES, "config.json": b"{2}"}, ["closed", "merged"], {"v1": True}, True)


def test_a_pull_request_from_before_a_change_of_main_is_made_anew(hub, tmp_path):
    folder = write_release(tmp_path / "model")
    with pytest.raises(UserError):
        pushed(folder, verify=lambda folder: [finding(ok=False)])
    there = hub.repositories["org/model"]
    main = there.refs["refs/heads/main"]
    there.refs["refs/heads/main"] = there.commit(dict(there.commits[main][0]), main, "Update README.md")
    pushed(folder)
    assert released(hub) == (FILES, ["closed", "merged"], {"v1": True}, True)


def test_a_draft_is_opened_and_merged(hub, tmp_path):
    folder = write_release(tmp_path / "model")
    with pytest.raises(UserError):
        pushed(folder, verify=lambda folder: [finding(ok=False)])
    hub.repositories["org/model"].discussions[0]["status"] = "draft"
    pushed(folder)
    assert released(hub) == (FILES, ["merged"], {"v1": True}, True)


def test_bytes_that_come_down_changed_are_not_merged(hub, tmp_path):
    folder = write_release(tmp_path / "model")

    def change() -> None:
        there = hub.repositories["org/model"]
        files = there.commits[there.refs["refs/pr/1"]][0]
        files["config.json"] = type(files["config.json"])(b"[]", False)

    hub.fault("GET .*/revision/refs/pr/1", "", 1, change)
    with pytest.raises(UserError, match="does not pass verification: changed: config.json. Pull request 1 stays open"):
        pushed(folder)
    assert released(hub)[0] == {}


@pytest.mark.parametrize("tag", ["v1", "first"])
def test_a_tag_of_another_release_is_refused_before_anything_goes_up(hub, tmp_path, tag):
    folder = write_release(tmp_path / "model")
    pushed(folder, tag=tag)
    (folder / "config.json").write_text("{2}")
    before = changes(hub)
    with pytest.raises(UserError, match=f"org/model: the tag {tag} belongs to another release; give another --tag"):
        pushed(folder, tag=tag)
    assert changes(hub) == before


@pytest.mark.parametrize("tag", ["", "two words", "-v1", "v1.", "a/b", "v1\n"])
def test_what_git_takes_for_no_tag_is_refused(hub, tmp_path, tag):
    with pytest.raises(UserError, match="org/model: --tag is .*, but must have letters and digits"):
        pushed(write_release(tmp_path / "model"), tag=tag)


@pytest.mark.parametrize("repo", ["model", "a/b/c", "org/mo del", "org/", "org/model.git"])
def test_what_is_no_name_of_a_repository_is_refused(hub, tmp_path, repo):
    with pytest.raises(UserError, match="--repo"):
        pushed(write_release(tmp_path / "model"), repo)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / ".env").write_text("x"), "is hidden, a link, or not a regular file"),
        (lambda folder: (folder / "link").symlink_to("config.json"), "is hidden, a link, or not a regular file"),
        (
            lambda folder: (folder / "config.json").write_text(f'{{"a": "{WRITE}"}}'),
            "config.json contains a token, key",
        ),
        (
            lambda folder: (folder / "x.bin").write_bytes(bytes(2**20 - 9) + READ.encode()),
            "x.bin contains a token, key",
        ),
    ],
)
def test_what_must_not_leave_is_refused_before_any_request(hub, tmp_path, spoil, message):
    folder = write_release(tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=message) as error:
        pushed(folder)
    assert "hf_" not in str(error.value)
    assert hub.requests == []


def test_a_folder_that_is_none_or_empty_is_refused(hub, tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="create it first with `nonverbal release"):
            pushed(folder)


def test_without_a_token_it_says_how_to_get_one(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="org/model: there is no token to push with: log in with `hf auth login`"):
        pushed(write_release(tmp_path / "model"))


def test_a_repository_comes_down_by_tag_and_without_a_token_where_it_is_public(hub, tmp_path, monkeypatch):
    folder = write_release(tmp_path / "model")
    pushed(folder, private=False)
    (folder / "config.json").write_text("{2}")
    pushed(folder, private=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    got = download("org/model", tmp_path / "got", "v1")
    assert identities_of(got) == identities_of(write_release(tmp_path / "again"))
    assert identities_of(download("org/model", tmp_path / "new")) == identities_of(folder)
    with pytest.raises(UserError, match="got is not empty; give a folder that does not exist yet"):
        download("org/model", got)
    with pytest.raises(UserError, match="org/model: downloading failed: the Hub answered 404 .*; check that its name"):
        download("org/model", tmp_path / "none", "v9")


def test_a_release_is_known_by_its_names_and_contents(tmp_path):
    folder = write_release(tmp_path / "model")
    key = key_of(identities_of(folder))
    assert re.fullmatch("[0-9a-f]{12}", key)
    assert key_of(identities_of(write_release(tmp_path / "again"))) == key
    (folder / "config.json").rename(folder / "other.json")
    assert key_of(identities_of(folder)) != key
