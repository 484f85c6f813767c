import json
import shutil

import pytest
from studies import Commands, running, shards, sounds

from nonverbal import files
from nonverbal.errors import UserError
from nonverbal.evaluation.studies import read_study
from nonverbal.stages.studying import commands, costs
from nonverbal.stages.studying import running as module
from nonverbal.stages.studying.arguments import FREE
from nonverbal.stages.studying.overview import summary, tables_of
from nonverbal.stages.studying.standing import rows_of
from nonverbal.training.settings import FREE_SETTINGS
from nonverbal.training.signals import Interrupted


@pytest.fixture
def given(tmp_path):
    data = {name: sounds(tmp_path / "corpora" / name) for name in ("heard", "cries")}
    return {"data": [f"{name}={path}" for name, path in data.items()]}


@pytest.fixture
def fake(monkeypatch):
    """Commands that are over at once, audio that nobody reads, and a machine that is always the same."""
    fake = Commands()
    monkeypatch.setattr(module, "run_command", fake)
    monkeypatch.setattr(costs, "machine", lambda: "a machine")
    monkeypatch.setattr(
        costs, "seconds_of", lambda folder, _: json.loads((folder / "index.json").read_text())["seconds"]
    )
    return fake


def run(study, only=()):
    study.run(only, lambda steps: None)


def statuses(study):
    return {row.step.name: row.status for row in rows_of(study.plan, study.kept, study.costs)}


def ran(fake, tmp_path):
    return [name.removeprefix(f"{tmp_path}/out/") for name in fake.names()]


FIRST = ["shards/cries", "shards/heard", "plans", "pretrain", "finetune.cries.ours", "probe.heard", "probe.cries"]


def test_a_study_runs_what_is_missing_and_skips_what_is_done(tmp_path, given, fake, capsys):
    run(running(tmp_path, **given))
    first = ran(fake, tmp_path)
    assert [name.split("/")[0] if name.startswith("plans") else name for name in first] == [
        *FIRST,
        "scores.json",
        "report.html",
    ]
    said = capsys.readouterr().out
    assert f"nonverbal pretrain --data {tmp_path}/out/shards/heard --trainer.steps 3" in said
    assert "9 steps: 7 to do, 2 left out; to come: nobody knows what they take" in said
    assert said.endswith("== 9 steps: 7 done, 2 left out\n")
    study = running(tmp_path, **given)
    assert {name for name, status in statuses(study).items() if status != "done"} == {
        "finetune.laughs.ours",
        "probe.laughs",
    }
    run(study)
    assert ran(fake, tmp_path) == []


def test_what_changed_runs_anew_and_what_was_there_moves_aside(tmp_path, given, fake):
    run(running(tmp_path, **given))
    fake.names()
    old = (tmp_path / "out/steps/finetune.cries.ours.json").read_text()
    run(running(tmp_path, change={"steps/finetune/with/epochs": 3}, **given))
    assert ran(fake, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]
    past = tmp_path / f"out/past/finetune.cries.ours-{json.loads(old)['key'][:8]}"
    assert (past / "half").exists()
    assert past.with_name(f"{past.name}.step.json").read_text() == old
    # And back: what was moved is not looked for there.
    run(running(tmp_path, **given))
    assert ran(fake, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]
    assert len(list((tmp_path / "out/past").glob("finetune*.ours-????????"))) == 2


def test_settings_that_change_no_result_change_no_key(tmp_path, given, fake):
    run(running(tmp_path, **given))
    fake.names()
    free = {"steps/finetune/with/jobs": 4, "steps/probe/with/cache": "x"}
    study = running(tmp_path, change=free | {"steps/pretrain/with/trainer": {"steps": 3, "workers": 2}}, **given)
    assert "to do" not in statuses(study).values()
    assert {name for name in FREE if name.startswith("trainer.")} <= FREE_SETTINGS


def test_a_steps_recipe_counts_with_its_bases(tmp_path, given, fake):
    (tmp_path / "base.yaml").write_text("epochs: 2\n")
    (tmp_path / "own.yaml").write_text("base: base.yaml\n")
    change = {"steps/finetune/recipe": "own.yaml"}
    run(running(tmp_path, change=change, **given))
    assert fake.ran[4][:2] == ["finetune", str(tmp_path / "own.yaml")]
    fake.names()
    (tmp_path / "base.yaml").write_text("epochs: 3\n")
    run(running(tmp_path, change=change, **given))
    assert ran(fake, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]


def test_a_key_is_of_content_and_not_of_places(tmp_path, given, fake):
    run(running(tmp_path, **given))
    fake.names()
    moved = tmp_path / "elsewhere"
    (tmp_path / "corpora/cries").rename(moved)
    given["data"][1] = f"cries={moved}"
    assert "to do" not in statuses(running(tmp_path, **given)).values()
    sounds(moved, ["new.wav"])
    fake.shards["cries"] = "other shards"
    run(running(tmp_path, **given))
    # The same shards of what is pretrained on: what was made of them stays.
    assert ran(fake, tmp_path) == [
        "shards/cries",
        "shards/heard",
        "finetune.cries.ours",
        "probe.cries",
        "scores.json",
        "report.html",
    ]


def test_an_encoder_is_known_by_its_weights(tmp_path, given, fake):
    encoder = sounds(tmp_path / "encoder")
    given["models"] = [f"ours={encoder}"]
    run(running(tmp_path, **given))
    fake.names()
    encoder.rename(tmp_path / "moved")
    given["models"] = [f"ours={tmp_path / 'moved'}"]
    assert "to do" not in statuses(running(tmp_path, **given)).values()
    sounds(tmp_path / "changed", ["a/1.wav"])
    given["models"] = [f"ours={tmp_path / 'changed'}"]
    study = running(tmp_path, **given)
    assert [name for name, status in statuses(study).items() if status == "to do"] == [
        "finetune.cries.ours",
        "probe.heard",
        "probe.cries",
        "scores",
    ]


def test_an_interrupted_step_goes_on(tmp_path, given, fake):
    fake.ends[str(tmp_path / "out/pretrain")] = (130, 2)
    with pytest.raises(Interrupted, match="interrupted in the step pretrain; run the same command again to go on"):
        run(running(tmp_path, **given))
    assert fake.ran[-1][0] == "pretrain"
    fake.names()
    study = running(tmp_path, **given)
    (row,) = (row for row in rows_of(study.plan, study.kept, study.costs) if row.step.name == "pretrain")
    assert (row.status, row.why) == ("to do", "continues; time and disk are those of the whole")
    run(study)
    assert ran(fake, tmp_path)[0] == "pretrain"
    assert not (tmp_path / "out/past").exists()


def test_an_output_that_was_removed_is_made_again_and_its_old_key_is_forgotten(tmp_path, given, fake):
    run(running(tmp_path, **given))
    shutil.rmtree(tmp_path / "out/pretrain")
    other = {"steps/pretrain/with/trainer": {"steps": 4}}
    fake.ends[str(tmp_path / "out/pretrain")] = (143, 15)
    with pytest.raises(Interrupted):
        run(running(tmp_path, change=other, **given))
    run(running(tmp_path, change=other, **given))
    # What the interrupted run had made was its own to go on with; only what was made of the old encoder is past.
    assert not list((tmp_path / "out/past").glob("pretrain-*"))


def test_a_signal_at_a_steps_end_ends_the_study_too(tmp_path, given, fake):
    fake.ends[str(tmp_path / "out/shards/cries")] = (0, 15)
    with pytest.raises(Interrupted, match="interrupted after the step prepare.cries") as caught:
        run(running(tmp_path, **given))
    assert caught.value.signal == 15
    assert statuses(running(tmp_path, **given))["prepare.cries"] == "done"


def test_an_interrupted_step_of_other_settings_begins_anew(tmp_path, given, fake):
    fake.ends[str(tmp_path / "out/pretrain")] = (130, 2)
    with pytest.raises(Interrupted):
        run(running(tmp_path, **given))
    study = running(tmp_path, change={"steps/pretrain/with/trainer": {"steps": 4}}, **given)
    run(study)
    assert len(list((tmp_path / "out/past").iterdir())) == 1


def test_what_does_not_depend_on_a_step_that_failed_is_run_all_the_same(tmp_path, given, fake):
    place = str(tmp_path / "out/finetune.cries.ours")
    fake.ends[place] = (2, 0)
    log = tmp_path / "out/logs/finetune.cries.ours.log"
    with pytest.raises(UserError, match="finetune.cries.ours failed .exit status 2.: finetune says this") as caught:
        run(running(tmp_path, **given))
    assert f"(log: {log})" in str(caught.value)
    assert "; not run, since it needs that: scores; when it is put right" in str(caught.value)
    names = ran(fake, tmp_path)
    assert "probe.cries" in names
    assert "scores.json" not in names
    assert names[-1] == "report.html"
    record = read_study(tmp_path / "out/study.json")
    assert {step.name: step.status for step in record.steps}["finetune.cries.ours"] == "failed"
    run(running(tmp_path, **given))
    assert ran(fake, tmp_path) == ["finetune.cries.ours", "scores.json", "report.html"]


def test_many_failures_are_one_line(tmp_path, given, fake):
    fake.ends = {str(tmp_path / f"out/{name}"): (2, 0) for name in ("probe.cries", "probe.heard")}
    logs = tmp_path / "out/logs/[*].log"
    with pytest.raises(UserError, match=f"^2 steps failed: probe.heard, probe.cries .logs: {logs}.; when it is put"):
        run(running(tmp_path, **given))


def test_a_step_that_makes_nothing_has_failed(tmp_path, given, fake, monkeypatch):
    def nothing(arguments, log):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        return 0, 0

    monkeypatch.setattr(module, "run_command", nothing)
    with pytest.raises(UserError, match="prepare.cries ended well, but made no .*shards/cries: it said nothing"):
        run(running(tmp_path, **given))


def test_only_some_steps_are_run(tmp_path, given, fake):
    with pytest.raises(UserError, match="probe.cries needs prepare.cries, which is not done; run it first: --only"):
        run(running(tmp_path, **given), ["probe.cries"])
    run(running(tmp_path, **given), ["prepare"])
    assert ran(fake, tmp_path) == ["shards/cries", "shards/heard"]
    run(running(tmp_path, change={"steps/probe/with/encoders": "logmel"}, **given), ["probe.cries"])
    assert ran(fake, tmp_path) == ["probe.cries"]
    run(running(tmp_path, **given), ["report"])
    assert ran(fake, tmp_path) == ["report.html"]
    with pytest.raises(UserError, match="--only probe.laughs: it is left out: --data gives no laughs=PATH"):
        run(running(tmp_path, **given), ["probe.laughs"])
    with pytest.raises(UserError, match="the study has no step 'prob'; did you mean 'probe'?"):
        run(running(tmp_path, **given), ["prob"])


def test_a_study_without_anything_to_run_says_so(tmp_path, fake):
    with pytest.raises(
        UserError, match="nothing to run: all steps are left out, such as pretrain: --data gives no heard"
    ):
        run(running(tmp_path, change={"models/logmel/source": None}))
    assert not (tmp_path / "out").exists()


def test_some_steps_show_the_tables_that_they_fill(tmp_path, given, fake, capsys):
    run(running(tmp_path, change=COUNTS, **given), ["prepare"])
    said = capsys.readouterr().out
    assert "Table X" in said
    assert "Table II" not in said


def test_two_processes_do_not_run_one_step_or_one_study(tmp_path, given, fake):
    study = running(tmp_path, **given)
    with files.locked(tmp_path / "out"), pytest.raises(UserError, match="out is in use by another process"):
        run(study)
    step = tmp_path / "out/locks/prepare.cries"
    with files.locked(step), pytest.raises(UserError, match="locks/prepare.cries is in use by another process"):
        run(study, ["prepare.cries"])
    run(study, ["prepare.cries"])
    assert ran(fake, tmp_path) == ["shards/cries"]


def test_what_the_study_did_not_make_is_left_as_it_is(tmp_path, given, fake):
    (tmp_path / "out/shards/cries").mkdir(parents=True)
    with pytest.raises(UserError, match="shards/cries is there, but this study did not make it; move it away"):
        run(running(tmp_path, **given))
    # A pretraining that a cluster's job made is the pretraining's own to refuse or to go on with.
    (tmp_path / "out/shards/cries").rmdir()
    (tmp_path / "out/pretrain").mkdir()
    run(running(tmp_path, **given))
    assert not (tmp_path / "out/past").exists()


def test_costs_are_those_of_plan_and_of_steps_alike(tmp_path, given, fake):
    study = running(tmp_path, **given)
    assert summary(rows_of(study.plan, study.kept, study.costs)).endswith("to come: nobody knows what they take")
    run(study, ["prepare"])
    study.costs.rates.clear()
    rows = {row.step.name: row for row in rows_of(study.plan, study.kept, study.costs)}
    assert rows["pretrain"].cost.seconds is None
    study._plan_pretraining(study.plan.step("pretrain"))
    rows = {row.step.name: row for row in rows_of(study.plan, study.kept, study.costs)}
    assert (rows["pretrain"].cost.seconds, rows["pretrain"].cost.bytes) == (5 * 3600, 1e9)
    assert rows["probe.cries"].cost.seconds is None
    step = study.plan.step("probe.heard")
    # Two models, half an hour each of one hour of sound: of twice the sound it takes twice as long.
    study.costs.keep(study.plan, step, 3600.0, 1000)
    shards(tmp_path / "out/shards/cries", "cries", 7200.0)
    known = study.costs.of(study.plan, study.plan.step("probe.cries"), None)
    assert (known.seconds, known.bytes) == (7200.0, 2000)
    # Another machine's rates say nothing of this one.
    study.costs.machine = "another machine"
    assert study.costs.of(study.plan, study.plan.step("probe.cries"), None).seconds is None


def test_rates_are_kept_from_study_to_study(tmp_path, given, fake):
    run(running(tmp_path, **given))
    rates = [json.loads(line) for line in (tmp_path / "rates.jsonl").read_text().splitlines()]
    assert [rate["run"] for rate in rates][:2] == ["prepare", "prepare"]
    (tmp_path / "out").rename(tmp_path / "other")
    study = running(tmp_path, **given)
    (row,) = (row for row in rows_of(study.plan, study.kept, study.costs) if row.step.name == "prepare.cries")
    assert row.cost.by == "as before"
    (tmp_path / "rates.jsonl").write_text('{"run": "probe"}\n')
    with pytest.raises(UserError, match="like is missing in .*rates.jsonl, line 1"):
        running(tmp_path, **given)


def test_the_overview_says_what_stands_where(tmp_path, given, fake):
    study = running(tmp_path, **given)
    run(study, ["prepare"])
    steps, shown = tables_of(study.plan, rows_of(study.plan, study.kept, study.costs))
    cells = {row[0]: row for row in steps.rows}
    assert cells["prepare.cries"][1:4] == ["done", "", ""]
    assert cells["finetune.cries.ours"][1:] == ["to do", "unknown", "unknown", "Table II", "after pretrain"]
    assert cells["probe.laughs"][1:] == ["left out", "", "", "", "--data gives no laughs=PATH"]
    assert "absent corpora, with all that needs them: laughs" in steps.notes
    assert shown.rows == [["Table II", "1 to do, 1 left out", "what was scored"], ["Table I", "to do", ""]]


COUNTS = {"tables/Table X": {"caption": "counts", "steps": ["prepare"]}}


def test_what_is_left_out_for_one_reason_is_one_row(tmp_path, given, fake):
    heads = {"corpus": "score", "head": ["svm", "mlp", "cnn"]}
    study = running(tmp_path, change={"steps/probe/each": heads}, **given)
    steps = tables_of(study.plan, rows_of(study.plan, study.kept, study.costs))[0]
    names = [row[0] for row in steps.rows]
    assert names[names.index("probe.cries.cnn") + 1] == "probe, 3 combinations"


def test_a_table_of_corpora_needs_no_step_where_their_shards_are_given(tmp_path, given, fake):
    def status(**options):
        study = running(tmp_path, change=COUNTS, **options)
        shown = tables_of(study.plan, rows_of(study.plan, study.kept, study.costs))[1]
        return {row[0]: row[1] for row in shown.rows}["Table X"]

    assert status(**given) == "to do"
    assert status(data=[f"cries={shards(tmp_path / 'shards')}"]) == "done"
    assert status() == "left out"


def test_the_record_says_what_was_done(tmp_path, given, fake):
    run(running(tmp_path, **given))
    record = read_study(tmp_path / "out/study.json")
    steps = {step.name: step for step in record.steps}
    tuned = steps["finetune.cries.ours"]
    assert (tuned.step, tuned.loop, tuned.status, tuned.out) == (
        "finetune",
        {"corpus": "cries", "model": "ours"},
        "done",
        "finetune.cries.ours",
    )
    assert tuned.command[:2] == ["nonverbal", "finetune"]
    assert tuned.machine == "a machine"
    assert steps["probe.laughs"].out is None
    assert [step.name for step in record.matching(record.tables["Table II"].steps)] == [
        "finetune.cries.ours",
        "finetune.laughs.ours",
    ]
    assert [(one.name, one.present, one.shards) for one in record.corpora] == [
        ("heard", True, "shards/heard"),
        ("cries", True, "shards/cries"),
        ("laughs", False, None),
    ]
    assert [model.source for model in record.models] == ["logmel", str(tmp_path / "out/pretrain/encoder")]


def test_what_is_kept_and_damaged_is_named(tmp_path, given, fake):
    run(running(tmp_path, **given), ["prepare.cries"])
    (tmp_path / "out/steps/prepare.cries.json").write_text("{")
    with pytest.raises(UserError, match="steps/prepare.cries.json cannot be read .*; remove it"):
        statuses(running(tmp_path, **given))


WORKS = "import sys; print('said', sys.argv[1]); print('wrong', file=sys.stderr); sys.exit(3)"
WAITS = """
import signal, sys, time
def end(number, frame):
    print("saved", flush=True)
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
import os
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


def test_a_commands_output_is_on_the_terminal_and_in_its_log(tmp_path, capfdbinary):
    log = tmp_path / "logs/x.log"
    for _ in range(2):
        assert commands.run_command(["a b"], log, [commands.sys.executable, "-u", "-c", WORKS]) == (3, 0)
    assert capfdbinary.readouterr().out == 2 * b"said a b\nwrong\n"
    lines = log.read_text().splitlines()
    assert len(lines) == 8
    assert lines[0].endswith(" nonverbal 'a b'")
    assert lines[1:3] == ["said a b", "wrong"]
    assert lines[3].endswith("exit status 3")
    assert module._last_line(log) == "wrong"


def test_a_signal_is_passed_on_and_what_it_saves_is_waited_for(tmp_path):
    log = tmp_path / "x.log"
    program = [commands.sys.executable, "-u", "-c", WAITS]
    assert commands.run_command([], log, program) == (128 + 15, 15)
    assert "saved" in log.read_text()
