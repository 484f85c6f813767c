"""``nonverbal release ... --push``: a model goes to the Hub, and comes back to another process as it was."""

import subprocess
import sys
from dataclasses import replace

import pytest
from hub_release import hub_here, released
from hub_server import HubServer
from made_models import CLIPS, measured_here, write_finetuning, write_pretraining
from made_shards import with_clips

from evaluate import release
from nonverbal.errors import UserError
from nonverbal.release.findings import wrong
from nonverbal.release.hub import download
from nonverbal.release.verify import verify


@pytest.fixture
def hub(monkeypatch):
    measured_here(monkeypatch)
    with hub_here(monkeypatch) as server:
        yield server


def files_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav2vec2 base", "wav2vec2 large", "hubert base", "audio_mamba", "fine-tuned"])
def test_what_is_pushed_comes_back_as_it_was(hub: HubServer, make_shards, tmp_path, capsys, kind):
    out, tuned = tmp_path / "out", kind == "fine-tuned"
    run = write_pretraining(tmp_path / "run", [make_shards(CLIPS)], "wav2vec2 base" if tuned else kind)
    if tuned:
        labelled = make_shards([("c", 1.0, "train")] * 12, "labelled")
        clips = [replace(clip, label="ab"[number % 2]) for number, clip in enumerate(labelled.clips())]
        labelled = with_clips(labelled, clips)
        run = write_finetuning(tmp_path / "tuned", labelled, run)
    asked = [str(run), "--repo", "org/tiny", "--out", str(out)]
    release.main(asked)
    written = files_of(out)
    assert hub.requests == []
    # Writing anew, with more to do, changes no byte; nor does the same command once more.
    for _ in range(2):
        release.main([*asked, "--push", "--public", "--tag=first"])
        assert files_of(out) == written
        assert released(hub, "org/tiny") == (written, ["merged"], {"first": True}, False)
        assert f"released at {hub.endpoint}/org/tiny/tree/first" in capsys.readouterr().out
    assert wrong(verify(download("org/tiny", tmp_path / "got"), trust=kind == "audio_mamba")) == []


def test_a_token_that_may_not_is_refused_before_anything_is_written(hub, make_shards, tmp_path, monkeypatch):
    run = write_pretraining(tmp_path / "run", [make_shards(CLIPS)])
    monkeypatch.setenv("HF_TOKEN", "hf_wrongWrongWrongWrongWrongWrongWrong")
    with pytest.raises(UserError, match="org/tiny: checking the token failed: the Hub answered 401"):
        release.main([str(run), "--repo", "org/tiny", "--out", str(tmp_path / "out"), "--push"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [["--public"], ["--tag", "v1"]])
def test_how_to_push_without_pushing_is_refused(tmp_path, how):
    with pytest.raises(UserError, match=f"{how[0]} applies only with --push; give --push too"):
        release.main([str(tmp_path / "run"), "--repo", "org/tiny", "--out", str(tmp_path / "out"), *how])


@pytest.mark.parametrize(
    "pushing", [["--push"], ["--push=true", "--public=true", "--tag=v1"], ["--push", "true", "--tag", "v1", "--public"]]
)
def test_pushing_is_not_in_the_command_of_the_card(pushing):
    rest = ["run", "--repo", "org/tiny", "--out", "o"]
    assert release.shown([*rest, *pushing]) == rest
    assert release.shown([*pushing, *rest[1:]]) == rest[1:]
    texts = ["--description", "Of alice.", "--citation=@misc{x}"]
    assert release.shown([*rest, *texts, *pushing]) == rest


@pytest.mark.processes
def test_hub_py_needs_no_torch():
    """So that its tests can be run against any huggingface_hub, which transformers would hold back."""
    code = "import sys, nonverbal.release.hub; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
