from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studied import TableShape, corpus, left_out, model, record, step, write_step

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.decisions import Decisions, Difference
from nonverbal.evaluation.analyses.distances import Distance, Distances
from nonverbal.evaluation.analyses.measured import Measured
from nonverbal.evaluation.paper_tables import paper_tables
from nonverbal.evaluation.printed_cells import Value, printed_table, spelled
from nonverbal.evaluation.studies import StudyRecord
from nonverbal.evaluation.tables import Table

GROUPS = {"the paper's": ["random"], "ours": ["apart"]}
TABLE_IV = TableShape("Sets", groups=GROUPS, metrics=["uar", "macro_f1"], note="to know")


def study(folder: Path) -> StudyRecord:
    """Two models on VIVAE under two protocols, one of them also pretrained here, and a corpus that is absent."""
    for name, wrong, protocol in (("random", 0, "random"), ("apart", 3, "disjoint")):
        for one, more in (("wavlm", 0), ("voc2vec-ls", 1), ("here", 2)):
            write_step(folder, f"{name}.vivae.{one}", f"hub/{one}", wrong + more, corpus="vivae", protocol=protocol)
    steps = [step(f"{name}.vivae.{one}") for name in ("random", "apart") for one in ("wavlm", "voc2vec-ls", "here")]
    steps.append(left_out("random.cnvve.wavlm", "cnvve is absent"))
    return record(
        [corpus("vivae", "VIVAE"), corpus("cnvve", "CNVVE", present=False, why="--data does not give it")],
        [model("here", "voc2vec-ls"), model("voc2vec-ls", "voc2vec-ls"), model("wavlm", "wavlm")],
        steps,
        {"Table IV": TABLE_IV},
    )


def column(table: Table, name: str) -> dict[str, str]:
    place = table.columns.index(name)
    return {row[0]: row[place] for row in table.rows}


def test_protocols_have_columns_of_their_own_and_what_is_printed_stands_behind(tmp_path: Path) -> None:
    (made,) = paper_tables(study(tmp_path), tmp_path)
    uar, f1 = made.tables
    assert (made.name, uar.title) == ("Table IV", "Table IV: Sets: uar")
    corpora = ["ASVP-ESD", "ASVP-ESD (babies)", "CNVVE", "NonVerbal Vocalization", "Donate a Cry", "VIVAE"]
    groups = ["the paper's", "ours", "printed"]
    assert uar.columns == ["model", *(f"{name}, {group}" for name in corpora for group in groups)]
    # One of 12 wrong, in the first fold of 6 with 3 of each class.
    assert column(uar, "VIVAE, the paper's")["voc2vec-ls"] == ".917±.083"
    assert column(uar, "VIVAE, ours")["wavlm"] == ".750±.250"
    assert column(uar, "VIVAE, printed")["voc2vec-ls"] == ".573±.062"
    assert column(f1, "VIVAE, printed")["wavlm"] == ".161±.067"


def test_rows_are_the_papers_and_those_that_are_printed_alike(tmp_path: Path) -> None:
    (made,) = paper_tables(study(tmp_path), tmp_path)
    printed = column(made.tables[0], "VIVAE, printed")
    assert list(printed)[:2] == ["wav2vec2-as", "wav2vec2-ls"]
    assert list(printed)[-2:] == ["voc2vec-ls: here", "voc2vec-ls"]
    assert printed["voc2vec-ls: here"] == printed["voc2vec-ls"]
    assert column(made.tables[0], "VIVAE, the paper's")["voc2vec-ls: here"] == ".833±.167"


def test_what_is_missing_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    (made,) = paper_tables(study(tmp_path), tmp_path)
    table = made.tables[0]
    assert set(column(table, "CNVVE, ours").values()) == {"-"}
    assert column(table, "VIVAE, ours")["hubert-ls"] == "-"
    assert "-: left out, cnvve is absent: random.cnvve.wavlm" in table.notes
    assert "CNVVE: --data does not give it" in table.notes
    assert "the paper's: random" in table.notes
    assert table.notes[-1] == "to know"


def test_protocols_never_share_a_column(tmp_path: Path) -> None:
    """Two protocols in one group, as with leave-one-out of few speakers, stand apart under their names."""
    made = study(tmp_path)
    write_step(tmp_path, "apart.vivae.wavlm", "hub/wavlm", 4, corpus="vivae", protocol="another")
    (tmp_path / "apart.vivae.here" / "scores.jsonl").unlink()
    table = paper_tables(made, tmp_path)[0].tables[0]
    assert column(table, "VIVAE, ours (another)") == {
        **dict.fromkeys(column(table, "VIVAE, ours (disjoint)"), "-"),
        "wavlm": ".667±.333",
    }


def test_other_numbers_of_classes_are_said(tmp_path: Path) -> None:
    made = study(tmp_path)
    (tmp_path / "apart.vivae.wavlm" / "scores.jsonl").unlink()
    write_step(tmp_path, "apart.vivae.wavlm", "hub/wavlm", 4, corpus="vivae", protocol="disjoint", classes=list("abc"))
    notes = paper_tables(made, tmp_path)[0].tables[0].notes
    assert "VIVAE: 2 classes in the paper's, 3 classes in ours" in notes


def test_what_a_model_has_heard_is_said(tmp_path: Path) -> None:
    made = study(tmp_path)
    (tmp_path / "apart.vivae.wavlm" / "scores.jsonl").unlink()
    heard = {"corpus": "vivae", "protocol": "disjoint", "pretraining": "transductive"}
    write_step(tmp_path, "apart.vivae.wavlm", "hub/wavlm", 3, **heard)
    notes = paper_tables(made, tmp_path)[0].tables[0].notes
    assert "pretraining on these clips: transductive: wavlm (VIVAE)" in notes
    assert not [note for note in notes if "held out" in note]


def test_a_table_of_what_no_table_can_be_is_refused(tmp_path: Path) -> None:
    made = record([corpus("cries")], [model("x")], [], {"Odd": TableShape("Odd", steps=["probe"], rows="epochs")})
    with pytest.raises(UserError, match="the table 'Odd' has 'epochs' in rows or columns, which may be of model, "):
        paper_tables(made, tmp_path)


def test_corpora_of_no_paper_have_no_printed_columns(tmp_path: Path, make_shards: Any) -> None:
    make_shards([("laughs", 2.0, "train")], "shards")
    shape = TableShape("Corpora", steps=["prepare"], metrics=["clips"])
    made = record([corpus("laughs", shards="shards")], [], [], {"Corpora": shape}, paper=None)
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    assert (table.columns, table.rows) == (["corpus", "clips, here"], [["laughs", "1"]])


def test_few_numbers_share_a_table(tmp_path: Path) -> None:
    write_step(tmp_path, "probe.cries", "hub/x", 1, corpus="cries")
    shape = TableShape("Probes", steps=["probe"], metrics=["uar", "accuracy"])
    made = record([corpus("cries")], [model("x")], [step("probe.cries", "probe")], {"Probes": shape}, paper=None)
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    assert (table.title, table.columns) == ("Probes: Probes", ["model", "cries, uar, here", "cries, accuracy, here"])


def test_a_mean_is_over_corpora_of_one_protocol_and_of_models_that_have_all(tmp_path: Path) -> None:
    names = ["vivae", "cnvve", "babies"]
    for name, wrong in zip(names, (0, 2, 6), strict=True):
        protocol = "another" if name == "babies" else "disjoint"
        for one in ("voc2vec-ls", "wavlm") if name != "cnvve" else ("voc2vec-ls",):
            write_step(tmp_path, f"apart.{name}.{one}", f"hub/{one}", wrong, corpus=name, protocol=protocol)
    steps = [step(f"apart.{name}.{one}") for name in names for one in ("voc2vec-ls", "wavlm")]
    shape = TableShape("Means", groups={"ours": ["apart"]}, mean="six sets", metrics=["uar", "accuracy"])
    made = record(
        list(map(corpus, names)), [model("voc2vec-ls", "voc2vec-ls"), model("wavlm")], steps, {"Table III": shape}
    )
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    ours = "ours, 2 of 3 corpora"
    assert table.columns == [
        "model",
        *(f"{name}, {side}" for name in ("uar", "accuracy") for side in (ours, "printed")),
    ]
    # 1 and 10 / 12, and their deviation over two corpora.
    assert column(table, f"uar, {ours}")["voc2vec-ls"] == ".917±.083"
    assert column(table, "uar, printed")["voc2vec-ls"] == ".661±.206"
    assert "wavlm" not in column(table, f"uar, {ours}")
    assert "ours: 2 of 3 corpora, vivae, cnvve: those with scores under one protocol" in table.notes


def test_pairs_are_found_in_either_order_and_by_method(tmp_path: Path) -> None:
    """RENO's Table II on VIVAE: H+W2 there, W2 and H here; random twins are no row."""
    names = ["W2", "H"]
    for method, wrong in (("concat", 2), ("reno", 1), ("attention", 0)):
        for prefix in ("", "initialised:"):
            fused = " + ".join(f"{prefix}hub/{name}" for name in names)
            write_step(tmp_path, "fuse.vivae", fused, wrong, corpus="vivae", probe=f"{method}:length=3")
    shape = TableShape(
        "Pairs",
        steps=["fuse"],
        columns=["corpus", "head"],
        metrics=["accuracy"],
        heads={"concat": "concat", "reno": "reno"},
    )
    made = record(
        [corpus("vivae", "VIVAE")],
        [model(name, name) for name in names],
        [step("fuse.vivae", "fuse")],
        {"Table II": shape},
        paper="reno",
    )
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    assert len(table.rows) == 18
    assert column(table, "VIVAE, concat, here")["H+W2"] == ".833±.167"
    assert column(table, "VIVAE, reno, here")["H+W2"] == ".917±.083"
    assert column(table, "VIVAE, concat, printed")["A(S)+W"] == ".644"
    assert not [name for name in table.columns if "attention" in name]


def test_a_table_of_one_head_a_model_takes_that_head(tmp_path: Path) -> None:
    """The cross-lingual Table 3 has the multi-layer probe of wav2vec 2.0, whatever else was run.

    3 of 6 wrong in a fold: F1 of 2/5 and 4/7, a mean of .486; 1 in the other.
    """
    for head, wrong in (("linear", 0), ("multilayer", 3)):
        write_step(tmp_path, f"probe.emodb.base.{head}", "hub/base", wrong, corpus="emodb", probe=head)
    steps = [step(f"probe.emodb.base.{head}", "probe", "corpus model head") for head in ("linear", "multilayer")]
    heads = {"linear": "linear", "multilayer": "multilayer"}
    shape = TableShape("Best", steps=["probe"], rows="corpus", columns="model", metrics=["f1"], heads=heads)
    made = record(
        [corpus("emodb", "EmoDB")],
        [model("base", "Wav2Vec 2.0 Base")],
        steps,
        {"Table 3": shape},
        paper="cross_lingual",
    )
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    assert column(table, "Wav2Vec 2.0 Base, printed")["EmoDB"] == ".818"
    assert column(table, "Wav2Vec 2.0 Base, here")["EmoDB"] == ".743±.257"
    assert len(table.rows) == 9


def test_rows_of_steps_have_the_names_that_a_table_gives_them(tmp_path: Path) -> None:
    """Of two heads of what is fine-tuned, both stand beside what is printed."""
    write_step(tmp_path, "ser.iemocap.PT", "hub/PT", 3, corpus="iemocap", probe="own")
    write_step(tmp_path, "svm.iemocap.PT", "finetuned:ser.iemocap.PT", 0, corpus="iemocap", probe="svm")
    shape = TableShape(
        "Emotion", steps=["ser", "svm"], rows=["model", "head"], metrics=["war"], names={"ser": "SER", "svm": "SER"}
    )
    made = record(
        [corpus("iemocap", "IEMOCAP")],
        [model("PT", "PT")],
        [step("ser.iemocap.PT"), step("svm.iemocap.PT", "probe")],
        {"Table I": shape},
        paper="recovery",
    )
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    assert rows["SER", "own"] == [".750±.250", ".639", "-", ".634"]
    assert rows["SER", "svm"] == ["1.000±.000", ".639", "-", ".634"]
    assert rows["PT", "-"] == ["-", ".563", "-", ".585"]


def test_a_study_of_no_paper_shows_what_there_is(tmp_path: Path) -> None:
    write_step(tmp_path, "probe.cries", "hub/x", 1, corpus="cries")
    shape = TableShape("Probes", steps=["probe"], metrics=["uar"])
    made = record([corpus("cries")], [model("x")], [step("probe.cries", "probe")], {"Probes": shape}, paper=None)
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    assert (table.columns, table.rows) == (["model", "cries, here"], [["x", ".917±.083"]])


@pytest.mark.parametrize(
    ("paper", "place", "cells", "one"),
    [
        ("reno", "Table I", 84, (("a(t)", "jnv", "cnn"), "accuracy", Value(0.6277))),
        ("cross_lingual", "Table 3", 63, (("ast", "oréau", "from scratch"), "f1", Value(0.1901))),
        ("voc2vec", "Table I", 33, (("", "nnime", ""), "hours", Value(3.55))),
        ("recovery", "text", 7, (("asr10", "librispeechclean", ""), "wer", Value(0.5781))),
    ],
)
def test_every_printed_cell_has_its_place(
    paper: str, place: str, cells: int, one: tuple[tuple[str, str, str], str, Value]
) -> None:
    heads = dict.fromkeys(("fcn", "cnn", "linear", "multilayer", "from scratch"), "")
    table = printed_table(paper, place, heads)
    assert len(table.cells) == cells
    key, metric, value = one
    assert table.cells[key, metric].value == pytest.approx(value.value)


def test_names_are_known_in_any_spelling() -> None:
    assert spelled("A(S)+W") == spelled("W + A (S)")
    assert spelled("wavlm") != spelled("wavlm-plus")


def test_tables_of_analyses_stand_beside_those_of_the_paper(tmp_path: Path) -> None:
    """Systems of fine-tuned runs are known by the steps that made them."""
    run = f"finetuned:{tmp_path}/asr-ser.iemocap.ASR100"
    differ = Measured(0.3, 0.2, 0.4, 10.0)
    other = Difference(run, differ, 0.5, None, {"a": differ}, None, None, None, None, [[7.0, 0.0], [3.0, 0.0]])
    decided = Decisions(
        "iemocap", ["a", "b"], "by hand", "sha", {"a": 9, "b": 1}, 5, "speakers", "first", [other], [0], {}
    )
    write_analysis(tmp_path / "decisions.iemocap.decisions.json", decided)
    far = Distance(run, [0.5] * 2, [1.0, 0.5], 0.75, Measured(0.9, None, None, 8.0), 0.02, None, None, 0.4, 0.9, 0.6)
    distances = Distances(
        "first", [far], "iemocap", [2, 2], "held out", "sha", 10, 0, 5, "speakers", [0.0, 1.0, 2.0], 0.6, 0.7, "svm"
    )
    write_analysis(tmp_path / "distances.iemocap.distances.json", distances)
    steps = [
        step(f"{name}.iemocap", "analyze", out=f"{name}.iemocap.{name}.json") for name in ("decisions", "distances")
    ]
    steps.append(step("asr-ser.iemocap.ASR100"))
    names = {"asr-ser": "{model} -> SER"}
    tables = {
        "Table II": TableShape("Mismatch", steps=["decisions"], metrics=["mismatch_with_ser"], names=names),
        "Table III": TableShape("Near", steps=["distances"], metrics=["data_within", "match"], names=names),
        "text": TableShape("Away", steps=["distances"], metrics=["cosine_beyond_1"], names=names),
    }
    corpora = [corpus("iemocap", "IEMOCAP"), corpus("msp-improv", "MSP-IMPROV")]
    made = record(corpora, [model("ASR100", "ASR100")], steps, tables, paper="recovery")
    second, third, text = paper_tables(made, tmp_path)
    assert column(second.tables[0], "IEMOCAP, here")["ASR100 -> SER"] == ".300"
    assert column(second.tables[0], "IEMOCAP, printed")["ASR100 -> SER"] == ".276"
    assert column(second.tables[0], "MSP-IMPROV, here")["ASR100 -> SER"] == "-"
    (near,) = third.tables
    assert [column(near, f"IEMOCAP, {name}, here")["ASR100 -> SER"] for name in ("data_within", "match")] == [
        ".750",
        ".900",
    ]
    assert column(near, "IEMOCAP, match, printed")["ASR960 -> SER"] == ".941"
    assert column(text.tables[0], "IEMOCAP, here")["ASR100 -> SER"] == ".020"


def test_corpora_stand_as_prepared_beside_as_printed(tmp_path: Path, make_shards: Any) -> None:
    make_shards([("nnime", 2.0, "train"), ("nnime", 3.0, "validation")], "shards")
    corpora = [
        corpus("nnime", "NNIME", use="pretrain", shards="shards", note="mostly speech"),
        corpus("recanvo", "ReCANVo", use="pretrain", present=False, why="not given"),
    ]
    shape = TableShape("Voc125", steps=["prepare"], rows="corpus", metrics=["hours", "clips", "mean_seconds"])
    made = record(corpora, [], [], {"Table I": replace(shape, total="Voc125 (Total)")})
    ((table,),) = [one.tables for one in paper_tables(made, tmp_path)]
    assert table.columns[1:3] == ["hours, here", "hours, printed"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["NNIME"] == ["0.00", "3.55", "2", "5596", "2.50", "2.28"]
    assert rows["ReCANVo"] == ["-", "2.46", "-", "7077", "-", "1.25"]
    assert rows["Voc125 (Total)"] == ["0.00", "125.19", "2", "68067", "2.50", "6.67"]
    assert len(rows) == 11
    assert {"NNIME: mostly speech", "ReCANVo: not given", "Voc125 (Total), here: 1 of 10 corpora"} <= set(table.notes)
