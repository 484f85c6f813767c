"""``finetuned:RUN``: fold k's clips by fold k's weights, under the run's own folds alone; and labels that were seen."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finetuned_runs import plant, save_classifier
from labelled_tones import tones

from evaluate import embed as embed_program
from evaluate import encoders, probe
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import load_encoder
from nonverbal.evaluation.encoders.finetuned import open_run
from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.probing import compare, leak_statuses
from nonverbal.tasks.labels_seen import write_labels_seen
from nonverbal.tasks.scores import read_scores
from nonverbal.tasks.task import Task, divided_again, make_task

Make = Callable[..., ShardFolder]


@pytest.fixture
def task(labelled_shards: Make) -> Task:
    return make_task(labelled_shards(tones(speakers=4)), [], "speaker", 2, [0, 1])


@pytest.fixture
def run(task: Task, tmp_path: Path) -> Path:
    return plant(tmp_path / "run", task)


def test_each_fold_is_embedded_by_its_own_weights(task: Task, run: Path, tmp_path: Path) -> None:
    name, out, cache = f"finetuned:{run}", tmp_path / "out", tmp_path / "cache"
    scores = compare(task, [name], [], cache, out)
    assert read_scores(out / "scores.jsonl") == scores
    assert {score.model for score in scores} == {name}
    assert {score.pretraining for score in scores} == {"held out"}
    found = {}
    for file in {score.predictions for score in scores}:
        for line in (out / file).read_text().splitlines():
            row = json.loads(line)
            found[file, row["fold"], row["clip"]] = list(row["probabilities"].values())
    for score in scores:
        (fold,) = [fold for fold in task.folds[score.seed] if fold.name == score.fold]
        encoder = load_encoder(str(run / f"seed-{score.seed}/fold-{score.fold}/encoder"))
        vectors = embed(encoder, task.shards, task.rows, tmp_path / "anew")
        (result,) = cross_validate(HEADS["logistic"], vectors, task.labels, task.groups, [fold], score.seed)
        theirs = [found[score.predictions, score.fold, task.clips[row].id] for row in fold.test]
        np.testing.assert_array_equal(np.array(theirs), result.values)
        other = load_encoder(str(run / f"seed-{score.seed}/fold-{1 - int(score.fold)}/encoder"))
        assert np.abs(embed(other, task.shards, task.rows, tmp_path / "anew") - vectors).max() > 0.1


def test_folds_of_the_same_weights_are_scored_as_these_weights(task: Task, tmp_path: Path) -> None:
    run = plant(tmp_path / "run", task, same=True)
    model = save_classifier(tmp_path / "model", 0, task.classes)
    names = [f"finetuned:{run}", str(model)]
    tuned, plain = (compare(task, [name], [], tmp_path / "cache", tmp_path / "out") for name in names)
    assert [score.metrics for score in tuned] == [score.metrics for score in plain]
    assert [score.chosen for score in tuned] == [score.chosen for score in plain]


@pytest.mark.parametrize(
    ("labels", "group", "folds", "seeds", "said"),
    [
        ([], "speaker", 2, [0, 1, 2], "it has no fold 0 of seed 2"),
        (
            [],
            "speaker",
            4,
            [0],
            "other clips on its sides; its protocol is 'speaker-disjoint 2-fold, stratified', here",
        ),
        ({"high": "shrill"}, "speaker", 2, [0], "its classes are high, low, here they are low, shrill"),
    ],
)
def test_another_division_is_refused(
    labels: list[str] | dict[str, str], group: str, folds: int, seeds: list[int], said: str, task: Task, run: Path
) -> None:
    other = make_task(task.shards, labels, group, folds, seeds)
    with pytest.raises(UserError, match=said):
        compare(other, [f"finetuned:{run}"], [], run / "cache", run / "out")
    assert not (run / "cache").exists()


def test_other_clips_are_refused(task: Task, run: Path, labelled_shards: Make) -> None:
    other = make_task(labelled_shards(tones(speakers=4), "others"), [], "speaker", 2, [0])
    with pytest.raises(
        UserError, match="only under the folds of its run.*: the shards differ from those of the run; give --data"
    ):
        compare(other, [f"finetuned:{run}"], [], run / "cache", run / "out")
    rows = json.loads((run / "folds.json").read_text())
    rows["folds"][0]["fitted"].append(rows["folds"][0]["test"].pop())
    (run / "folds.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="fold 0 of seed 0 has other clips on its sides"):
        compare(task, [f"finetuned:{run}"], [], run / "cache", run / "out")


def test_weights_that_chose_on_the_test_side_are_scored_by_protocols_that_do(task: Task, run: Path) -> None:
    rows = json.loads((run / "folds.json").read_text())
    for row in rows["folds"]:
        row["fitted"] += row["test"]
    (run / "folds.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match="fold 0 of seed 0 has other clips on its sides"):
        open_run(f"finetuned:{run}").check(task)
    open_run(f"finetuned:{run}").check(divided_again(task, replace(task.division.protocol, select="test")))


def test_a_run_that_recognises_speech_may_be_scored_on_classes(task: Task, run: Path) -> None:
    said = json.loads((run / "folds.json").read_text())
    (run / "folds.json").write_text(json.dumps(said | {"classes": []}))
    open_run(f"finetuned:{run}").check(task)


def test_what_is_done_within_a_training_side_is_no_other_division(task: Task, run: Path) -> None:
    for changed in (replace(task.division.protocol, refit=False), replace(task.division.protocol, select="test")):
        other = divided_again(task, changed)
        assert other.protocol != task.protocol
        open_run(f"finetuned:{run}").check(other)


def test_a_part_of_the_seeds_is_the_same_division(task: Task, run: Path, tmp_path: Path) -> None:
    first = make_task(task.shards, [], "speaker", 2, [0])
    both = compare(task, [f"finetuned:{run}"], [], tmp_path / "cache", tmp_path / "both")
    alone = compare(first, [f"finetuned:{run}"], [], tmp_path / "cache", tmp_path / "alone")
    assert alone == both[:2]


def test_a_run_that_is_not_whole_is_refused(task: Task, run: Path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(UserError, match=said):
            compare(task, [f"finetuned:{run}"], [], run / "cache", run / "out")

    (run / "seed-1/fold-1/fold.json").unlink()
    refused("fold 1 of seed 1 of .*run is not finished.*; run nonverbal finetune again")
    rows = json.loads((run / "folds.json").read_text())
    rows["folds"][0]["folder"] = "../elsewhere"
    (run / "folds.json").write_text(json.dumps(rows))
    refused(r"'../elsewhere' is not in the run")
    (run / "folds.json").unlink()
    refused(r"is not a run of nonverbal finetune: folds\.json is missing")


def test_labels_that_were_seen_are_refused_or_said(task: Task, run: Path, tmp_path: Path) -> None:
    model = save_classifier(tmp_path / "model", 0, task.classes)
    write_labels_seen(model, task.clips, "initialised:x")
    for name in (str(model), str(run / "seed-0/fold-0/encoder"), str(run / "seed-0/fold-0")):
        with pytest.raises(
            UserError, match="was fine-tuned with labels of these clips.*give finetuned:RUN.*allow-seen"
        ):
            compare(task, [name], [], tmp_path / "cache", tmp_path / "out")
    assert not (tmp_path / "cache").exists()
    scores = compare(task, [str(model)], [], tmp_path / "cache", tmp_path / "out", allow_seen=True)
    assert {score.pretraining for score in scores} == {"labels seen"}


def test_clips_whose_labels_were_not_seen_have_the_status_of_what_came_before(
    task: Task, run: Path, labelled_shards: Make, tmp_path: Path
) -> None:
    """Of a run under its own folds that of its init, however long the line."""
    manifest = task.shards.folder / "manifest.jsonl"
    others = labelled_shards(
        [(*sound[:2], f"other {sound[2]}", [-sound[3][0]]) for sound in tones(2)], "others"
    ).clips()
    model = save_classifier(tmp_path / "model", 0, task.classes)
    write_labels_seen(model, task.clips, "runs/pretrained")
    again = plant(tmp_path / "again", task, init=str(model))
    names = [f"finetuned:{run}", str(model), f"finetuned:{again}", f"initialised:{model}"]
    assert leak_statuses(others, names, []) == ["held out", "unknown", "unknown", "held out"]
    assert leak_statuses(others, names, [manifest]) == ["held out"] * 4
    # The second run began from weights that had seen all labels.
    assert leak_statuses(task.clips, names, [], True) == ["held out", "labels seen", "labels seen", "held out"]
    write_labels_seen(model, [], str(model))
    assert leak_statuses(task.clips, [str(model)], []) == ["unknown"]


def test_the_probe_program_refuses_before_it_begins(
    task: Task, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [f"--data={task.shards.folder}", f"--out={tmp_path / 'out'}", f"--cache={tmp_path / 'cache'}"]
    asked = [*folders, f"--encoders=finetuned:{run}", "--folds=2", "--seeds=0"]
    for more, said in (
        ("--bias", "its protocol is"),
        ("--per_class=2", "its protocol is"),
        ("--null=9", "with permuted labels"),
    ):
        with pytest.raises(UserError, match=said):
            probe.main([*asked, more])
    assert not (tmp_path / "cache").exists()
    fold = str(run / "seed-0/fold-0")
    probe.main([*folders, f"--encoders={fold}", "--folds=2", "--seeds=0", "--allow-seen"])
    assert "labels seen" in capsys.readouterr().out


def test_embeddings_say_whose_labels_were_seen(
    task: Task, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "kept"
    embed_program.main([f"--data={task.shards.folder}", f"--encoders=finetuned:{run}", f"--out={out}", "--to=npz"])
    assert len(list(out.glob("*.safetensors"))) == 4
    for seed, folds in task.folds.items():
        for number, fold in enumerate(folds):
            (file,) = out.glob(f"*seed-{seed}-fold-{number}-encoder-*.jsonl")
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            seen = {row["id"] for row in rows if row["labels_seen"] == "yes"}
            assert seen == {task.clips[row].id for row in fold.train}
            assert {row["labels_seen"] for row in rows} == {"yes", "no"}
            assert (np.load(file.with_suffix(".npz"))["labels_seen"] == "yes").sum() == len(fold.train)
    name = str(run / "seed-0/fold-1")
    with pytest.raises(UserError, match="was fine-tuned with labels of these clips"):
        embed_program.main([f"--data={task.shards.folder}", f"--encoders={name}", f"--out={out}"])
    embed_program.main([f"--data={task.shards.folder}", f"--encoders={name}", f"--out={out}", "--allow-seen"])
    capsys.readouterr()


def test_a_run_is_no_encoder_by_itself(task: Task, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        UserError, match="has one encoder per fold, which only nonverbal probe and nonverbal embed read"
    ):
        load_encoder(f"finetuned:{run}")
    with pytest.raises(UserError, match="initialised: takes the encoder from which the run started"):
        load_encoder(f"initialised:finetuned:{run}")
    with pytest.raises(UserError, match=f"{run} is a run of nonverbal finetune.* finetuned:{run}"):
        load_encoder(str(run))
    encoders.main(["show", f"finetuned:{run}"])
    assert "seed-0/fold-0/encoder" in capsys.readouterr().out
