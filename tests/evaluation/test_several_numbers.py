"""Several numbers of one model on one corpus under one protocol: never is one shown in place of all."""

from pathlib import Path
from typing import Any

from studied import TableShape, corpus, model, record, step, write_step

from nonverbal.evaluation.paper_tables import paper_tables
from nonverbal.evaluation.studies import StudyRecord, StudyStep
from nonverbal.evaluation.tables import Table

LAYERS = "corpus model layer"


def table(folder: Path, steps: list[StudyStep], shape: TableShape, models: list[str], **changes: Any) -> Table:
    made: StudyRecord = record(
        [corpus("cries"), corpus("laughs")],
        [model(name, **changes) for name in models],
        steps,
        {"Probes": shape},
        paper=None,
    )
    ((found,),) = [one.tables for one in paper_tables(made, folder)]
    return found


def layers(folder: Path, corpora: list[str]) -> list[StudyStep]:
    """Layers 3 and 6 of one model: 6 and 1 of 12 clips are wrong."""
    for name in corpora:
        for layer, wrong in ((3, 6), (6, 1)):
            write_step(folder, f"probe.{name}.x.{layer}", "hub/x", wrong, corpus=name)
    return [step(f"probe.{name}.x.{layer}", "probe", LAYERS) for name in corpora for layer in (3, 6)]


def test_a_loop_over_another_word_shows_all_numbers_and_names_their_steps(tmp_path: Path) -> None:
    shape = TableShape("Probes", steps=["probe"], metrics=["accuracy"])
    found = table(tmp_path, layers(tmp_path, ["cries"]), shape, ["x"])
    assert found.rows == [["x", ".500±.500 / .917±.083"]]
    (note,) = (note for note in found.notes if "several times" in note)
    assert note.startswith("a / b: measured several times: x (cries) by probe.cries.x.3, probe.cries.x.6; ")


def test_a_group_for_each_tells_them_apart(tmp_path: Path) -> None:
    groups = {"third": ["probe.*.*.3"], "sixth": ["probe.*.*.6"]}
    shape = TableShape("Probes", groups=groups, metrics=["accuracy"])
    found = table(tmp_path, layers(tmp_path, ["cries"]), shape, ["x"])
    assert found.columns == ["model", "cries, third", "cries, sixth"]
    assert found.rows == [["x", ".500±.500", ".917±.083"]]
    assert not [note for note in found.notes if "several times" in note]


def test_models_of_one_source_have_each_their_own_steps(tmp_path: Path) -> None:
    for name, wrong in (("first", 6), ("second", 1)):
        write_step(tmp_path, f"probe.cries.{name}", "hub/one", wrong, corpus="cries")
    steps = [step(f"probe.cries.{name}", "probe") for name in ("first", "second")]
    shape = TableShape("Probes", steps=["probe"], metrics=["accuracy"])
    found = table(tmp_path, steps, shape, ["first", "second"], source="hub/one")
    assert found.rows == [["first", ".500±.500"], ["second", ".917±.083"]]


def test_several_numbers_on_one_corpus_have_no_mean(tmp_path: Path) -> None:
    steps = layers(tmp_path, ["cries"])
    for name, one in (("cries", "y"), ("laughs", "y"), ("laughs", "x")):
        write_step(tmp_path, f"probe.{name}.{one}", f"hub/{one}", 0, corpus=name)
        steps.append(step(f"probe.{name}.{one}", "probe"))
    shape = TableShape("Probes", steps=["probe"], mean="both", metrics=["accuracy"])
    found = table(tmp_path, steps, shape, ["x", "y"])
    assert [row for row in found.rows if row[-1] != "-"] == [["y", "1.000±.000"]]
    assert "here: no mean: measured several times: x (cries) by probe.cries.x.3, probe.cries.x.6; " in " ".join(
        found.notes
    )
