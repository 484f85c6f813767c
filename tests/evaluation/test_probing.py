import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_tones import tones
from sklearn.metrics import f1_score, recall_score

from evaluate import probe
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.probing import compare, leak_statuses
from nonverbal.files import locked
from nonverbal.launches import FILE, launch_key, read_launches
from nonverbal.stages.launching import keep_launch
from nonverbal.tasks.folds import group_folds
from nonverbal.tasks.metrics import metrics
from nonverbal.tasks.protocols import Protocol
from nonverbal.tasks.scores import read_scores
from nonverbal.tasks.task import make_task

Make = Callable[..., ShardFolder]


def test_encoders_are_scored_on_the_same_folds(labelled_shards: Make, encoder_folder: Path, tmp_path: Path) -> None:
    shards, out = labelled_shards(tones()), tmp_path / "out"
    task = make_task(shards, [], "speaker", 3, [0, 1])
    names = ["logmel", f"initialised:{encoder_folder}", str(encoder_folder)]
    scores = compare(task, names, [], tmp_path / "cache", out)
    assert read_scores(out / "scores.jsonl") == scores
    assert [(score.model, score.seed, score.fold) for score in scores] == [
        (name, seed, fold) for name in names for seed in (0, 1) for fold in "012"
    ]
    assert {score.protocol for score in scores} == {"speaker-disjoint 3-fold, stratified"}
    assert [score.pretraining for score in scores[::6]] == ["held out", "held out", "unknown"]
    assert all(score.metrics["uar"] == 1 for score in scores if score.model == "logmel")
    assert len({score.predictions for score in scores}) == 6
    predictions = [json.loads(line) for line in (out / scores[0].predictions).read_text().splitlines()]
    assert len(predictions) == 24
    first = [row for row in predictions if row["fold"] == "0"]
    right = np.mean([row["label"] == row["predicted"] for row in first])
    assert scores[0].metrics["accuracy"] == right
    assert {row["group"] for row in first}.isdisjoint(row["group"] for row in predictions if row["fold"] != "0")
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in predictions)
    assert all(max(row["probabilities"], key=row["probabilities"].get) == row["predicted"] for row in predictions)
    layers = {"logmel": 1, names[1]: 3, names[2]: 3}
    assert all(len(score.inner_uar) == layers[score.model] for score in scores)
    assert all(np.argmax(score.inner_uar) == score.chosen["layer"] for score in scores)
    assert {row["clip"] for row in predictions} == {clip.id for clip in shards.clips() if clip.label}
    assert compare(task, names, [], tmp_path / "cache", out) == scores


def test_probes_that_write_to_one_folder_at_once_lose_no_scores(labelled_shards: Make, tmp_path: Path) -> None:
    task, out = make_task(labelled_shards(tones()), [], "speaker", 3, [0]), tmp_path / "out"
    begun = threading.Event()

    def other() -> None:
        begun.set()
        compare(task, ["mfcc"], [], tmp_path / "cache", out)

    thread = threading.Thread(target=other)
    with locked(out):
        # This one is about to write, so the other waits with what it has.
        thread.start()
        assert begun.wait(20)
        while not list((tmp_path / "cache").glob("mfcc-*.safetensors")):
            time.sleep(0.01)
        assert not (out / "scores.jsonl").exists()
    compare(task, ["logmel"], [], tmp_path / "cache", out)
    thread.join(60)
    assert {score.model for score in read_scores(out / "scores.jsonl")} == {"mfcc", "logmel"}


def test_starts_of_commands_that_write_to_one_folder_are_all_kept(tmp_path: Path) -> None:
    threads = [threading.Thread(target=keep_launch, args=(tmp_path, ["probe", str(n)], {})) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    kept = [launch["command"][-1] for launch in read_launches(tmp_path / FILE)]
    assert sorted(kept) == [str(n) for n in range(8)]


def test_an_encoder_that_is_not_there_stops_before_any_work(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(labelled_shards(tones()), [], "speaker", 3, [0])
    monkeypatch.setattr("nonverbal.evaluation.features.embed", lambda *_: pytest.fail("began to embed"))
    with pytest.raises(UserError, match="there is no file or folder"):
        compare(task, ["logmel", f"initialised:{tmp_path}/nothing"], [], tmp_path / "cache", tmp_path / "out")


def test_merged_labels_are_scored_beside_those_that_are_not(labelled_shards: Make, tmp_path: Path) -> None:
    """The same two classes, once without the clips labelled `shrill`, once with them counted as `high`."""
    sounds = tones()[:24]
    sounds[1::4] = [("shrill", *rest) for _, *rest in sounds[1::4]]
    shards, out = labelled_shards(sounds), tmp_path / "out"
    kept = compare(make_task(shards, ["high", "low"], "speaker", 3, [0]), ["logmel"], [], tmp_path, out)
    task = make_task(shards, {"shrill": "high"}, "speaker", 3, [0])
    merged = compare(task, ["logmel"], [], tmp_path, out)
    assert read_scores(out / "scores.jsonl") == [*kept, *merged]
    assert {len(task.clips), sum(score.test_clips for score in merged)} == {24}
    assert [(score.classes, score.merged) for score in (kept[0], merged[0])] == [
        (["high", "low"], {}),
        (["high", "low"], {"shrill": "high"}),
    ]
    rows = [json.loads(line) for line in (out / merged[0].predictions).read_text().splitlines()]
    assert [row["label"] for row in sorted(rows, key=lambda row: row["clip"])].count("high") == 12
    assert kept[0].predictions != merged[0].predictions


def test_each_encoder_has_a_leak_status_of_its_own(labelled_shards: Make) -> None:
    """Manifests are of what was pretrained here: they say nothing of checkpoints whose authors say what they heard."""
    shards = labelled_shards(tones(), corpus="vocalsound")
    manifest = shards.folder / "manifest.jsonl"
    names = ["logmel", "initialised:runs/x", "runs/x", "facebook/wav2vec2-base", "alkiskoudounas/voc2vec", "me/unknown"]
    by_authors = ["held out (by its authors)", "transductive (by its authors)"]
    assert leak_statuses(shards.clips(), names, []) == ["held out", "held out", "unknown", *by_authors, "unknown"]
    assert leak_statuses(shards.clips(), names, [manifest]) == [
        "held out",
        "held out",
        "transductive",
        *by_authors,
        "transductive",
    ]
    # An unrelated manifest says nothing of what others trained.
    heard = labelled_shards(tones(), "speech", corpus="librispeech").clips()
    assert leak_statuses(heard, ["facebook/mms-300m", "openai/whisper-small"], [manifest]) == [
        "transductive (by its authors)",
        "unknown",
    ]


def test_a_folder_with_the_name_of_a_checkpoint_is_not_that_checkpoint(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = labelled_shards(tones(), corpus="vocalsound")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alkiskoudounas/voc2vec").mkdir(parents=True)
    assert leak_statuses(shards.clips(), ["alkiskoudounas/voc2vec"], []) == ["unknown"]


def test_the_probe_program(
    labelled_shards: Make, encoder_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, out = labelled_shards(tones()), tmp_path / "out"

    def said(*arguments: str) -> str:
        folders = ["--data", str(shards.folder), "--out", str(out), "--cache", str(tmp_path / "cache")]
        probe.main([*folders, *arguments])
        return capsys.readouterr().out

    manifest = str(shards.folder / "manifest.jsonl")
    first = said("--encoders", "logmel", str(encoder_folder), "--folds", "3", "--pretraining", manifest)
    for words in ("speaker-disjoint 3-fold, stratified", "transductive", "1.000±.000", "scores.jsonl", "-layers.png"):
        assert words in first
    second = said("--encoders", "logmel", "--folds", "leave-one-out", "--labels", "low,high")
    assert "leave one speaker out" in second
    assert "-layers.png" not in second
    assert len(read_scores(out / "scores.jsonl")) == 2 * 3 + 6
    merged = said("--encoders", "logmel", "--folds", "3", "--labels.high", "shrill")
    assert "high counts as shrill" in " ".join(merged.split())
    own = said("--encoders", "logmel", "--folds", "3", "--head", "fcn:dropout=.2")
    assert "made: fcn:dropout=0.2 head" in own
    assert "parameters of fcn:dropout=0.2: logmel 107394; its paper states 0.7 to 1 M" in own
    (score, *_) = [score for score in read_scores(out / "scores.jsonl") if score.probe == "fcn:dropout=0.2"]
    assert score.details["parameters"] == 80 * 512 + 512 + 512 * 128 + 128 + 128 * 2 + 2
    # Each row names the command that made it last.
    starts = json.loads((out / "environment.json").read_text())
    assert [one["command"][-1] for one in starts] == [manifest, "low,high", "shrill", "fcn:dropout=.2"]
    assert score.launch == launch_key(starts[-1])
    assert len({one.launch for one in read_scores(out / "scores.jsonl")}) == len(starts)
    figures = list(out.glob("*.png"))
    # Two protocols, merged labels, another head, and the layers of the encoder that has several.
    assert len(figures) == 5
    assert all(figure.read_bytes().startswith(b"\x89PNG") for figure in figures)
    with pytest.raises(UserError, match=r"there is no manifest .*nowhere"):
        said("--encoders", "logmel", "--folds", "3", "--pretraining", str(tmp_path / "nowhere"))
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match=r"no clip in .* is labelled 'loud'"):
        said("--encoders", "logmel", "--labels", "loud")
    with pytest.raises(UserError, match="there is no head 'deep'; there are logistic, svm"):
        said("--encoders", "logmel", "--head", "deep")


def test_protocols_are_scored_and_say_what_they_let_through(
    labelled_shards: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, out = labelled_shards(tones(takes=3)), tmp_path / "out"

    def said(*arguments: str) -> str:
        folders = ["--data", str(shards.folder), "--out", str(out), "--cache", str(tmp_path / "cache")]
        probe.main([*folders, "--encoders", "logmel", *arguments])
        return capsys.readouterr().out

    words = "chosen on the test fold: optimistic"
    assert f"possible leakage: speakers on both sides; {words}\n" in said("--protocol", "voc2vec")
    assert "protocol: leave one speaker out\npossible leakage: none known\n" in said("--protocol", "nonverbal")
    shares = said("--protocol", "cross_lingual")
    assert "note: train 66.7% (24 clips of 4 groups, 2 classes), validation 16.7% (6 clips" in shares
    assert f"possible leakage: {words}" in said("--folds", "3", "--select", "test")
    scores = read_scores(out / "scores.jsonl")
    rows = {
        (score.protocol, score.test_clips, score.train_clips, *score.lets_through)
        for score in scores
        if score.fold in ("0", "s0")
    }
    assert rows == {
        ("random 10-fold, chosen on the test fold, counted as voc2vec does", 4, 32, "speakers on both sides", words),
        ("leave one speaker out", 6, 30, "none known"),
        ("speaker-disjoint 80/10/10 hold-out, not refitted", 6, 24, "none known"),
        ("speaker-disjoint 3-fold, stratified, chosen on the test fold", 12, 24, words),
    }
    with pytest.raises(UserError, match="have no session.*possible here: --group speaker with 2 to 6 folds"):
        said("--protocol", "leave-one-session-out")


def test_what_chooses_on_the_test_fold_is_not_below_what_chooses_inside() -> None:
    """Forty layers of noise: the best of them on the test fold looks better than chance, the best inside does not."""
    random = np.random.default_rng(0)
    features = random.standard_normal((160, 40, 4)).astype(np.float32)
    labels, groups = ["a", "b"] * 80, [f"s{row // 8}" for row in range(160)]
    folds = group_folds(labels, groups, 4, 0)

    def uar(protocol: Protocol) -> float:
        results = cross_validate(HEADS["logistic"], features, labels, groups, folds, 0, protocol)
        return float(np.mean([result.metrics["uar"] for result in results]))

    assert uar(Protocol(4, select="test")) > 0.6 > uar(Protocol(4))


def test_a_class_that_is_only_predicted_counts_under_voc2vecs_way_to_count() -> None:
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    ours, theirs = metrics(labels, predicted), metrics(labels, predicted, seen=True)
    assert (ours["uar"], theirs["uar"]) == (0.75, 0.5)
    assert theirs["f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert theirs["uar"] == pytest.approx(recall_score(labels, predicted, average="macro", zero_division=0))
    assert ours["accuracy"] == theirs["accuracy"]


def test_the_probe_program_shows_bias_curve_and_subgroups(
    labelled_shards: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards, out = labelled_shards(tones()), tmp_path / "out"
    folders = ["--data", str(shards.folder), "--out", str(out), "--cache", str(tmp_path / "cache")]
    probe.main([*folders, "--encoders", "logmel", "--folds", "3", "--bias", "--per_class", "1,4", "--by", "corpus"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("by corpus", "random and group folds", "random folds", ": bias", "learning curve", "of 3"):
        assert words in said

    def kept(what: str) -> Path:
        (path,) = out.glob(f"made-speaker-disjoint-3-fold-stratified-2-classes-*-{what}")
        return path

    (subgroup,) = json.loads(kept("by-corpus.json").read_text())
    assert (subgroup["value"], subgroup["clips"], subgroup["units"]) == ("made", 24, 6)
    (bias,) = json.loads(kept("bias.json").read_text())
    assert bias["uar"].keys() == {"none/test", "none/inner", "speaker/test", "speaker/inner"}
    points = json.loads(kept("learning-curve.json").read_text())
    assert [(point["per_class"], point["clips"]) for point in points] == [(1, 2), (4, 8), (None, 16)]
    assert kept("learning-curve.png").read_bytes().startswith(b"\x89PNG")
    # Four ways, of which one is the protocol itself, and two sizes.
    assert len({score.protocol for score in read_scores(out / "scores.jsonl")}) == 6
    with pytest.raises(
        UserError, match="no clip has the attribute sex; --by takes attributes that clips have: corpus, speaker"
    ):
        probe.main([*folders, "--encoders", "logmel", "--by", "sex"])
