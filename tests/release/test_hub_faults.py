"""What a user sees of each fault of the Hub or the network, and that nothing is half released whatever ends a push."""

import errno
import logging
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hub_release import DRAWN, FILES, finding, hub_here, released, write_release
from hub_repositories import READ, WRITE
from hub_server import HubServer

from nonverbal.errors import UserError
from nonverbal.release import hub_calls
from nonverbal.release.hub import push

PAGE = Path(__file__).parents[2] / "docs/push.md"
WRONG = "hf_wrongWrongWrongWrongWrongWrongWrong"

STEPS = {
    "whoami": "GET /api/whoami-v2",
    "look": "GET /api/models/org/model$",
    "create": "POST /api/repos/create",
    "refs": "GET .*/refs$",
    "tree": "GET .*/tree/main",
    "discussions": "GET .*/discussions$",
    "card": "POST /api/validate-yaml",
    "preupload": "POST .*/preupload/",
    "batch": "POST .*objects/batch",
    "file up": "PUT /large/",
    "file check": "POST /large/.*/verify",
    "commit": "POST .*/commit/main",
    "pull request": "GET .*/revision/refs/pr/1",
    "file down": "GET /org/model/resolve/.*safetensors",
    "merge": "POST .*/merge",
    "tag": "POST .*/tag/",
    "publish": "PUT .*/settings",
}
"""A push that makes its repository, in its requests, in order."""

DONE = (FILES, ["merged"], {"v1": True}, False)


@pytest.fixture
def hub(monkeypatch):
    with hub_here(monkeypatch) as server:
        yield server


def pushed(folder: Path) -> str:
    return push(folder, "org/model", lambda folder: [finding()], private=False)


def untouched_or_whole(hub: HubServer) -> bool:
    """Whether nothing is half released: no file, no tag and nothing public, or all files."""
    if "org/model" not in hub.repositories:
        return True
    files, _, tags, private = released(hub)
    return (files == {} and not tags and private) or (files == FILES and (private or tags == {"v1": True}))


KINDS = ["lost", pytest.param("500", marks=pytest.mark.slow), pytest.param("drop", marks=pytest.mark.slow)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_that_passes_is_got_over(hub, tmp_path, step, kind):
    """Once each; ``lost``: what was asked is done, and its answer does not arrive."""
    hub.fault(STEPS[step], kind, times=1)
    pushed(write_release(tmp_path / "model"))
    assert hub.faults[0].hits == 1
    files, discussions, tags, private = released(hub)
    assert (files, tags, private) == (DONE[0], DONE[2], DONE[3])
    # The request whose answer was lost is found again, and none is left open.
    assert discussions == ["merged"]


def test_a_file_that_comes_down_in_part_is_fetched_again(hub, tmp_path):
    hub.fault(STEPS["file down"], "half", times=1)
    pushed(write_release(tmp_path / "model"))
    assert hub.faults[0].hits == 1
    assert released(hub) == DONE


@pytest.mark.parametrize("kind", ["500", pytest.param("drop", marks=pytest.mark.slow)])
@pytest.mark.parametrize("step", STEPS)
def test_a_fault_that_stays_ends_it_and_the_same_command_continues(hub, tmp_path, step, kind):
    folder = write_release(tmp_path / "model")
    hub.fault(STEPS[step], kind)
    with pytest.raises(UserError) as error:
        pushed(folder)
    what = r"the Hub answered 500 \(try again later\)" if kind == "500" else r"the connection failed \(.+\)"
    assert re.fullmatch(
        rf"org/model: [a-z ']+ failed: {what}; run the same command again: it continues", str(error.value)
    )
    assert untouched_or_whole(hub)
    hub.faults.clear()
    pushed(folder)
    assert released(hub) == DONE


OTHERS = ["create", "commit", "file up", "file down", "tag", "publish"]
KILLED = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from hub_release import finding, hub_here
from nonverbal.release.hub import push
push(Path(sys.argv[1]), "org/model", lambda folder: [finding()], private=False)
"""


@pytest.mark.processes
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["merge", *(pytest.param(step, marks=pytest.mark.slow) for step in OTHERS)])
def test_a_push_that_is_killed_continues(hub, tmp_path, step, when):
    """By SIGKILL, just before the Hub does what was asked, or just after."""
    folder = write_release(tmp_path / "model")
    process: list[subprocess.Popen[bytes]] = []
    hub.fault(STEPS[step], "drop" if when == "before" else "lost", 1, lambda: process[0].send_signal(signal.SIGKILL))
    paths = [str(Path(__file__).parent), str(PAGE.parents[1])]
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE, "HF_HUB_DISABLE_XET": "1"}
    with hub.lock:
        process.append(subprocess.Popen([sys.executable, "-c", KILLED, str(folder), *paths], env=environment))
    assert process[0].wait(60) == -signal.SIGKILL
    # What was asked last may still be on its way.
    with hub.lock:
        assert untouched_or_whole(hub)
    hub.faults.clear()
    pushed(folder)
    assert released(hub) == DONE


@dataclass(frozen=True)
class Case:
    """A fault that the user has to do something about."""

    name: str
    message: str
    token: str = WRITE
    repo: str = "org/model"


CASES = [
    Case(
        "a token that is wrong or was revoked",
        "org/model: checking the token failed: the Hub answered 401 (Invalid credentials in Authorization header); the "
        "token is wrong or was revoked: log in with `hf auth login`, or set HF_TOKEN; create a token at "
        "https://huggingface.co/settings/tokens",
        token=WRONG,
    ),
    Case(
        "a token that can only read",
        "org/model: the token of me can only read; create one with write access at "
        "https://huggingface.co/settings/tokens, and log in with it (`hf auth login`) or set HF_TOKEN",
        token=READ,
    ),
    Case(
        "an organisation that is not yours",
        "others/model: looking for the repository failed: the Hub answered 403 (You don't have the rights to create a "
        "model under the namespace 'others'); give the token write access to others/model, ask the owner of others, or "
        "choose another --repo",
        repo="others/model",
    ),
    Case(
        "a name that is taken by a repository the token cannot see",
        "org/hidden: the name is taken by a repository that this token cannot see; choose another --repo, or give the "
        "token access to it",
        repo="org/hidden",
    ),
    Case(
        "a repository that holds something else",
        "org/theirs: the repository has files but no release by nonverbal: pytorch_model.bin; choose another --repo, "
        "or empty this one",
        repo="org/theirs",
    ),
    Case(
        "a repository that is public, without `--public`",
        "org/public: the repository is public, but a release without --public must be private; give --public, or "
        "another --repo",
        repo="org/public",
    ),
    Case(
        "a file over the limit",
        "org/model: the Hub does not accept model.safetensors: file of 3072 bytes exceeds the limit; release a smaller "
        "model, or ask for a higher limit (https://huggingface.co/docs/hub/storage-limits). main is unchanged",
    ),
    Case(
        "a card that the Hub cannot read",
        "org/model: the Hub cannot read README.md: - invalid YAML; correct it, and run the same command again",
    ),
    Case(
        "somebody changes main during the push",
        "org/model: merging failed: the Hub answered 409 (it conflicts with main); check the repository, and run the "
        "same command again",
    ),
    Case(
        "an error of the server that persists",
        "org/model: merging failed: the Hub answered 500 (try again later); run the same command again: it continues",
    ),
    Case(
        "too many requests",
        "org/model: tagging failed: the Hub answered 429 (try again later); wait a few minutes, and run the same "
        "command again: it continues",
    ),
]


def prepare(hub: HubServer, folder: Path, case: Case) -> None:
    """Let the fault of a case be there."""

    def change() -> None:
        there = hub.repositories["org/model"]
        main = there.refs["refs/heads/main"]
        there.refs["refs/heads/main"] = there.commit(dict(there.commits[main][0]), main, "Update README.md")

    hub.hidden.add("org/hidden")
    hub.make("org/theirs", files={"pytorch_model.bin": b"theirs"})
    hub.make("org/public", private=False)
    if "limit" in case.name:
        hub.limit = 1000
    elif "card" in case.name:
        (folder / "README.md").write_text("---\ncolour: [\n---\n")
    elif "somebody" in case.name:
        hub.fault(STEPS["merge"], "", 1, change)
    elif "persists" in case.name:
        hub.fault(STEPS["merge"], "500")
    elif "too many" in case.name:
        hub.fault(STEPS["tag"], "429")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_user_sees_the_repository_what_happened_and_the_remedy(hub, tmp_path, monkeypatch, case):
    folder = write_release(tmp_path / "model")
    prepare(hub, folder, case)
    monkeypatch.setenv("HF_TOKEN", case.token)
    with pytest.raises(UserError) as error:
        push(folder, case.repo, lambda folder: [finding()])
    assert str(error.value) == case.message
    assert untouched_or_whole(hub)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_page_shows_what_the_user_sees(case):
    assert f"| {case.name} | {case.message} |" in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_lists_the_temporary_faults():
    *most, last = map(str, hub_calls.PASSING)
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    waits = " and ".join(f"{wait:g}" for wait in hub_calls.WAITS)
    assert (
        f"(HTTP status {', '.join(most)} or {last}, or a failed connection) are retried twice, after {waits} s" in text
    )


@pytest.mark.parametrize(
    "name", ["the download does not pass verification", "a tag that belongs to another release", "no token"]
)
def test_the_page_shows_what_the_user_sees_of_a_release_token_or_tag_at_fault(hub, tmp_path, monkeypatch, name):
    folder, findings, tag = write_release(tmp_path / "model"), [finding()], None
    if "download" in name:
        findings = [DRAWN]
    elif "tag" in name:
        pushed(folder)
        (folder / "config.json").write_text("{2}")
        tag = "v1"
    else:
        monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError) as error:
        push(folder, "org/model", lambda folder: findings, "tag" not in name, tag)
    assert f"| {name} | {error.value} |" in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_token_is_in_no_message_log_or_request_but_its_header(hub, tmp_path, capfd, caplog, monkeypatch):
    """Even where the server says it back, and where the client logs all that it can."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("huggingface_hub.constants.HF_DEBUG", True, raising=False)
    folder = write_release(tmp_path / "model")
    said = []
    for step in STEPS:
        hub.faults.clear()
        hub.fault(STEPS[step], "echo")
        with pytest.raises(UserError) as error:
            pushed(folder)
        said.append(str(error.value))
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
    hub.faults.clear()
    pushed(folder)
    out = capfd.readouterr()
    for text in (*said, out.out, out.err, caplog.text, *hub.requests):
        assert WRITE not in text
    # The server said it indeed.
    assert all("<token>" in text for text in said)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (f"header Bearer {WRITE} given", "header Bearer <token> given"),
        ("hf_abcdefghijklmnopqrstuvwxyz0123456789 of another", "<token> of another"),
        ("proxy http://me:secret@proxy:80/x failed", "proxy http://<token>@proxy:80/x failed"),
        ("two\nlines\x1b[31m", "two\\nlines\\x1b[31m"),
        ("hf_model is a name", "hf_model is a name"),
    ],
)
def test_what_looks_like_a_secret_is_not_shown(text, cleaned):
    assert hub_calls.Calls("org/model", WRITE, print).clean(text) == cleaned


def test_a_full_disk_is_told_as_that(hub, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.HfApi.snapshot_download", full)
    with pytest.raises(UserError, match="no space is left for .*; make room, and run the same command again"):
        pushed(write_release(tmp_path / "model"))
    assert untouched_or_whole(hub)


def test_what_is_our_own_mistake_is_not_told_as_the_hubs(tmp_path):
    calls = hub_calls.Calls("org/model", None, print)
    with pytest.raises(AssertionError):
        calls.call("testing", lambda: (_ for _ in ()).throw(AssertionError()))
    with pytest.raises(ZeroDivisionError):
        calls.call("testing", lambda: 1 // 0)
