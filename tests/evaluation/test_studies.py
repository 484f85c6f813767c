import json
from dataclasses import asdict, replace

import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.studies import (
    FigureShape,
    StudyCorpus,
    StudyModel,
    StudyRecord,
    StudyStep,
    TableShape,
    not_done,
    read_study,
    stands_for,
    write_study,
)

STEP = StudyStep(
    name="finetune.vivae.ours",
    step="finetune",
    run="finetune",
    loop={"corpus": "vivae", "model": "ours"},
    status="done",
    why=None,
    shows=["Table IV"],
    note=None,
    command=["nonverbal", "finetune"],
    out="finetune.vivae.ours",
    key="0" * 64,
    seconds=1.5,
    bytes=10,
    machine="2 x a processor",
    when="2026-01-01T00:00:00+00:00",
)
RECORD = StudyRecord(
    version=1,
    title="A <study>",
    paper="voc2vec",
    recipe="title: A\n",
    notes=["of all"],
    corpora=[StudyCorpus("vivae", "score", True, None, "vivae", "VIVAE", "fewer", "shards/vivae")],
    models=[StudyModel("ours", False, "absent", None, None, None)],
    steps=[STEP, replace(STEP, name="finetune.cnvve.ours"), replace(STEP, name="finetune-ours.vivae.ours")],
    tables={"Table IV": TableShape("what", ["finetune"], {"ours": ["finetune-ours"]}, columns=["corpus", "head"])},
    figures={"Figure 1": FigureShape("what", ["finetune.vivae"])},
)


def test_a_record_is_read_as_it_was_written(tmp_path):
    write_study(tmp_path, RECORD)
    assert read_study(tmp_path / "study.json") == RECORD


def test_names_stand_for_steps_and_all_combinations(tmp_path):
    names = {name: [step.name for step in RECORD.matching([name])] for name in ("finetune", "finetune.*.ours", "x")}
    assert names == {"finetune": ["finetune.vivae.ours", "finetune.cnvve.ours"], "x": []} | {
        "finetune.*.ours": ["finetune.vivae.ours", "finetune.cnvve.ours"]
    }
    assert RECORD.tables["Table IV"].all_steps == ["finetune", "finetune-ours"]
    assert stands_for("finetune.vivae", "finetune.vivae.ours")
    assert not stands_for("finetune.vivae.ours", "finetune.vivae")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 2, "version is 2, but must be 1"),
        ("steps", [{"name": "x"}], r"steps\[0\].step is missing"),
        ("title", ["x"], r"title must be a text, but is \['x'\]"),
        ("corpora", None, "corpora is null"),
        ("more", 1, "unknown key 'more'"),
        ("tables", {"x": {"caption": 1}}, "tables.x.caption must be a text"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, key, value, message):
    path = tmp_path / "study.json"
    path.write_text(json.dumps(asdict(RECORD) | {key: value}))
    with pytest.raises(
        UserError, match=f"study.json is not a record of a study .*{message}.*run nonverbal study again"
    ):
        read_study(path)


def test_what_is_no_json_is_refused(tmp_path):
    (tmp_path / "study.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not a record of a study"):
        read_study(tmp_path / "study.json")


def test_steps_that_are_not_done_stand_together_by_reason():
    names = [("a", "done", None), ("b", "to do", None), ("c", "left out", "x is absent"), ("d", "failed", "exit")]
    steps = [replace(STEP, name=name, status=status, why=why) for name, status, why in names]
    steps.append(replace(steps[2], name="e"))
    assert not_done(steps) == {"to do": ["b"], "left out, x is absent": ["c", "e"], "failed, exit": ["d"]}
