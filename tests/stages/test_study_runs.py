import json
import os
import shutil

import pytest
from studies import ran, run, running, sounds, statuses

from nonverbal import files
from nonverbal.errors import UserError
from nonverbal.evaluation.studies import read_study
from nonverbal.signals import Interrupted
from nonverbal.stages.studying import running as module
from nonverbal.stages.studying.arguments import FREE
from nonverbal.stages.studying.standing import rows_of
from nonverbal.training.settings import FREE_SETTINGS

FIRST = ["shards/cries", "shards/heard", "plans", "pretrain", "finetune.cries.ours", "probe.heard", "probe.cries"]


def test_a_study_runs_what_is_missing_and_skips_what_is_done(tmp_path, study_given, fake_commands, capsys):
    run(running(tmp_path, **study_given))
    first = ran(fake_commands, tmp_path)
    assert [name.split("/")[0] if name.startswith("plans") else name for name in first] == [
        *FIRST,
        "scores.json",
        "report.html",
    ]
    said = capsys.readouterr().out
    assert f"nonverbal pretrain --data {tmp_path}/out/shards/heard --trainer.steps 3" in said
    assert "9 steps: 7 to do, 2 left out; remaining: unknown time and disk" in said
    assert said.endswith("== 9 steps: 7 done, 2 left out\n")
    study = running(tmp_path, **study_given)
    assert {name for name, status in statuses(study).items() if status != "done"} == {
        "finetune.laughs.ours",
        "probe.laughs",
    }
    run(study)
    assert ran(fake_commands, tmp_path) == []


def test_what_changed_runs_anew_and_what_was_there_moves_aside(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given))
    fake_commands.names()
    old = (tmp_path / "out/steps/finetune.cries.ours.json").read_text()
    run(running(tmp_path, change={"steps/finetune/with/epochs": 3}, **study_given))
    assert ran(fake_commands, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]
    past = tmp_path / f"out/past/finetune.cries.ours-{json.loads(old)['key'][:8]}"
    assert (past / "half").exists()
    assert past.with_name(f"{past.name}.step.json").read_text() == old
    # And back: what was moved is not looked for there.
    run(running(tmp_path, **study_given))
    assert ran(fake_commands, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]
    assert len(list((tmp_path / "out/past").glob("finetune*.ours-????????"))) == 2


def test_settings_that_change_no_result_change_no_key(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given))
    fake_commands.names()
    free = {"steps/finetune/with/jobs": 4, "steps/probe/with/cache": "x"}
    study = running(tmp_path, change=free | {"steps/pretrain/with/trainer": {"steps": 3, "workers": 2}}, **study_given)
    assert "to do" not in statuses(study).values()
    assert {name for name in FREE if name.startswith("trainer.")} <= FREE_SETTINGS


def test_a_steps_recipe_counts_with_its_bases(tmp_path, study_given, fake_commands):
    (tmp_path / "base.yaml").write_text("epochs: 2\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\n")
    change = {"steps/finetune/recipe": "own.yaml"}
    run(running(tmp_path, change=change, **study_given))
    assert fake_commands.ran[4][:2] == ["finetune", str(tmp_path / "own.yaml")]
    fake_commands.names()
    (tmp_path / "base.yaml").write_text("epochs: 3\n")
    run(running(tmp_path, change=change, **study_given))
    assert ran(fake_commands, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]


def test_a_key_is_of_content_and_not_of_places(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given))
    fake_commands.names()
    moved = tmp_path / "elsewhere"
    (tmp_path / "corpora/cries").rename(moved)
    study_given["data"][1] = f"cries={moved}"
    assert "to do" not in statuses(running(tmp_path, **study_given)).values()
    sounds(moved, ["new.wav"])
    fake_commands.shards["cries"] = "other shards"
    run(running(tmp_path, **study_given))
    # The same shards of what is pretrained on: what was made of them stays.
    assert ran(fake_commands, tmp_path) == [
        "shards/cries",
        "shards/heard",
        "finetune.cries.ours",
        "probe.cries",
        "scores.json",
        "report.html",
    ]


def test_names_of_files_that_are_no_text_are_names(tmp_path, study_given, fake_commands):
    """As of corpora from systems whose names are in Latin-1."""
    (tmp_path / "corpora/cries" / os.fsdecode(b"g\xeane.wav")).write_bytes(b"sound")
    run(running(tmp_path, **study_given))
    assert "to do" not in statuses(running(tmp_path, **study_given)).values()


def test_what_is_removed_while_a_study_runs_fails_what_needs_it(
    tmp_path, study_given, fake_commands, monkeypatch, capsys
):
    study = running(tmp_path, **study_given)
    noted, out = study.kept.begin, tmp_path / "out"

    def begin(step, state):
        if step.name == "finetune.cries.ours":
            shutil.rmtree(out / "shards/cries")
        return noted(step, state)

    monkeypatch.setattr(study.kept, "begin", begin)
    with pytest.raises(UserError, match="3 steps failed: probe.heard, probe.cries, scores"):
        run(study)
    assert "probe.cries needs prepare.cries, whose inputs or output changed during the run" in capsys.readouterr().out


def test_an_encoder_is_known_by_its_weights(tmp_path, study_given, fake_commands):
    encoder = sounds(tmp_path / "encoder")
    study_given["models"] = [f"ours={encoder}"]
    run(running(tmp_path, **study_given))
    fake_commands.names()
    encoder.rename(tmp_path / "moved")
    study_given["models"] = [f"ours={tmp_path / 'moved'}"]
    assert "to do" not in statuses(running(tmp_path, **study_given)).values()
    sounds(tmp_path / "changed", ["a/1.wav"])
    study_given["models"] = [f"ours={tmp_path / 'changed'}"]
    study = running(tmp_path, **study_given)
    assert [name for name, status in statuses(study).items() if status == "to do"] == [
        "finetune.cries.ours",
        "probe.heard",
        "probe.cries",
        "scores",
    ]


def test_an_interrupted_step_goes_on(tmp_path, study_given, fake_commands):
    fake_commands.ends[str(tmp_path / "out/pretrain")] = (130, 2)
    with pytest.raises(Interrupted, match="interrupted in the step pretrain; run the same command again to continue"):
        run(running(tmp_path, **study_given))
    assert fake_commands.ran[-1][0] == "pretrain"
    fake_commands.names()
    study = running(tmp_path, **study_given)
    (row,) = (row for row in rows_of(study.plan, study.kept, study.costs) if row.step.name == "pretrain")
    assert (row.status, row.why) == ("to do", "continues; time and disk are for the whole step")
    run(study)
    assert ran(fake_commands, tmp_path)[0] == "pretrain"
    assert not (tmp_path / "out/past").exists()


def test_an_output_that_was_removed_is_made_again_and_its_old_key_is_forgotten(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given))
    shutil.rmtree(tmp_path / "out/pretrain")
    other = {"steps/pretrain/with/trainer": {"steps": 4}}
    fake_commands.ends[str(tmp_path / "out/pretrain")] = (143, 15)
    with pytest.raises(Interrupted):
        run(running(tmp_path, change=other, **study_given))
    run(running(tmp_path, change=other, **study_given))
    # What the interrupted run had made was its own to go on with; only what was made of the old encoder is past.
    assert not list((tmp_path / "out/past").glob("pretrain-*"))


def test_a_signal_at_a_steps_end_ends_the_study_too(tmp_path, study_given, fake_commands):
    fake_commands.ends[str(tmp_path / "out/shards/cries")] = (0, 15)
    with pytest.raises(Interrupted, match="interrupted after the step prepare.cries") as caught:
        run(running(tmp_path, **study_given))
    assert caught.value.signal == 15
    assert statuses(running(tmp_path, **study_given))["prepare.cries"] == "done"


def test_an_interrupted_step_of_other_settings_begins_anew(tmp_path, study_given, fake_commands):
    fake_commands.ends[str(tmp_path / "out/pretrain")] = (130, 2)
    with pytest.raises(Interrupted):
        run(running(tmp_path, **study_given))
    study = running(tmp_path, change={"steps/pretrain/with/trainer": {"steps": 4}}, **study_given)
    run(study)
    assert len(list((tmp_path / "out/past").iterdir())) == 1


def test_what_does_not_depend_on_a_step_that_failed_is_run_all_the_same(tmp_path, study_given, fake_commands):
    place = str(tmp_path / "out/finetune.cries.ours")
    fake_commands.ends[place] = (2, 0)
    log = tmp_path / "out/logs/finetune.cries.ours.log"
    with pytest.raises(UserError, match="finetune.cries.ours failed .exit status 2.: finetune says this") as caught:
        run(running(tmp_path, **study_given))
    assert f"(log: {log})" in str(caught.value)
    assert "; not run, because they depend on it: scores; correct it" in str(caught.value)
    names = ran(fake_commands, tmp_path)
    assert "probe.cries" in names
    assert "scores.json" not in names
    assert names[-1] == "report.html"
    record = read_study(tmp_path / "out/study.json")
    assert {step.name: step.status for step in record.steps}["finetune.cries.ours"] == "failed"
    run(running(tmp_path, **study_given))
    assert ran(fake_commands, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]


def test_a_pretraining_that_cannot_be_planned_is_run_all_the_same(tmp_path, study_given, fake_commands, capsys):
    run(running(tmp_path, **study_given), ["prepare"])
    fake_commands.names()
    study = running(tmp_path, **study_given)
    step = study.plan.step("pretrain")
    plan = study.costs.plan_file(step, study.kept.state(study.plan, step).key)
    fake_commands.ends[str(plan)] = (2, 0)
    capsys.readouterr()
    run(study)
    log = tmp_path / "out/logs/pretrain.plan.log"
    how = f"nonverbal plan failed (exit status 2): plan says this (log: {log})"
    said = capsys.readouterr().out
    assert said.count(f"== the time and disk of pretrain are unknown: {how}\n") == 1
    # It is tried once, and the pretraining goes on to its end.
    assert ran(fake_commands, tmp_path)[:2] == [f"plans/{plan.name}", "pretrain"]
    assert statuses(study)["pretrain"] == "done"
    assert study.costs.of(study.plan, step, None).by == "as before"


def test_a_pretraining_that_fails_like_its_plan_is_recorded_as_failed(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given), ["prepare"])
    study = running(tmp_path, **study_given)
    step = study.plan.step("pretrain")
    plan = study.costs.plan_file(step, study.kept.state(study.plan, step).key)
    fake_commands.ends |= {str(plan): (2, 0), str(step.out): (2, 0)}
    with pytest.raises(UserError, match="pretrain failed .exit status 2.: pretrain says this"):
        run(study)
    assert {one.name: one.status for one in read_study(tmp_path / "out/study.json").steps}["pretrain"] == "failed"
    (row,) = (row for row in rows_of(study.plan, study.kept, study.costs) if row.step.name == "pretrain")
    assert (row.cost.seconds, row.cost.by.startswith("nonverbal plan failed (exit status 2)")) == (None, True)


def test_many_failures_are_one_line(tmp_path, study_given, fake_commands):
    fake_commands.ends = {str(tmp_path / f"out/{name}"): (2, 0) for name in ("probe.cries", "probe.heard")}
    logs = tmp_path / "out/logs/[*].log"
    with pytest.raises(UserError, match=f"^2 steps failed: probe.heard, probe.cries .logs: {logs}.; correct it"):
        run(running(tmp_path, **study_given))


def test_a_step_that_makes_nothing_has_failed(tmp_path, study_given, fake_commands, monkeypatch):
    def nothing(arguments, log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        return 0, 0

    monkeypatch.setattr(module, "run_command", nothing)
    with pytest.raises(UserError, match="prepare.cries ended without an error, but did not .*shards/cries: no output"):
        run(running(tmp_path, **study_given))


def test_only_some_steps_are_run(tmp_path, study_given, fake_commands):
    with pytest.raises(UserError, match="probe.cries needs prepare.cries, which is not done; run it first: --only"):
        run(running(tmp_path, **study_given), ["probe.cries"])
    run(running(tmp_path, **study_given), ["prepare"])
    assert ran(fake_commands, tmp_path) == ["shards/cries", "shards/heard"]
    run(running(tmp_path, change={"steps/probe/with/encoders": "logmel"}, **study_given), ["probe.cries"])
    assert ran(fake_commands, tmp_path) == ["probe.cries"]
    run(running(tmp_path, **study_given), ["report"])
    assert ran(fake_commands, tmp_path) == ["report.html"]
    with pytest.raises(UserError, match="--only probe.laughs: this step is left out: no --data laughs=PATH is given"):
        run(running(tmp_path, **study_given), ["probe.laughs"])
    with pytest.raises(UserError, match="the study has no step 'prob'; did you mean 'probe'?"):
        run(running(tmp_path, **study_given), ["prob"])


def test_a_study_without_anything_to_run_says_so(tmp_path, fake_commands):
    with pytest.raises(UserError, match="nothing to run: all steps are left out, such as pretrain: no --data heard"):
        run(running(tmp_path, change={"models/logmel/source": None}))
    assert not (tmp_path / "out").exists()


def test_two_processes_do_not_run_one_step_or_one_study(tmp_path, study_given, fake_commands):
    study = running(tmp_path, **study_given)
    with files.locked(tmp_path / "out"), pytest.raises(UserError, match="out is in use by another process"):
        run(study)
    step = tmp_path / "out/locks/prepare.cries"
    with files.locked(step), pytest.raises(UserError, match="locks/prepare.cries is in use by another process"):
        run(study, ["prepare.cries"])
    run(study, ["prepare.cries"])
    assert ran(fake_commands, tmp_path) == ["shards/cries"]


def test_what_the_study_did_not_make_is_left_as_it_is(tmp_path, study_given, fake_commands):
    (tmp_path / "out/shards/cries").mkdir(parents=True)
    with pytest.raises(UserError, match="shards/cries exists, but this study did not make it; move it away"):
        run(running(tmp_path, **study_given))
    # A pretraining that a cluster's job made is the pretraining's own to refuse or to go on with.
    (tmp_path / "out/shards/cries").rmdir()
    (tmp_path / "out/pretrain").mkdir()
    run(running(tmp_path, **study_given))
    assert not (tmp_path / "out/past").exists()
