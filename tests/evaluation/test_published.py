from pathlib import Path
from typing import Any

import pytest
from scored import write_scored

from nonverbal.data.corpora import CATALOG
from nonverbal.evaluation.published import SOURCES, elsewhere, printed, published_table
from nonverbal.evaluation.results import TaskResult, results
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.tasks.measurements import read_measurements

VOC2VEC = SOURCES["voc2vec"].protocol
LABELS = list("abcdef" * 4)
CLIPS: dict[str, Any] = {
    "labels": LABELS,
    "predicted": [*"bbbbbb", *LABELS[6:]],
    "folds": [*"0" * 12, *"1" * 12],
    "groups": [str(clip) for clip in range(24)],
}


def task(folder: Path, models: str = "facebook/wav2vec2-base", **changes: Any) -> TaskResult:
    for model in models.split():
        write_scored(folder, model, **CLIPS, **({"corpus": "vivae", "protocol": VOC2VEC} | changes))
    return results(read_measurements([folder]))[0]


def test_numbers_are_those_of_the_paper(tmp_path: Path) -> None:
    """voc2vec-ls on VIVAE, and WavLM on VIVAE with RENO's two heads: read in the papers."""
    voc2vec = task(tmp_path / "a", "alkiskoudounas/voc2vec-ls-pt")
    (one,) = printed(voc2vec, voc2vec.models[0])
    assert (one.paper, one.place, one.trained) == ("voc2vec", "Table IV", "fine-tuned")
    assert {name: value for name, (value, _) in one.values.items()} == {"uar": 0.573, "accuracy": 0.578, "f1": 0.558}
    reno = task(tmp_path / "b", "microsoft/wavlm-base", protocol=SOURCES["reno"].protocol, corpus="jnv")
    heads = {one.trained: one.values["accuracy"][0] for one in printed(reno, reno.models[0])}
    assert heads["fcn"] == pytest.approx(0.5746)
    assert heads.keys() == {"fcn", "cnn"}


@pytest.mark.parametrize(
    ("changes", "other"),
    [
        ({"protocol": "speaker-disjoint 5-fold, stratified"}, True),
        ({"corpus": "asvp-esd"}, True),  # 13 classes there, 6 here
        ({"corpus": "made"}, False),
        ({"models": "runs/wav2vec2-base"}, False),
    ],
)
def test_nothing_stands_beside_what_was_measured_otherwise(
    tmp_path: Path, changes: dict[str, str], other: bool
) -> None:
    found = task(tmp_path, **changes)
    assert printed(found, found.models[0]) == []
    assert bool(elsewhere(found)) == other
    table = published_table(found)
    assert (table is not None) == other
    if table is not None:
        assert table.rows == []
        assert any(f"voc2vec: {VOC2VEC}" in note for note in table.notes)


def test_the_papers_numbers_have_columns_of_their_own(tmp_path: Path) -> None:
    table = published_table(task(tmp_path, "facebook/wav2vec2-base runs/mine"))
    assert table is not None
    names = ["UAR", "accuracy", "F1 seen"]
    assert table.columns == ["model", *(part for name in names for part in (name, f"{name}, printed")), "printed by"]
    (row,) = table.rows
    assert (row[0], row[1], row[-1]) == ("facebook/wav2vec2-base", ".792±.208", "voc2vec, Table IV: fine-tuned")
    assert "voc2vec has 1085 clips of this corpus; here there are 24" in table.notes


def test_papers_name_corpora_of_the_catalog_and_known_checkpoints() -> None:
    corpora = {name for source in SOURCES.values() for name in source.corpora.values()}
    assert corpora <= CATALOG.keys()
    models = {name for source in SOURCES.values() for name in source.models.values()}
    assert models - CHECKPOINTS.keys() <= {"microsoft/unispeech-sat-base"}


@pytest.mark.parametrize("paper", SOURCES)
def test_every_model_and_corpus_of_a_table_has_numbers(paper: str, tmp_path: Path) -> None:
    source = SOURCES[paper]
    for corpus in source.corpora.values():
        found = task(tmp_path / corpus, " ".join(source.models.values()), corpus=corpus, protocol="other")
        assert any(line.startswith(f"{paper}: {source.protocol}") for line in elsewhere(found))
