"""Fine-tuning in folds, by the program: what it writes, what it passes over, how it goes on."""

import errno
import json
import shutil
import signal

import numpy as np
import pytest
import torch
from labelled_tones import labelled_shards, tones  # noqa: F401
from safetensors.torch import load_file
from tuned_runs import arguments, run, score_rows, tiny_encoder, weights

from finetune.train import main
from nonverbal.errors import UserError
from nonverbal.evaluation.results import results
from nonverbal.files import locked
from nonverbal.signals import Interrupted
from nonverbal.stages.finetuning import campaign
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.scores import read_scores
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.trainer import Trainer


@pytest.fixture
def sounds(labelled_shards):  # noqa: F811
    return labelled_shards(tones(speakers=6, takes=2)).folder


@pytest.fixture
def encoder(tmp_path):
    return tiny_encoder(tmp_path / "encoder")


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_every_clip_is_tested_once_and_scores_say_how_they_came_about(sounds, encoder, tmp_path):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out))
    rows = score_rows(out)
    assert [row["fold"] for row in rows] == ["0", "1", "2"]
    assert {row["probe"] for row in rows} == {"fine-tuned"}
    assert rows[0]["protocol"] == "speaker-disjoint 3-fold, stratified, not refitted"
    assert all(1 <= row["chosen"]["epoch"] <= 3 for row in rows)
    predictions = [json.loads(line) for line in (out / rows[0]["predictions"]).read_text().splitlines()]
    assert len({row["clip"] for row in predictions}) == len(predictions) == 24
    for row in predictions:
        assert row["predicted"] == max(row["probabilities"], key=row["probabilities"].get)
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    file = out / "scores.jsonl"
    (task,) = results(measurements_of(read_scores(file), file))
    assert task.models[0].pooled["accuracy"].value == np.mean([r["label"] == r["predicted"] for r in predictions])
    # What only a run that is not done needs is gone; the weights that were tested are there.
    assert not list(out.glob("seed-*/fold-*/checkpoints"))
    assert len(list(out.glob("seed-*/fold-*/encoder/model.safetensors"))) == 3


def test_scores_keep_what_each_fold_learned_to_weigh_layers_by(sounds, encoder, tmp_path):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out, **{"head.layers": "weighted", "epochs": 1, "trainer.optimizer.lr": 0.1}))
    kept = [row["details"]["layer_weights"] for row in score_rows(out)]
    for fold, shares in enumerate(kept):
        learned = load_file(out / f"seed-0/fold-{fold}" / "encoder" / "model.safetensors")
        (name,) = [name for name in learned if name.endswith("layer_weights")]
        assert shares == pytest.approx(learned[name].softmax(0).tolist())
        # Of two blocks and what enters the first.
        assert len(shares) == 3
        assert max(shares) - min(shares) > 1e-3
    assert kept[0] != kept[1]
    assert {row["details"]["first_layer"] for row in score_rows(out)} == {0}


def test_folds_share_no_speaker_and_keep_what_they_saw(sounds, encoder, tmp_path):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out))
    folds = json.loads((out / "folds.json").read_text())
    for fold in folds["folds"]:
        speakers = [{clip.split("/")[1] for clip in fold[side]} for side in ("test", "fitted")]
        assert not speakers[0] & speakers[1]
        heard = json.loads((out / fold["folder"] / "encoder" / "heard.json").read_text())
        assert len(heard["labels_seen"]) == len(heard["recordings"]) == len(fold["fitted"])


def test_a_second_run_trains_nothing_and_a_removed_fold_comes_back_the_same(sounds, encoder, tmp_path, capsys):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out))
    before, kept = (out / "scores.jsonl").read_bytes(), weights(out / "seed-0/fold-1")
    shutil.rmtree(out / "seed-0/fold-1")
    capsys.readouterr()
    main(arguments(sounds, encoder, out))
    said = capsys.readouterr().out
    assert "2 of 3 folds are already done" in said
    assert "seed-0/fold-1, 2 of 3" in said
    assert "seed-0/fold-0, 1 of 3" not in said
    assert (out / "scores.jsonl").read_bytes() == before
    assert same(weights(out / "seed-0/fold-1"), kept)


def stop(number):
    """Return a ``Trainer.take`` that sends this process SIGTERM at the ``number``-th step of all runs."""
    taken, before = [], Trainer.take

    def take(self, *arguments):
        taken.append(1)
        if len(taken) == number:
            signal.raise_signal(signal.SIGTERM)
        return before(self, *arguments)

    return take


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"head.layers": "weighted", "encoder.train": "all"},
        {"encoder.train": "lora", "encoder.lora.rank": 2},
    ],
    ids=["frozen convolutions", "layer weights", "LoRA"],
)
def test_a_fold_that_is_cut_off_goes_on_bit_for_bit(sounds, encoder, tmp_path, monkeypatch, more):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    main(arguments(sounds, encoder, whole, only="seed-0/fold-1", **more))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "take", stop(3))
        with pytest.raises(Interrupted):
            main(arguments(sounds, encoder, cut, only="seed-0/fold-1", **more))
    assert not (cut / "seed-0/fold-1/fold.json").exists()
    main(arguments(sounds, encoder, cut, only="seed-0/fold-1", **more))
    assert same(weights(whole / "seed-0/fold-1"), weights(cut / "seed-0/fold-1"))
    assert (whole / "seed-0/fold-1/predictions.jsonl").read_bytes() == (
        cut / "seed-0/fold-1/predictions.jsonl"
    ).read_bytes()


def test_killed_in_the_middle_of_fold_2_of_3_and_continued_the_scores_are_the_same(
    sounds, encoder, tmp_path, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    main(arguments(sounds, encoder, whole))
    steps = len((whole / "seed-0/fold-0/metrics.jsonl").read_text().splitlines())
    assert steps
    with monkeypatch.context() as patch:

        def end(self, *arguments):
            if self.run.folder.name == "fold-1" and self.position.step == 2:
                raise SystemExit("as if killed")
            return take(self, *arguments)

        take = Trainer.take
        patch.setattr(Trainer, "take", end)
        with pytest.raises(SystemExit):
            main(arguments(sounds, encoder, cut))
    assert not (cut / "scores.jsonl").exists()
    main(arguments(sounds, encoder, cut))
    assert (cut / "scores.jsonl").read_text() == (whole / "scores.jsonl").read_text()


def test_a_fold_that_fails_fails_the_run_by_name_and_the_others_are_kept(sounds, encoder, tmp_path, monkeypatch):
    out, fold = tmp_path / "run", campaign.run_fold

    def failing(learner, own, *rest):
        if own.number == 1:
            raise UserError("its weights are not finite")
        fold(learner, own, *rest)

    monkeypatch.setattr(campaign, "run_fold", failing)
    with pytest.raises(UserError, match=r"1 of 3 folds failed: seed-0/fold-1 \(its weights are not finite\)"):
        main(arguments(sounds, encoder, out))
    assert sorted(path.parent.name for path in out.glob("seed-0/*/fold.json")) == ["fold-0", "fold-2"]
    assert not (out / "scores.jsonl").exists()


def test_refitted_folds_are_fitted_to_their_whole_training_side_for_the_epochs_chosen(sounds, encoder, tmp_path):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out, refit=True))
    rows = score_rows(out)
    assert [row["train_clips"] for row in rows] == [16, 16, 16]
    assert rows[0]["protocol"] == "speaker-disjoint 3-fold, stratified"
    for number, row in enumerate(rows):
        metrics = (out / f"seed-0/fold-{number}/metrics.jsonl").read_text().splitlines()
        # Four steps an epoch, of 4 of 16 clips each.
        assert json.loads(metrics[-1])["step"] == 4 * row["chosen"]["epoch"]


@pytest.mark.processes
@pytest.mark.slow
def test_jobs_give_what_one_fold_after_the_other_gives(sounds, encoder, tmp_path):
    main(arguments(sounds, encoder, tmp_path / "one"))
    result = run(arguments(sounds, encoder, tmp_path / "two", jobs=2))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "one/scores.jsonl").read_text() == (tmp_path / "two/scores.jsonl").read_text()
    for number in range(3):
        fold = f"seed-0/fold-{number}"
        assert same(weights(tmp_path / "one" / fold), weights(tmp_path / "two" / fold))


def test_the_final_model_is_trained_on_all_clips(sounds, encoder, tmp_path, capsys):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out, final=True))
    assert "final model: all 24 clips" in capsys.readouterr().out
    from transformers import AutoModelForAudioClassification

    model = AutoModelForAudioClassification.from_pretrained(out / "model")
    assert model.config.id2label == {0: "high", 1: "low"}
    assert len(json.loads((out / "model/heard.json").read_text())["labels_seen"]) == 24
    page = (out / "model/README.md").read_text()
    assert "fine-tuned on 24 clips of made" in page
    assert f"UAR {np.mean([row['metrics']['uar'] for row in score_rows(out)]):.3f}"[:7] in page
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"only": "seed-0/fold-9"},
            r"there is no fold 'seed-0/fold-9'; there are 3 folds, seed-0/fold-0 to seed-0/fold-2",
        ),
        ({"epochs": 0}, r"epochs must be at least 1, but is 0"),
        ({"trainer.steps": 10}, r"epochs is 3 and trainer.steps is 10; leave one"),
        ({"labels": ["high"]}, r"at least two classes"),
        ({"labels": ["high", "hgih"]}, r"hgih"),
        ({"group": "session"}, r"clips have no session"),
        ({"jobs": 2, "trainer.processes": 2}, r"train folds in parallel, or each fold in several processes"),
        ({"trainer.validate_every": 7}, r"trainer.validate_every is 7, but epochs is 3, so every epoch ends"),
        ({"trainer.optimizer.warmup_steps": 2}, r"warmup_steps is 2, but warmup_share \(0.1\) already sets"),
        ({"trainer.stop_after": 2}, r"trainer.stop_after is set for each fold"),
        (
            {"warmup_share": "null"},
            r"warmup_steps is 500, but a fold has \d+ steps \(\d per epoch\); lower it: --\S+warmup_steps \d",
        ),
        ({"encoder.lora.rank": 4}, r"encoder.lora.rank is set, but .* because encoder.train is no_convolutions"),
        ({"head.pooling": "attentive", "only": "final"}, r"--final writes a model for plain transformers, but"),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(sounds, encoder, tmp_path, more, message):
    out = tmp_path / "run"
    with pytest.raises(UserError, match=message):
        main(arguments(sounds, encoder, out, **more))
    assert not list(out.glob("seed-*"))


def test_another_recipe_in_the_same_folder_is_refused(sounds, encoder, tmp_path):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out, only="seed-0/fold-0"))
    with pytest.raises(UserError, match=r"another recipe \(trainer\.optimizer\.lr"):
        main(arguments(sounds, encoder, out, **{"trainer.optimizer.lr": 1e-3}))
    with pytest.raises(UserError, match=r"another recipe \(trainer\.patience"):
        main(arguments(sounds, encoder, out, **{"trainer.patience": 1}))


def test_other_weights_under_the_same_name_are_refused(sounds, encoder, tmp_path):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out, only="seed-0/fold-0"))
    tiny_encoder(encoder, seed=1)
    with pytest.raises(UserError, match=r"have changed since the folds in .* started from them"):
        main(arguments(sounds, encoder, out))
    assert not (out / "seed-0/fold-1").exists()


def test_what_another_command_does_meanwhile_is_not_trained_again(sounds, encoder, tmp_path, monkeypatch):
    out, taken, fold = tmp_path / "run", [], campaign.run_fold

    def noting(learner, own, folder, status):
        taken.append(own.number)
        fold(learner, own, folder, status)
        if own.number == 0:
            # As if by another command.
            fold(learner, campaign.fold_runs(learner.task)[1], folder.with_name("fold-1"), status)

    monkeypatch.setattr(campaign, "run_fold", noting)
    main(arguments(sounds, encoder, out))
    assert taken == [0, 2]


def test_commands_that_end_at_once_draw_the_figure_one_after_the_other(sounds, encoder, tmp_path, monkeypatch):
    out, drawn = tmp_path / "run", []

    def draw(scores, figure):
        with pytest.raises(UserError, match="in use by another process"), locked(out):
            pass
        drawn.append(figure)

    monkeypatch.setattr("finetune.train.plot_probes", draw)
    main(arguments(sounds, encoder, out, epochs=1))
    assert [figure.parent for figure in drawn] == [out]


def test_a_fold_that_is_done_is_not_trained_over(sounds, encoder, tmp_path, monkeypatch):
    out = tmp_path / "run"
    main(arguments(sounds, encoder, out, only="seed-0/fold-0"))
    kept = weights(out / "seed-0/fold-0")
    # As of a command that has looked before the other was through.
    monkeypatch.setattr(campaign, "is_done", lambda folder: False)
    with pytest.raises(UserError, match=r"another command has meanwhile trained and tested .*fold-0"):
        main(arguments(sounds, encoder, out, only="seed-0/fold-0"))
    assert same(weights(out / "seed-0/fold-0"), kept)
    assert (out / "seed-0/fold-0/encoder/heard.json").is_file()


def test_an_encoder_that_a_run_replaces_meanwhile_starts_no_further_fold(sounds, encoder, tmp_path, monkeypatch):
    out, fold = tmp_path / "run", campaign.run_fold

    def replacing(learner, own, *rest):
        fold(learner, own, *rest)
        tiny_encoder(encoder, seed=1)

    monkeypatch.setattr(campaign, "run_fold", replacing)
    with pytest.raises(UserError, match=r"2 of 3 folds failed: .*have changed since this command began"):
        main(arguments(sounds, encoder, out))
    assert sorted(path.parent.name for path in out.glob("seed-0/*/fold.json")) == ["fold-0"]


@pytest.mark.processes
def test_a_full_disk_ends_all_folds_at_once(sounds, encoder, tmp_path, monkeypatch):
    tried = []

    def full(run, row):
        tried.append(run.folder.name)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder, "add_metrics", full)
    out = tmp_path / "run"
    with pytest.raises(UserError, match=f"^no space is left for {out / 'seed-0/fold-0'}; make room, and run the same"):
        main(arguments(sounds, encoder, out))
    assert tried == ["fold-0"]
