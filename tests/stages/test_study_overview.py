import json

import pytest
from studies import run, running, shards, statuses

from nonverbal.errors import UserError
from nonverbal.evaluation.studies import read_study
from nonverbal.stages.studying.overview import summary, tables_of
from nonverbal.stages.studying.standing import rows_of


def test_some_steps_show_the_tables_that_they_fill(tmp_path, study_given, fake_commands, capsys):
    run(running(tmp_path, change=COUNTS, **study_given), ["prepare"])
    said = capsys.readouterr().out
    assert "Table X" in said
    assert "Table II" not in said


def test_costs_are_those_of_plan_and_of_steps_alike(tmp_path, study_given, fake_commands):
    study = running(tmp_path, **study_given)
    assert summary(rows_of(study.plan, study.kept, study.costs)).endswith("remaining: unknown time and disk")
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


def test_rates_are_kept_from_study_to_study(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given))
    rates = [json.loads(line) for line in (tmp_path / "rates.jsonl").read_text().splitlines()]
    assert [rate["run"] for rate in rates][:2] == ["prepare", "prepare"]
    (tmp_path / "out").rename(tmp_path / "other")
    study = running(tmp_path, **study_given)
    (row,) = (row for row in rows_of(study.plan, study.kept, study.costs) if row.step.name == "prepare.cries")
    assert row.cost.by == "as before"


def test_rates_that_are_damaged_are_skipped_and_this_is_said_once(tmp_path, study_given, fake_commands, capsys):
    run(running(tmp_path, **study_given))
    file = tmp_path / "rates.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    assert "warning" not in capsys.readouterr().err
    # A record that lacks something, no text, no object, and a line that was torn.
    file.write_bytes(b"".join([b'{"run": "probe"}\n', b"\xff\n", b"3\n", *lines, lines[0][:20]]))
    study = running(tmp_path, **study_given)
    assert [rate.run for rate in study.costs.rates] == [json.loads(line)["run"] for line in lines]
    assert capsys.readouterr().err == (
        f"nonverbal: warning: {file}, line 1 and 3 more: skipped, because it was not written by a study\n"
    )
    file.write_bytes(b"")
    assert running(tmp_path, **study_given).costs.rates == []


def test_the_overview_says_what_stands_where(tmp_path, study_given, fake_commands):
    study = running(tmp_path, **study_given)
    run(study, ["prepare"])
    steps, shown = tables_of(study.plan, rows_of(study.plan, study.kept, study.costs))
    cells = {row[0]: row for row in steps.rows}
    assert cells["prepare.cries"][1:4] == ["done", "", ""]
    assert cells["finetune.cries.ours"][1:] == ["to do", "unknown", "unknown", "Table II", "after pretrain"]
    assert cells["probe.laughs"][1:] == ["left out", "", "", "", "no --data laughs=PATH is given"]
    assert "absent corpora, left out with all steps that need them: laughs" in steps.notes
    assert shown.rows == [["Table II", "1 to do, 1 left out", "what was scored"], ["Table I", "to do", ""]]


COUNTS = {"tables/Table X": {"caption": "counts", "steps": ["prepare"]}}


def test_what_is_left_out_for_one_reason_is_one_row(tmp_path, study_given, fake_commands):
    heads = {"corpus": "score", "head": ["svm", "mlp", "cnn"]}
    study = running(tmp_path, change={"steps/probe/each": heads}, **study_given)
    steps = tables_of(study.plan, rows_of(study.plan, study.kept, study.costs))[0]
    names = [row[0] for row in steps.rows]
    assert names[names.index("probe.cries.cnn") + 1] == "probe, 3 combinations"


def test_a_table_of_corpora_needs_no_step_where_their_shards_are_given(tmp_path, study_given, fake_commands):
    def status(**options):
        study = running(tmp_path, change=COUNTS, **options)
        shown = tables_of(study.plan, rows_of(study.plan, study.kept, study.costs))[1]
        return {row[0]: row[1] for row in shown.rows}["Table X"]

    assert status(**study_given) == "to do"
    assert status(data=[f"cries={shards(tmp_path / 'shards')}"]) == "done"
    assert status() == "left out"


def test_the_record_says_what_was_done(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given))
    # The report takes whatever has this name for a study.
    assert list((tmp_path / "out").rglob("study.json")) == [tmp_path / "out/study.json"]
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


def test_what_is_kept_and_damaged_is_named(tmp_path, study_given, fake_commands):
    run(running(tmp_path, **study_given), ["prepare.cries"])
    (tmp_path / "out/steps/prepare.cries.json").write_text("{")
    with pytest.raises(UserError, match="steps/prepare.cries.json cannot be read .*; remove it"):
        statuses(running(tmp_path, **study_given))
