"""Distances between encoders, against angles that are known, numpy's histogram and plain loops."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetuned_runs import plant, save_classifier
from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import read_as, write_analysis
from nonverbal.evaluation.analyses.cka import cka
from nonverbal.evaluation.analyses.cosine import (
    cosine_distances,
    edges_of,
    mean_cka,
    median_of_others,
    smallest_holding,
)
from nonverbal.evaluation.analyses.distances import Distances, DistancesSettings, distance_of
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import load_encoder
from nonverbal.evaluation.probing import compare
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.task import Task, make_task

Make = Callable[..., ShardFolder]
NAMES = ("a", "b")


def test_distances_are_those_of_angles() -> None:
    angles = np.radians([0, 60, 90, 120, 180])
    turned = np.stack([np.cos(angles), np.sin(angles)], 1)
    found = cosine_distances(np.tile([3.0, 0.0], (5, 1)), 7 * turned, NAMES)
    np.testing.assert_allclose(found, [0, 0.5, 1, 1.5, 2], atol=1e-12)
    with pytest.raises(UserError, match="a has vectors of 2 values and b of 3, between which there is no cosine"):
        cosine_distances(turned, np.zeros((5, 3)), NAMES)
    with pytest.raises(UserError, match="a vector of zeros"):
        cosine_distances(turned, np.zeros((5, 2)), NAMES)


def test_bins_go_from_tenth_to_tenth() -> None:
    np.testing.assert_allclose(edges_of([np.array([0.15, 0.61]), np.array([0.2])]), np.linspace(0.1, 0.7, 11))
    np.testing.assert_allclose(edges_of([np.array([0.3])]), np.linspace(0.3, 0.4, 11))
    np.testing.assert_allclose(edges_of([np.array([0.3, 0.6])]), np.linspace(0.3, 0.6, 11))
    np.testing.assert_allclose(edges_of([np.zeros(3)]), np.linspace(0, 0.1, 11))
    # Sums that are a little beside a tenth are that tenth, and lie in the bin at that end.
    for values in ([0.1 + 0.2, 0.9], [0.7 - 0.6, 3 * 0.1], [1.1 - 1.0, 0.1 + 1e-10]):
        edges = edges_of([np.array(values)])
        assert edges[0] == round(min(values), 1)
        counted = distance_of("e", np.array(values), None, np.arange(2), edges, 0.5, [], 0).shares
        assert sum(counted) == 1


def test_a_threshold_holds_its_share_of_every_pair() -> None:
    even, near = np.arange(1, 101) / 100, np.full(100, 0.01)
    assert smallest_holding([even], 0.7) == 0.7
    assert smallest_holding([even], 0.71) == 0.75
    assert smallest_holding([near], 0.7) == 0.05
    assert smallest_holding([near, even], 0.7) == 0.7
    assert smallest_holding([np.full(5, 2.0)], 1) == 2


def test_a_pair_is_counted_as_by_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    apart, agree, speakers = 1.4 * random.random(200), random.random(200) < 0.6, np.arange(200) // 10
    edges = edges_of([apart])
    first = random.normal(size=(200, 5))
    folds = [(first[:100], first[:100] + 1), (first[100:], random.normal(size=(100, 5)))]
    one = distance_of("e", apart, agree, speakers, edges, 0.8, folds, 0)
    counts, _ = np.histogram(apart, edges)
    np.testing.assert_allclose(one.shares, counts / 200)
    for low, high, found in zip(edges[:-1], edges[1:], one.agreement, strict=True):
        own = [agree[n] for n in range(200) if low <= apart[n] < high]
        assert found == pytest.approx(sum(own) / len(own))
    inside = [agree[n] for n in range(200) if apart[n] <= 0.8]
    beyond = [agree[n] for n in range(200) if apart[n] > 1]
    assert one.inside == len(inside) / 200
    assert one.beyond == len(beyond) / 200
    assert one.agree_inside is not None
    assert one.agree_inside.value == pytest.approx(sum(inside) / len(inside))
    assert one.agree_inside.clips == len(inside)
    assert one.agree_beyond is not None
    assert one.agree_beyond.value == pytest.approx(sum(beyond) / len(beyond))
    assert one.agree_beyond.low is not None
    assert one.agree is not None
    assert one.agree.value == agree.mean()
    assert one.median == np.median(apart)
    assert one.cka == pytest.approx((cka(*folds[0]) + cka(*folds[1])) / 2)


def test_without_decisions_nothing_agrees() -> None:
    vectors = np.eye(5)
    one = distance_of("e", np.zeros(5), None, np.arange(5), edges_of([np.zeros(5)]), 0.1, [(vectors, vectors)], 0)
    assert (one.agree, one.agree_inside, one.agree_beyond, one.agreement) == (None, None, None, [None] * 10)


def test_other_clips_are_other_clips() -> None:
    # Of orthogonal vectors, each is at 0 from itself and at 1 from all others.
    assert median_of_others([(np.eye(20), np.eye(20))], 0) == 1
    assert median_of_others([(np.eye(3), np.eye(3)), (np.eye(1), np.eye(1))], 0) == 1
    assert median_of_others([(np.eye(1), np.eye(1))], 0) is None


def test_cka_is_a_mean_over_folds_by_clips() -> None:
    random = np.random.default_rng(1)
    first, other = random.normal(size=(30, 4)), random.normal(size=(30, 4))
    folds = [(first[:20], other[:20]), (first[20:], other[20:]), (first[:3], other[:3])]
    expected = (20 * cka(*folds[0]) + 10 * cka(*folds[1])) / 30
    assert mean_cka(folds) == pytest.approx(expected)
    assert mean_cka(folds[2:]) is None
    assert mean_cka([(np.ones((9, 2)), first[:9])]) is None


@pytest.fixture
def task(labelled_shards: Make) -> Task:
    return make_task(labelled_shards(tones(speakers=4)), [], "speaker", 2, [0])


def run(task: Task, folder: Path, *encoders: str, **settings: Any) -> Distances:
    given = {"data": task.shards.folder, "embeddings": folder / "cache", "out": folder / "x.distances.json"}
    return Distances.make(DistancesSettings(encoders=list(encoders), **(given | settings)))  # type: ignore[arg-type]


def test_each_clip_is_compared_by_the_folds_that_test_it(task: Task, tmp_path: Path) -> None:
    one = plant(tmp_path / "one", task)
    other = plant(tmp_path / "other", task, same=True)
    names = [f"finetuned:{one}", f"finetuned:{other}"]
    for name, folder in zip(names, (one, other), strict=True):
        compare(task, [name], [], tmp_path / "cache", folder)
    made = run(task, tmp_path, *names, fold=None)
    expected: dict[str, float] = {}
    for number, fold in enumerate(task.folds[0]):
        rows = np.array([task.rows[place] for place in fold.test])
        means = []
        for folder in (one, other):
            encoder = load_encoder(str(folder / f"seed-0/fold-{number}/encoder"))
            means.append(embed(encoder, task.shards, rows, tmp_path / "anew")[:, -1, : encoder.dimensions])
        for place, row in enumerate(fold.test):
            a, b = means[0][place].astype(float), means[1][place].astype(float)
            expected[task.clips[row].id] = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    decided = [read_measurements([folder])[0].predictions for folder in (one, other)]
    same = dict(zip(decided[0].clips, decided[0].predicted == decided[1].predicted, strict=True))
    (pair,) = made.others
    assert made.clips == len(expected)
    assert pair.median == pytest.approx(np.median(list(expected.values())), rel=1e-5)
    inside = [clip for clip, value in expected.items() if value <= made.threshold]
    assert pair.inside == pytest.approx(len(inside) / len(expected))
    assert pair.agree_inside is not None
    assert pair.agree_inside.value == pytest.approx(np.mean([same[clip] for clip in inside]))
    assert (made.decisions, made.hold, made.layers) == ("the runs’ own", 0.7, [2, 2])
    assert made.held_out == "each clip by the weights of the fold that tests it"
    write_analysis(tmp_path / "x.distances.json", made)
    assert read_as(Distances, tmp_path / "x.distances.json") == made
    write_analysis(tmp_path / "x.distances.json", replace(made, edges=[0.0, 0.0]))
    with pytest.raises(UserError, match="its edges do not rise"):
        read_as(Distances, tmp_path / "x.distances.json")


def test_encoders_that_are_no_runs_are_compared_on_all_clips(task: Task, tmp_path: Path) -> None:
    names = [str(save_classifier(tmp_path / name, seed, task.classes)) for seed, name in enumerate("ab")]
    made = run(task, tmp_path, *names, threshold=0.3, layer=0)
    assert (made.clips, made.threshold, made.hold, made.decisions, made.layers) == (
        len(task.shards.clips()),
        0.3,
        None,
        "",
        [0, 0],
    )
    assert made.others[0].agree is None
    assert "no label of these clips seen" in made.held_out
    assert "Decisions agree" not in made.summary()
    for name in names:
        compare(task, [name], [], tmp_path / "cache", tmp_path / "scores")
    with_decisions = run(task, tmp_path, *names, scores=[tmp_path / "scores"], systems=names)
    assert with_decisions.others[0].agree is not None
    assert (with_decisions.clips, with_decisions.without_decision) == (len(task.clips), 1)
    assert with_decisions.decisions == ", ".join(names)
    with pytest.raises(UserError, match="--systems must name one for each of .*, but names 1"):
        run(task, tmp_path, *names, scores=[tmp_path / "scores"], systems=names[:1])


@pytest.mark.parametrize(
    ("encoders", "settings", "said"),
    [
        (["logmel"], {}, "--encoders must name at least 2, each once"),
        (["logmel", "logmel"], {}, "--encoders must name at least 2, each once"),
        (["logmel", "mfcc"], {}, "between which there is no cosine"),
        (["logmel", "mfcc"], {"hold": 0.0}, "--hold must be above 0 and at most 1"),
        (["logmel", "mfcc"], {"threshold": 3.0}, "--threshold must be a cosine distance from 0 to 2"),
        (["logmel", "mfcc"], {"fold": "0"}, "--fold applies only to finetuned:RUN"),
        (["logmel", "mfcc"], {"systems": ["x"]}, "--systems needs --scores"),
        (["logmel", "rate"], {}, "the encoder rate has no embedding space of its own"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    task: Task, tmp_path: Path, encoders: list[str], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        run(task, tmp_path, *encoders, **settings)


def test_runs_that_were_divided_otherwise_are_refused(task: Task, tmp_path: Path) -> None:
    four = make_task(task.shards, [], "speaker", 4, [0])
    names = [f"finetuned:{plant(tmp_path / name, own)}" for name, own in (("two", task), ("four", four))]
    with pytest.raises(UserError, match="do not test the same clips in the same folds"):
        run(task, tmp_path, *names)
