from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from labelled_tones import tones

from evaluate import probe
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.heads.base import Job, Pooled
from nonverbal.evaluation.nulls import label_null
from nonverbal.evaluation.results import results
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.protocols import NAMED, Protocol
from nonverbal.tasks.scores import read_scores
from nonverbal.tasks.task import task_of

Make = Callable[..., ShardFolder]


class Means:
    """Decides for the class whose mean is nearest; counts the labellings that it was fitted to."""

    gives: Literal["decision_values"] = "decision_values"
    chosen: dict[str, float | str] = {}  # noqa: RUF012
    inner_uar: list[float] = []  # noqa: RUF012
    details: dict[str, float] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.labellings: set[bytes] = set()

    def fit(self, jobs: Iterable[Job[Pooled]]) -> Iterator["Means"]:
        for job in jobs:
            self.labellings.add(job.labels.tobytes())
            rows = job.own_rows()
            features, labels = job.features[rows, 0], job.labels[rows]
            self.means = np.stack([features[labels == number].mean(0) for number in range(len(job.classes))])
            yield self

    def predict(self, features: Pooled) -> np.ndarray:
        return -np.linalg.norm(features[:, 0, None] - self.means, axis=-1)


@pytest.mark.parametrize("protocol", [Protocol(3), Protocol(3, "none"), NAMED["voc2vec"].protocol])
def test_labels_that_mean_something_are_told_from_permuted_ones(labelled_shards: Make, protocol: Protocol) -> None:
    """And those that mean nothing are not. Labels stay with their speakers under random folds too."""
    task = task_of(labelled_shards(tones()), [], protocol)
    random, head = np.random.default_rng(0), Means()
    noise = random.standard_normal((24, 1, 4)).astype(np.float32)
    signal = noise + 3 * np.array([[[label == "high"]] for label in task.labels], dtype=np.float32)
    null = label_null(task, head, signal, 0, 39)
    assert (null.p, null.draws, null.exceeding) == (1 / 40, 39, 0)
    assert str(null.what) == "labels permuted within 6 groups"
    assert 0.3 < null.mean < 0.7
    assert len(head.labellings) > 39
    null = label_null(task, head, noise, 0, 99)
    assert null.p > 0.1


def test_the_null_of_the_probe_program(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(HEADS, "logistic", Means())
    shards, out = labelled_shards(tones()), tmp_path / "out"
    options = ["--data", str(shards.folder), "--out", str(out), "--cache", str(tmp_path / "cache"), "--folds", "3"]
    probe.main([*options, "--encoders", "logmel", "--seeds", "0,1", "--null", "19"])
    said = " ".join(capsys.readouterr().out.split())
    assert "null UAR p (null)" in said
    assert "null: labels permuted within 6 groups; folds, choices and fit are repeated for each draw" in said
    scores = read_scores(out / "scores.jsonl")
    assert [bool(score.null) for score in scores] == [True] * 3 + [False] * 3
    assert scores[0].null["p"] == 1 / 20
    (task,) = results(read_measurements([out]))
    assert task.models[0].null == scores[0].null
    with pytest.raises(UserError, match="--null must be at least 0"):
        probe.main([*options, "--encoders", "logmel", "--null", "-1"])


def test_too_few_speakers_are_said_before_the_run(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shards = labelled_shards(tones(speakers=4))
    monkeypatch.setattr("evaluate.probe.compare", lambda *_, **__: 1 / 0)
    options = ["--data", str(shards.folder), "--out", str(tmp_path), "--folds", "2", "--encoders"]
    with pytest.raises(ZeroDivisionError):
        probe.main([*options, "logmel,logmel"])
    note = "note: differences between encoders are not testable: over 4 speakers p is at least 2^(1 - 4) = 0.125"
    assert note in capsys.readouterr().out
    with pytest.raises(ZeroDivisionError):
        probe.main([*options, "logmel"])
    assert "not testable" not in capsys.readouterr().out
