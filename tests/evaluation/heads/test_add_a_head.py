"""The page on adding a head shows code that works, and names what there is."""

import json
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.heads.base import Fitted, Frames, Head, Job, Pooled
from nonverbal.evaluation.probing import compare
from nonverbal.evaluation.score_tables import print_scores
from nonverbal.tasks.folds import group_folds
from nonverbal.tasks.scores import read_scores
from nonverbal.tasks.task import make_task

PAGE = (Path(__file__).parents[3] / "docs/add-a-head.md").read_text(encoding="utf-8")
HEAD, TESTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(code: str) -> types.ModuleType:
    module = types.ModuleType("shown")
    exec(compile(code, "docs/add-a-head.md", "exec"), vars(module))
    return module


@pytest.fixture
def head() -> Head[Pooled]:
    return run(HEAD).NearestCentroid()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE))
def test_the_pages_tests_pass(name: str, head: Head[Pooled]) -> None:
    getattr(run(TESTS), name)(head)


def test_the_pages_head_is_scored_as_any(
    head: Head[Pooled],
    labelled_shards: Callable[..., ShardFolder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(HEADS, "centroid", head)
    task = make_task(labelled_shards(tones()), [], "speaker", 3, [0])
    logistic = compare(task, ["logmel"], [], tmp_path / "cache", tmp_path / "out")
    scores = compare(task, ["logmel"], [], tmp_path / "cache", tmp_path / "out", head="centroid")
    assert read_scores(tmp_path / "out" / "scores.jsonl") == [*logistic, *scores]
    assert [score.probe for score in scores] == ["centroid"] * 3
    assert [(score.fold, score.test_clips) for score in scores] == [(row.fold, row.test_clips) for row in logistic]
    assert all(score.metrics["uar"] == 1 for score in scores)
    rows = [json.loads(line) for line in (tmp_path / "out" / scores[0].predictions).read_text().splitlines()]
    assert all(max(row["decision_values"], key=row["decision_values"].get) == row["predicted"] for row in rows)
    print_scores(scores, tmp_path / "out" / "scores.jsonl")
    said = capsys.readouterr().out
    assert "centroid head" in said
    assert "0×3" in said


class OnFrames:
    """A head that reads frames: it takes their mean, and is another head on that."""

    gives: Literal["decision_values"] = "decision_values"

    def __init__(self, head: Head[Pooled]) -> None:
        self.head = head

    def fit(self, jobs: Iterable[Job[Frames]]) -> Iterator[Fitted[Frames]]:
        for job in jobs:
            pooled = Job(_pooled(job.features), job.labels, job.classes, job.groups, job.inner, job.seed)
            (fitted,) = self.head.fit([pooled])
            yield FittedOnFrames(fitted.chosen, fitted.inner_uar, fitted.details, fitted)


@dataclass(frozen=True)
class FittedOnFrames:
    chosen: Mapping[str, float | str]
    inner_uar: Sequence[float]
    details: Mapping[str, Any]
    fitted: Fitted[Pooled]

    def predict(self, features: Frames) -> np.ndarray:
        return self.fitted.predict(_pooled(features))


def _pooled(frames: Frames) -> np.ndarray:
    return np.stack([clip.mean(axis=1) for clip in frames])


def test_a_head_may_read_frames_of_clips_of_any_length(head: Head[Pooled]) -> None:
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    groups = [f"s{clip // 6}" for clip in range(60)]
    frames = [random.standard_normal((2, random.integers(1, 30), 4)).astype(np.float32) for _ in labels]
    for clip, label in zip(frames, labels, strict=True):
        clip[1, :, label] += 3
    classes = ["a", "b", "c"]
    inner = group_folds([classes[label] for label in labels], groups, 3, 0)
    on_frames: Head[Frames] = OnFrames(head)
    (fitted,) = on_frames.fit([Job(frames, labels, classes, groups, inner, 0)])
    assert fitted.chosen == {"layer": 1}
    assert np.mean(fitted.predict(frames).argmax(axis=1) == labels) > 0.9


def first_column(title: str) -> set[str]:
    table = PAGE.split(f"| {title} |")[1].split("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)", row.split("|")[1])}


def test_the_page_names_every_field() -> None:
    assert first_column("field of a `Job`") == {field.name for field in fields(Job)}
    assert first_column("member of a fitted classifier") == {name for name in vars(Fitted) if not name.startswith("_")}
    assert {name for name in vars(Head) if not name.startswith("_")} == {"gives", "fit"}
