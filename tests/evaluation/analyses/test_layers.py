"""``nonverbal analyze layers``: weights over corpora, UAR by layer, CKA between layers of two encoders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetuned_runs import plant
from labelled_tones import tones
from scored import write_scored
from tiny_encoders import save_tiny

from evaluate import analyze
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.cka import cka
from nonverbal.evaluation.analyses.kinds import read_analysis
from nonverbal.evaluation.analyses.layers import Layers, LayersSettings
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.tasks.scores import read_scores, write_scores
from nonverbal.tasks.task import make_task

Make = Callable[..., ShardFolder]


def scored(folder: Path, model: str, corpus: str, folds: int, **more: Any) -> Path:
    """Scores of a model on 4 clips of 2 classes a fold; of each fold ``weights`` or ``inner``, as given."""
    weights, inner, first = more.pop("weights", None), more.pop("inner", None), more.pop("first", None)
    clips = 4 * folds
    names, numbers = [str(clip // 4) for clip in range(clips)], [f"s{clip}" for clip in range(clips)]
    labels = ["a", "b"] * (clips // 2)
    before = len(read_scores(folder / "scores.jsonl")) if (folder / "scores.jsonl").exists() else 0
    file = write_scored(folder, model, labels, labels, names, numbers, corpus=corpus, **more)
    rows = read_scores(file)
    for fold, row in enumerate(rows[before:]):
        row.details.update({"layer_weights": weights[fold]} if weights is not None else {})
        row.details.update({"first_layer": first} if first is not None else {})
        row.inner_uar.extend(inner[fold] if inner is not None else [])
    write_scores(file, rows)
    return file


def made(tmp_path: Path, **options: Any) -> Layers:
    return Layers.make(LayersSettings(out=tmp_path / "x.layers.json", **options))


def test_weights_are_averaged_over_folds_then_over_corpora(tmp_path: Path) -> None:
    cries = [[0.2, 0.8], [0.4, 0.6], [0.6, 0.4]]
    scored(tmp_path, "x", "cries", 3, probe="multilayer", weights=cries)
    scored(tmp_path, "x", "laughs", 2, probe="multilayer", weights=[[0.9, 0.1], [0.7, 0.3]])
    scored(tmp_path, "y", "cries", 2, probe="fine-tuned", weights=[[0.5, 0.2, 0.3]] * 2, first=0)
    scored(tmp_path, "z", "cries", 2, probe="linear")
    found = made(tmp_path, scores=[tmp_path])
    x, y = found.weights
    assert (x.model, x.head, x.first_layer, x.last_layer, x.folds) == ("x", "multilayer", 1, 2, 5)
    # Corpora count alike, whatever their folds.
    np.testing.assert_allclose(x.mean, [(0.4 + 0.8) / 2, (0.6 + 0.2) / 2])
    np.testing.assert_allclose(x.std, [np.std([0.2, 0.4, 0.6, 0.9, 0.7])] * 2)
    assert x.corpora == {"cries": pytest.approx([0.4, 0.6]), "laughs": pytest.approx([0.8, 0.2])}
    assert y.first_layer == 0
    assert y.mean == pytest.approx([0.5, 0.2, 0.3])
    (table,) = found.tables()
    assert table.rows == [
        ["x", "multilayer", "2", "5", "1 to 2", "1", ".600", ".242", ".500", "1.4"],
        ["y", "fine-tuned", "1", "2", "0 to 2", "0", ".500", ".000", ".333", "0.8"],
    ]
    assert "corpora of x, multilayer: cries, laughs" in table.notes
    assert (
        "x, multilayer gives layer 1 the largest weight: .600 ± .242 over 5 folds (equal weights: .500)"
        in found.summary()
    )


def test_scores_of_a_protocol_are_taken_alone(tmp_path: Path) -> None:
    scored(tmp_path, "x", "cries", 1, weights=[[0.2, 0.8]], protocol="random 10-fold")
    scored(tmp_path, "x", "cries", 1, weights=[[0.6, 0.4]], protocol="speaker-disjoint 5-fold")
    assert made(tmp_path, scores=[tmp_path], protocol="speaker-disjoint").weights[0].mean == [0.6, 0.4]
    with pytest.raises(UserError, match="--protocol none: no scores are under it; there are: random 10-fold; speaker"):
        made(tmp_path, scores=[tmp_path], protocol="none")


def test_uar_by_layer_is_that_of_the_inner_folds(tmp_path: Path) -> None:
    inner = [[0.5, 0.7, 0.6], [0.5, 0.8, 0.9]]
    scored(tmp_path, "x", "cries", 2, probe="logistic", inner=inner)
    scored(tmp_path, "x", "cries", 2, probe="logistic", inner=inner, seed=1)
    scored(tmp_path, "y", "cries", 2, probe="logistic", inner=[[0.5, 0.6]] * 2, protocol="other")
    found = made(tmp_path, scores=[tmp_path])
    x, y = found.curves
    assert (x.corpus, x.protocol, x.classes, x.model, x.head) == ("cries", "by hand", 2, "x", "logistic")
    np.testing.assert_allclose(x.mean, [0.5, 0.75, 0.75])
    np.testing.assert_allclose(x.std, [0, 0.05, 0.15])
    assert (x.chosen, y.chosen) == ([0, 4, 0], [0, 2])
    # Protocols have tables of their own.
    first, second = found.tables()
    assert first.rows == [["x, logistic", "4", ".500", "1", ".750", ".050", "2", ".750", "1"]]
    assert first.title == "UAR by layer: cries, 2 classes, by hand"
    assert second.rows == [["y, logistic", "2", ".500", "1", ".600", ".000", "1", ".600", "1"]]
    assert "x, logistic on cries: layer 1, .750 ± .050 over 4 folds (chance .500)" in found.summary()


def test_layers_of_two_encoders_are_compared_by_cka(labelled_shards: Make, tmp_path: Path) -> None:
    shards = labelled_shards(tones(speakers=4))
    folders = [str(save_tiny(name, tmp_path / name)) for name in ("wav2vec2 base", "hubert base")]
    cache = tmp_path / "cache"
    found = made(tmp_path, data=shards.folder, encoders=folders, embeddings=cache)
    assert found.likeness is not None
    rows = np.arange(17)
    vectors = [embed(load_frame_encoder(folder), shards, rows, cache)[:, :, :16] for folder in folders]
    for a, row in enumerate(found.likeness.cka):
        assert row == [pytest.approx(cka(vectors[0][:, a], vectors[1][:, b]), abs=1e-9) for b in range(3)]
    assert found.likeness.clips == 17
    own = made(tmp_path, data=shards.folder, encoders=[folders[0]] * 2, embeddings=cache).likeness
    assert own is not None
    np.testing.assert_allclose(np.diag(np.array(own.cka, float)), 1, atol=1e-9)
    (table,) = found.tables()
    assert [row[0] for row in table.rows] == ["0", "1", "2"]


def test_the_cka_of_runs_is_averaged_over_folds(labelled_shards: Make, tmp_path: Path) -> None:
    task = make_task(labelled_shards(tones(speakers=4)), [], "speaker", 2, [0])
    runs = [f"finetuned:{plant(tmp_path / name, task, same=name == 'same')}" for name in ("each", "same")]
    options: dict[str, Any] = {"data": task.shards.folder, "encoders": runs, "embeddings": tmp_path / "cache"}
    both, *alone = (made(tmp_path, **options, fold=fold).likeness for fold in (None, "0", "1"))
    assert both is not None
    assert both.held_out == "each clip by the weights of the fold that tests it"
    assert (both.clips, [one.clips for one in alone if one is not None]) == (16, [8, 8])
    # Fold 0 of both runs has the same weights.
    assert alone[0] is not None
    assert alone[0].cka[2][2] == pytest.approx(1)
    np.testing.assert_allclose(
        np.array(both.cka, float), np.mean([np.array(one.cka, float) for one in alone if one is not None], axis=0)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give --scores, for weights and UAR by layer, or --data and --encoders, for CKA; or both"),
        ({"encoders": ["a", "b"]}, "CKA needs both --data and --encoders"),
        ({"data": Path("somewhere")}, "give --scores"),
        ({"scores": [Path("scores")], "data": Path("somewhere")}, "CKA needs both"),
        ({"scores": [Path("scores")]}, "scores: no head there sums layers .* or chooses one"),
    ],
)
def test_what_there_is_nothing_of_is_said(
    options: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scored(tmp_path / "scores", "x", "cries", 2)
    with pytest.raises(UserError, match=message):
        made(tmp_path, **options)


def test_the_program_keeps_and_draws_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = scored(tmp_path, "x", "cries", 2, probe="multilayer", weights=[[0.2, 0.8]] * 2)
    scored(tmp_path, "x", "cries", 2, probe="logistic", inner=[[0.5, 0.75]] * 2)
    out, figure = tmp_path / "x.layers.json", tmp_path / "x.svg"
    analyze.main(["layers", f"--scores={file}", f"--out={out}", f"--figure={figure}"])
    found = read_analysis(out)
    assert isinstance(found, Layers)
    assert (len(found.weights), len(found.curves), found.likeness) == (1, 1, None)
    assert found.summary() in capsys.readouterr().out
    assert "model x, layer 2: .800; ± .000 over 2 folds of 1 corpus" in figure.read_text()


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    scored(tmp_path, "x", "cries", 2, probe="multilayer", weights=[[0.2, 0.8]] * 2)
    scored(tmp_path, "x", "cries", 2, probe="logistic", inner=[[0.5, 0.75]] * 2)
    path = tmp_path / "x.layers.json"
    analyze.main(["layers", f"--scores={tmp_path}", f"--out={path}"])
    said = json.loads(path.read_text())
    for place, change, message in [
        ("weights", {"mean": [0.1]}, "weights are not of one length, or negative"),
        ("weights", {"std": [0.1, -0.1]}, "or negative"),
        ("weights", {"mean": []}, "not of one length"),
        ("weights", {"corpora": {}}, "of no corpus"),
        ("curves", {"mean": [0.5, 1.1]}, r"a UAR is not in \[0, 1\]"),
        ("curves", {"chosen": [1]}, "UARs are not of one length"),
        ("curves", {"classes": 0}, "UARs are not of one length"),
    ]:
        path.write_text(json.dumps(said | {place: [said[place][0] | change]}))
        with pytest.raises(UserError, match=message):
            read_analysis(path)
    likeness = {
        "encoders": ["a", "b"],
        "corpus": "made",
        "keys": [],
        "held_out": "",
        "data_sha256": "",
        "clips": 4,
        "cka": [[1], []],
    }
    path.write_text(json.dumps(said | {"likeness": likeness}))
    with pytest.raises(UserError, match="its rows are not of one length"):
        read_analysis(path)
    path.write_text(json.dumps({"weights": [], "curves": [], "likeness": None}))
    with pytest.raises(UserError, match="it holds nothing"):
        read_analysis(path)
