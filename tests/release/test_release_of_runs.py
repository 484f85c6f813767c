"""Real runs of every family and of fine-tuning, released, loaded by plain transformers elsewhere, and verified."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from labelled_tones import tones
from made_models import CLIPS
from made_shards import with_clips
from patience import HANGS
from tiny_runs import MAMBA, pretrain
from tiny_shapes import HUBERT
from tuned_runs import arguments, run

from evaluate import probe
from evaluate.release import main
from nonverbal.errors import UserError
from nonverbal.release.findings import wrong
from nonverbal.release.verify import verify
from pretrain import cluster

pytestmark = pytest.mark.slow

HUBERT_RUN = ("family=hubert", *(f"hubert.architecture.{name}={value}" for name, value in HUBERT.items()))


def shown(text: str, release: Path) -> list[str]:
    """Return the blocks of Python that a card shows, for the folder of the release and without a file of sound."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    silence = "__import__('numpy').zeros(16_000, 'float32')"
    return [block.replace('"org/tiny"', repr(str(release))).replace('"sound.wav"', silence, 1) for block in blocks]


def printed(code: str, folder: Path) -> str:
    """Run code in a process without this toolkit's path and without the network, and return what it prints."""
    environment = {"HOME": str(folder), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=folder, env=environment, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.processes
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "ssam"])
def test_an_encoder_that_was_pretrained_goes_into_other_hands(
    family,
    make_shards,
    labelled_shards,
    tmp_path,
    monkeypatch,
):
    monkeypatch.chdir(tmp_path)
    heard = make_shards([*CLIPS, *[("a", 1.5, "train")] * 20, ("b", 1.5, "validation")], "heard").folder
    more: tuple[str, ...] = {"wav2vec2": (), "hubert": HUBERT_RUN, "ssam": MAMBA}[family]
    if family == "hubert":
        cluster.main(["--data=heard", "--out=units", "--clusters=4"])
        more = (*more, "hubert.units=units")
    done = pretrain(heard, "run", *more)
    assert done.returncode == 0, done.stderr
    sounds = labelled_shards(tones(speakers=6, takes=2))
    given = ["--data=shards", "--encoders", "run", "--out=probed", "--folds=3", "--cache=kept"]
    probe.main([*given, "--pretraining=heard/manifest.jsonl"])
    main(["run", "--repo=org/tiny", "--out=release", "--scores=probed", "--data", "shards", "heard"])
    release = tmp_path / "release"
    speakers = {str(clip.speaker) for clip in sounds.clips()}
    assert wrong(verify(release, trust=True, names=speakers)) == []
    card = ModelCard.load(release / "README.md")
    assert card.data.eval_results[0].dataset_args == {"pretraining": "held out"}
    plain, ours = shown(card.text, release)
    layers, values = map(int, printed(f"{plain}\nprint(len(states), states[-1].shape[-1])", tmp_path).split())
    assert f"# {layers} layers, each (1, S, {values})" in plain
    found: dict[str, Any] = {"waveform": np.zeros(16_000, dtype=np.float32)}
    exec(ours, found)
    assert found["output"].embeddings.shape == (1, layers, 2 * values)
    assert f"# (clips, {layers}, {2 * values})" in ours


@pytest.mark.processes
@pytest.mark.parametrize("task", ["classes", "ctc"])
def test_a_fine_tuned_model_goes_into_other_hands(task, labelled_shards, make_shards, tmp_path):
    heard = make_shards([*CLIPS, *[("a", 1.5, "train")] * 20, ("b", 1.5, "validation")], "heard").folder
    assert pretrain(heard, tmp_path / "run").returncode == 0
    sounds = labelled_shards(tones(speakers=6, takes=2))
    if task == "ctc":
        sounds = with_clips(sounds, [replace(clip, text=clip.label) for clip in sounds.clips()])
    own = {"task": "ctc"} if task == "ctc" else {"labels": ["high", "low"], "head.projection": 8}
    argv = arguments(sounds.folder, tmp_path / "run", tmp_path / "tuned", final="true", **own)
    argv = [word for word in argv if task == "classes" or not word.startswith("--head.")]
    done = run(argv)
    assert done.returncode == 0, done.stderr
    release = tmp_path / "release"
    main([str(tmp_path / "tuned"), "--repo=org/tiny", f"--out={release}"])
    assert wrong(verify(release)) == []
    card = ModelCard.load(release / "README.md")
    assert card.data.pipeline_tag == {"classes": "audio-classification", "ctc": "automatic-speech-recognition"}[task]
    assert "h of audio (made)." in card.text
    assert "pretrained from random weights on" in card.text
    assert "| a | pretraining |" in card.text
    assert "| made | fine-tuning |" in card.text
    (plain,) = shown(card.text, release)
    assert ("'score'" if task == "classes" else "'text'") in printed(plain, tmp_path)
    with pytest.raises(UserError, match="is the model of a fold; release the run"):
        main([str(tmp_path / "tuned" / "seed-0" / "fold-0" / "encoder"), "--repo=org/tiny", f"--out={release}"])
