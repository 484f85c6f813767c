"""The package from Python: the examples of its docstrings, run on a small corpus."""

import doctest
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.metrics import balanced_accuracy_score

import nonverbal
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError
from nonverbal.tasks.scores import Score, write_scores

SCORE = Score(
    model="logmel", model_key="", corpus="sounds", data_sha256="", classes=["cry", "laugh"], protocol="grouped",
    probe="logistic", seed=0, fold="0", metrics={"uar": 0.5}, chosen={"layer": 0}, train_clips=2, test_clips=2,
    test_classes=2, pretraining="held out", predictions="predictions/logmel.jsonl",
)  # fmt: skip


@pytest.fixture
def beside_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the examples run in: two speakers' sounds as shards, and scores."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name in ("laugh/ann_0", "laugh/bo_0", "cry/ann_0", "cry/bo_0"):
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"sounds/{name}.wav", 0.1 * random.standard_normal(8000), 16_000)
    source = Source(Path("sounds"), reader="folder", pattern=r"(?P<label>[a-z]+)/(?P<speaker>[a-z]+)_\d\.wav")
    prepare(PrepareConfig(corpora={"sounds": source}, out=Path("shards/first"), processes=1))
    (tmp_path / "runs/first/probe").mkdir(parents=True)
    rows = [SCORE, Score(**{**SCORE.__dict__, "fold": "1", "metrics": {"uar": 1.0}})]
    write_scores(tmp_path / "runs/first/probe/scores.jsonl", rows)
    return tmp_path


@pytest.mark.parametrize("name", nonverbal.__all__)
def test_the_examples_of_the_package_hold(name: str, beside_runs: Path) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(nonverbal, name), name)
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(example).failed == 0


def test_the_uar_is_scikit_learns_whatever_labels_are() -> None:
    random = np.random.default_rng(0)
    for names in (["cry", "laugh", "sigh"], [0, 1, 2]):
        labels, predicted = ([names[i] for i in random.integers(0, 3, 60)] for _ in range(2))
        found = nonverbal.uar(labels, predicted, random.integers(0, 7, 60).tolist())
        assert found.value == pytest.approx(balanced_accuracy_score(labels, predicted))
    with pytest.raises(UserError, match="group"):
        nonverbal.uar([0, 1], [0, 1], ["ann", "ann"])
