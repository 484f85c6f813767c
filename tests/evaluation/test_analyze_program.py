"""``nonverbal analyze``: the program, its help, and maps of held-out embeddings of one space."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from scored import write_scored

from evaluate import analyze
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses import held_out
from nonverbal.evaluation.analyses.base import read_as
from nonverbal.evaluation.analyses.decisions import Decisions
from nonverbal.evaluation.analyses.kinds import KINDS
from nonverbal.evaluation.analyses.maps import SoundMap

Make = Callable[..., ShardFolder]


@pytest.fixture
def shards(labelled_shards: Make) -> ShardFolder:
    """24 clips of two classes: noise that is loud, and noise that is low."""
    random = np.random.default_rng(0)
    sounds = []
    for clip in range(24):
        noise = 0.1 * random.standard_normal(4000).astype(np.float32)
        low = np.convolve(noise, np.ones(40, dtype=np.float32) / 40, "same")
        sounds.append((["noise", "low"][clip % 2], f"s{clip // 2}", f"r{clip}", [[noise, low][clip % 2]]))
    return labelled_shards(sounds)


def run(shards: ShardFolder, out: Path, *options: str) -> None:
    places = ["--out", str(out), "--embeddings", str(out.parent / "embeddings")]
    given = [] if "--encoder" in options else ["--encoder", "logmel"]
    analyze.main(["map", "--data", str(shards.folder), *given, *places, *options])


def test_a_map_is_kept_with_what_it_is_worth(
    shards: ShardFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shards, tmp_path / "x.map.json")
    made = read_as(SoundMap, tmp_path / "x.map.json")
    assert (made.model, made.layer, made.data_sha256) == ("logmel", 0, shards.sha256)
    assert made.clips == [clip.id for clip in shards.clips()]
    assert made.labels == ["noise", "low"] * 12
    # Eleven others of its class are nearer than any of the other class.
    assert made.same_class == 1
    assert made.kept > made.kept_by_chance == 10 / 23
    assert "no label of these clips seen" in made.held_out
    assert f"of a clip’s 10 nearest neighbours in the original space, {made.kept:.0%}" in capsys.readouterr().out


def test_a_fold_maps_the_clips_that_it_tests_by_its_own_weights(
    shards: ShardFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [clip.id for clip in shards.clips()]
    sides = {"0": clips[::2], "1": clips[1::2]}
    # logmel stands for the weights of either fold.
    folds = {(0, name): Fold(frozenset(test), Path("logmel")) for name, test in sides.items()}
    monkeypatch.setattr(held_out, "open_run", lambda name: Run(folds, shards.sha256))
    run(shards, tmp_path / "x.map.json", "--encoder", "finetuned:somewhere", "--fold", "1")
    made = read_as(SoundMap, tmp_path / "x.map.json")
    assert made.clips == sides["1"]
    assert made.held_out == "test clips of fold 1"
    with pytest.raises(
        UserError, match=r"--fold must be one of 0, 1 \(of --seed 0\): each fold has a space of its own"
    ):
        run(shards, tmp_path / "y.map.json", "--encoder", "finetuned:somewhere")


@dataclass
class Fold:
    test: frozenset[str]
    encoder: Path


@dataclass
class Run:
    folds: dict[tuple[int, str], Fold]
    sha256: str

    def check_data(self, sha256: str) -> None:
        assert sha256 == self.sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layer", "3"], "--layer must be from -1 to 0 with logmel, but is 3"),
        (["--fold", "0"], "--fold applies only to finetuned:RUN"),
        (["--corpora", "other"], "--corpora: .*shards holds made"),
        (["--encoder", "rate"], "the encoder rate has no embedding space of its own"),
    ],
)
def test_what_cannot_be_mapped_is_refused(
    shards: ShardFolder, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(shards, tmp_path / "x.map.json", *options)


def test_the_name_says_what_it_is(shards: ShardFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--out must be a file NAME.map.json"):
        run(shards, tmp_path / "x.json")
    with pytest.raises(UserError, match="name an analysis: nonverbal analyze NAME, of map"):
        analyze.main(["--data", str(shards.folder)])


def test_help_lists_the_analyses_and_explains_each(capsys: pytest.CaptureFixture[str]) -> None:
    analyze.main(["--help"])
    listed = capsys.readouterr().out
    for name, kind in KINDS.items():
        assert f"  {name:<14}{kind.ABOUT}" in listed
        with pytest.raises(SystemExit):
            analyze.main([name, "--help"])
        explained = " ".join(capsys.readouterr().out.split())
        assert f"usage: nonverbal analyze {name}" in explained
        assert all(f"--{field.name}" in explained for field in fields(kind.SETTINGS))
        # A sentence of the class's docstring.
        assert " ".join(str(kind.__doc__).split())[:60] in explained


def test_an_analysis_is_kept_shown_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["a", "b"] * 6
    groups = [f"s{place // 2}" for place in range(12)]
    folds = [str(place // 2 % 2) for place in range(12)]
    for head in ("linear", "svm"):
        predicted = labels if head == "svm" else ["a"] * 12
        write_scored(tmp_path, "m", labels, predicted, folds, groups, groups, probe=head)  # type: ignore[arg-type]
    out, figure = tmp_path / "x.decisions.json", tmp_path / "x.png"
    systems = ["--systems", "m, linear", "m, svm"]
    analyze.main(["decisions", "--scores", str(tmp_path), *systems, "--out", str(out), "--figure", str(figure)])
    made = read_as(Decisions, out)
    assert (made.first, made.others[0].system, made.others[0].differ.value) == ("m, linear", "m, svm", 0.5)
    assert figure.read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "m, svm decides differently from m, linear on .500" in said
    assert f"wrote {out}" in said
    with pytest.raises(UserError, match="--out must be a file NAME.decisions.json"):
        analyze.main(["decisions", "--scores", str(tmp_path), *systems, "--out", str(tmp_path / "x.map.json")])
    with pytest.raises(UserError, match="there is no analysis 'decision': nonverbal analyze NAME, of map"):
        analyze.main(["decision"])


def test_names_of_systems_may_hold_commas() -> None:
    given = ["--systems", "a, svm", "b", "--out", "x"]
    assert analyze.with_systems(given) == ["--systems", '["a, svm", "b"]', "--out", "x"]
    assert analyze.with_systems(["--systems", "a,b"]) == ["--systems", "a,b"]
    assert analyze.with_systems(["--out", "x"]) == ["--out", "x"]
