import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from labelled_tones import tones

from evaluate import fuse as program
from nonverbal import config
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import KINDS, load_encoder
from nonverbal.evaluation.fusing import Member, fuse, fused, head_name, head_of, sets_of
from nonverbal.evaluation.heads.fusion import FusionSettings
from nonverbal.launches import launch_key
from nonverbal.tasks.contamination import worst
from nonverbal.tasks.labels_seen import write_labels_seen
from nonverbal.tasks.scores import read_scores
from nonverbal.tasks.task import make_task

Make = Callable[..., ShardFolder]
QUICK = FusionSettings(length=1, epochs=1)
one_layout = pytest.mark.parametrize("encoder_folder", ["group"], indirect=True)


@one_layout
def test_all_sets_of_a_size_with_the_same_of_random_weights(encoder_folder: Path) -> None:
    learned, twin = str(encoder_folder), f"initialised:{encoder_folder}"
    names = ["logmel", learned, "mfcc"]
    pairs = [("logmel", learned), ("logmel", "mfcc"), (learned, "mfcc")]
    assert sets_of(names, 2, twins=False) == pairs
    # Log-mel and MFCCs have no weights.
    assert sets_of(names, 2) == [pairs[0], ("logmel", twin), pairs[1], pairs[2], (twin, "mfcc")]
    assert sets_of(names, 3) == [tuple(names), ("logmel", twin, "mfcc")]
    for wrong in ((names, 1), (names, 4), (["logmel", "logmel"], 2), (["logmel"], 2)):
        with pytest.raises(UserError, match="cannot be made of logmel"):
            sets_of(*wrong)
    with pytest.raises(UserError, match="there is no file or folder"):
        sets_of(["logmel", "runs/nothing/encoder"], 2)
    for own in ("boaw is computed by nonverbal probe", "finetuned:runs/cries has one encoder per fold"):
        with pytest.raises(UserError, match=own):
            sets_of(["logmel", own.split()[0]], 2)


def test_renos_pairs_are_the_18_of_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {f"A({size})": KINDS["audio_mamba"] for size in "TSB"} | {
        name: KINDS[kind]
        for name, kind in {"W": "wavlm", "U": "unispeech-sat", "W2": "wav2vec2", "H": "hubert"}.items()
    }
    monkeypatch.setattr("nonverbal.evaluation.fusing.kind_of", kinds.__getitem__)
    published = Path(program.__file__).parent.parent / "nonverbal/evaluation/published.csv"
    rows = [line.split(",") for line in published.read_text().splitlines() if line.startswith("reno,Table II")]
    expected = {frozenset(row[2].replace(" ", "").split("+")) for row in rows}
    found = sets_of(list(kinds), 2, "reno", twins=False)
    assert {frozenset(names) for names in found} == expected
    assert len(found) == len(expected) == 18
    with pytest.raises(UserError, match="all encoders are Audio Mamba"):
        sets_of(["A(T)", "A(B)"], 2, "reno")


def test_a_set_has_the_values_of_all_and_the_worst_status() -> None:
    first, second = np.ones((3, 2), np.float32), np.zeros((3, 4), np.float32)
    subject, widths = fused([Member("a", "k", "held out", first), Member("b", "l", "unknown", second)])
    assert (subject.name, subject.key, subject.status, widths) == ("a + b", "k + l", "unknown", (2, 4))
    assert np.asarray(subject.features).tolist() == [[[1, 1, 0, 0, 0, 0]]] * 3
    statuses = ["held out", "held out (by its authors)", "unknown", "transductive (by its authors)", "transductive"]
    statuses += ["labels seen"]
    assert [worst(statuses[: end + 1]) for end in range(6)] == statuses


def test_a_head_is_named_by_what_differs_and_has_a_meaning() -> None:
    changed = FusionSettings(divergence="as_printed", dropout=0.1, tokens="one")
    names = {method: head_name(method, head_of(method, changed)) for method in ("reno", "attention", "concat")}
    assert names == {
        "reno": "reno:dropout=0.1,tokens=one,divergence=as_printed",
        "attention": "attention:dropout=0.1,tokens=one",
        "concat": "concat:dropout=0.1",
    }
    assert head_name("reno", head_of("reno", FusionSettings(), (3, 4))) == "reno"


@one_layout
def test_sets_are_scored_beside_each_other(labelled_shards: Make, encoder_folder: Path, tmp_path: Path) -> None:
    shards, out = labelled_shards(tones()), tmp_path / "out"
    task = make_task(shards, [], "speaker", 3, [0])
    sets = sets_of(["logmel", str(encoder_folder)], 2)
    methods = ["reno", "concat"]
    scores = fuse(task, sets, methods, QUICK, [], tmp_path / "cache", out)
    assert read_scores(out / "scores.jsonl") == scores
    names = ["reno:epochs=1,length=1", "concat:epochs=1,length=1"]
    assert [(score.model, score.probe, score.seed, score.fold) for score in scores] == [
        (" + ".join(own), name, 0, fold) for own in sets for name in names for fold in "012"
    ]
    assert {(score.model, score.pretraining) for score in scores} == {
        (" + ".join(sets[0]), "unknown"),
        (" + ".join(sets[1]), "held out"),
    }
    assert {score.details.get("stated") for score in scores if score.probe == names[0]} == {"1.3 to 1.5 M"}
    rows = [json.loads(line) for line in (out / scores[0].predictions).read_text().splitlines()]
    assert {row["clip"] for row in rows} == {clip.id for clip in shards.clips() if clip.label}
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows)
    assert fuse(task, sets[:1], methods[:1], QUICK, [], tmp_path / "cache", out) == scores[:3]


@one_layout
def test_labels_that_were_seen_are_refused_or_said(labelled_shards: Make, encoder_folder: Path, tmp_path: Path) -> None:
    task = make_task(labelled_shards(tones()), [], "speaker", 3, [0])
    write_labels_seen(encoder_folder, task.clips[:1], "initialised:x")
    given = task, [("mfcc", str(encoder_folder))], ["concat"], QUICK, [], tmp_path / "cache", tmp_path / "out"
    with pytest.raises(UserError, match="was fine-tuned with labels of these clips.*allow-seen"):
        fuse(*given)
    assert not (tmp_path / "cache").exists()
    assert {score.pretraining for score in fuse(*given, allow_seen=True)} == {"labels seen"}


@one_layout
def test_what_is_fused_is_the_mean_of_the_last_layer(
    labelled_shards: Make, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(labelled_shards(tones()), [], "speaker", 3, [0])
    read = []
    monkeypatch.setattr("nonverbal.evaluation.fusing.score_subject", lambda *given: read.append(given[1]) or [])
    with pytest.raises(UserError, match="duration has 1 value"):
        fuse(task, [("duration", str(encoder_folder))], ["reno"], QUICK, [], tmp_path, tmp_path)
    fuse(task, [("mfcc", str(encoder_folder))], ["reno"], QUICK, [], tmp_path, tmp_path)
    expected = [
        embed(load_encoder(name), task.shards, task.rows, tmp_path)[:, -1, :width]
        for name, width in (("mfcc", 39), (str(encoder_folder), 16))
    ]
    np.testing.assert_array_equal(read[0].features[:, 0], np.concatenate(expected, axis=1))


def test_the_program(labelled_shards: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards, out = labelled_shards(tones()), tmp_path / "out"

    def said(*arguments: str) -> str:
        folders = ["--data", str(shards.folder), "--out", str(out), "--cache", str(tmp_path / "cache")]
        quick = ["--fusion.length", "1", "--fusion.epochs", "1", "--encoders", "logmel,mfcc"]
        program.main(["recipes/fuse/reno.yaml", *folders, *quick, *arguments])
        return " ".join(capsys.readouterr().out.split())

    first = said("--folds", "3", "--methods", "reno,attention,concat")
    for words in (
        "random 3-fold, stratified, chosen on the test fold",
        "chosen on the test fold: optimistic",
        "logmel + mfcc",
        "parameters of reno:epochs=1,length=1: logmel + mfcc 194562; its paper states 1.3 to 1.5 M",
        "Holm over 3 comparisons",
    ):
        assert words in first
    (launch,) = json.loads((out / "environment.json").read_text())
    assert launch["command"][:3] == ["nonverbal", "fuse", "recipes/fuse/reno.yaml"]
    assert yaml.safe_load(launch["settings"])["fusion"]["epochs"] == 1
    assert launch["packages"].keys() >= {"torch", "transformers", "nonverbal"}
    assert {score.launch for score in read_scores(out / "scores.jsonl")} == {launch_key(launch)}
    biased = said("--protocol", "grouped", "--folds", "3", "--bias")
    assert "random and group folds" in biased
    assert {score.protocol for score in read_scores(out / "scores.jsonl")} == {
        "random 3-fold, stratified, chosen on the test fold",
        "speaker-disjoint 3-fold, stratified",
        "random 3-fold, stratified",
        "speaker-disjoint 3-fold, stratified, chosen on the test fold",
    }
    with pytest.raises(UserError, match="a set of 3 cannot be made of logmel, mfcc"):
        said("--size", "3")


def test_a_null_trains_and_chooses_again(labelled_shards: Make, tmp_path: Path) -> None:
    task = make_task(labelled_shards(tones()), [], "speaker", 2, [0, 1])
    given = task, [("logmel", "mfcc")], ["concat"], QUICK, [], tmp_path / "cache"
    plain = fuse(*given, tmp_path / "plain")
    drawn = fuse(*given, tmp_path / "null", null=2)
    assert not any(score.null for score in plain)
    assert [score.metrics for score in drawn] == [score.metrics for score in plain]
    for score in drawn:
        if score.seed:
            assert score.null == {}
            continue
        assert score.null["draws"] == 2
        assert score.null["p"] == (score.null["exceeding"] + 1) / 3


@one_layout
def test_all_folders_are_checked_before_any_is_scored(
    labelled_shards: Make, encoder_folder: Path, tmp_path: Path
) -> None:
    first, second = labelled_shards(tones()), labelled_shards(tones(takes=3), "second")
    seen = [clip for clip in second.clips() if clip.recording == "s5-low-2"]
    assert seen[0].sha256 not in {clip.sha256 for clip in first.clips()}
    write_labels_seen(encoder_folder, seen, "initialised:x")
    folders = ["--data", str(first.folder), str(second.folder), "--out", str(tmp_path / "out")]
    quick = ["--folds", "2", "--fusion.length", "1", "--fusion.epochs", "1", "--cache", str(tmp_path / "cache")]
    argv = ["recipes/fuse/concat.yaml", *folders, *quick, "--encoders", f"mfcc,{encoder_folder}", "--twins", "false"]
    with pytest.raises(UserError, match="was fine-tuned with labels of these clips"):
        program.main(argv)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match="--null must be at least 0"):
        program.main([*argv, "--null", "-1"])


def test_the_recipes_are_the_papers() -> None:
    needed = ["--data", "a", "b", "--encoders", "x,y", "--out", "o"]
    reno, concat = (
        config.load(program.FuseConfig, [f"recipes/fuse/{name}.yaml", *needed], "nonverbal fuse", "")
        for name in ("reno", "concat")
    )
    assert (reno.methods, concat.methods) == (["reno"], ["concat"])
    assert reno.resolved() == concat.resolved()
    assert reno.resolved().name == "random 5-fold, stratified, chosen on the test fold"
    own = reno.fusion
    stated = (own.rate, own.batch, own.epochs, own.order, own.delta, own.balance)
    assert stated == (1e-3, 32, 20, 2, 0.2, 0.4)
    assert reno.data == [Path("a"), Path("b")]
