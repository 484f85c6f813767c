import numpy as np
import pytest
from divided import clip
from hypothesis import given, settings
from hypothesis import strategies as st

from nonverbal.errors import UserError
from nonverbal.tasks.hold_out import hold_out, official, transfer


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Groups of unequal sizes, each with clips of both classes."""
    sizes = draw(st.lists(st.integers(2, 12), min_size=3, max_size=30))
    groups = [f"s{group}" for group, size in enumerate(sizes) for _ in range(size)]
    return ["ab"[row % 2] for row in range(len(groups))], groups


@settings(max_examples=60, deadline=None)
@given(task=tasks(), seed=st.integers(0, 2**31), stratified=st.booleans())
def test_sides_are_within_a_group_of_their_shares(
    task: tuple[list[str], list[str]], seed: int, stratified: bool
) -> None:
    labels, groups = task
    fold = hold_out(labels, groups, (80, 10, 10), seed, stratified)
    assert fold.validation is not None
    train = np.setdiff1d(fold.train, fold.validation)
    sides = [train, fold.validation, fold.test]
    assert sorted(np.concatenate(sides)) == list(range(len(labels)))
    own = [{groups[row] for row in side} for side in sides]
    assert all(own)
    assert not own[0] & own[1]
    assert not (own[0] | own[1]) & own[2]
    largest = max(groups.count(group) for group in groups)
    for side, share in ((fold.validation, 0.1), (fold.test, 0.1)):
        assert abs(len(side) - share * len(labels)) <= largest
    assert {labels[row] for row in train} == {"a", "b"}


def test_sides_of_many_single_clips_have_the_sizes_of_scikit_learns() -> None:
    """Where each clip is its own group, shares can be kept, and are those of ``GroupShuffleSplit``."""
    from sklearn.model_selection import GroupShuffleSplit

    labels, groups = ["a", "b"] * 100, [str(row) for row in range(200)]
    fold = hold_out(labels, groups, (80, 10, 10), 0)
    ((train, test),) = GroupShuffleSplit(1, test_size=0.1, random_state=0).split(labels, labels, groups)
    assert (len(fold.train), len(fold.test)) == (len(train), len(test))
    # Both classes alike on each side.
    assert [labels[row] for row in fold.test].count("a") == 10


def test_the_most_even_of_many_is_taken() -> None:
    random = np.random.default_rng(0)
    groups = [f"s{row // 10}" for row in range(400)]
    labels = ["rare" if random.random() < 0.2 else "common" for _ in groups]
    share = labels.count("rare") / 400

    def miss(stratified: bool) -> float:
        folds = [hold_out(labels, groups, (80, 10, 10), seed, stratified) for seed in range(10)]
        rare = [np.mean([labels[row] == "rare" for row in fold.test]) for fold in folds]
        return float(np.abs(np.array(rare) - share).mean())

    assert miss(True) < miss(False) / 2


def test_the_seed_decides_the_sides() -> None:
    labels, groups = ["a", "b"] * 40, [f"s{row // 4}" for row in range(80)]
    first, again, other = (hold_out(labels, groups, (60, 20, 20), seed) for seed in (0, 0, 1))
    assert first.test.tolist() == again.test.tolist() != other.test.tolist()


def test_hold_outs_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="at least 3 groups, one for each side, but the clips are in 2"):
        hold_out(["a", "b"] * 2, ["x", "x", "y", "y"], (80, 10, 10), 0)
    with pytest.raises(UserError, match="of 3 groups leaves a class untrained"):
        # Only one group is trained on, and each lacks a class.
        hold_out(["a", "b", "b", "c", "c", "a"], ["x", "x", "y", "y", "z", "z"], (80, 10, 10), 0)


def test_official_splits_are_those_of_the_manifest() -> None:
    splits = ["train", "test", "validation", "train", "test", None, "other", "validation"]
    clips = [clip(row, split=split) for row, split in enumerate(splits)]
    fold = official(["a", "a", "a", "b", "b", "b", "a", "b"], clips)
    assert fold.validation is not None
    assert (fold.train.tolist(), fold.validation.tolist(), fold.test.tolist()) == ([0, 2, 3, 7], [2, 7], [1, 4])
    fold = official(["a", "b", "a"], [clip(0, split="train"), clip(1, split="train"), clip(2, split="test")])
    assert fold.validation is None


def test_official_splits_that_are_none_are_refused() -> None:
    with pytest.raises(UserError, match="no clip is on the test side of its corpus; sides there are: dev, train"):
        official(["a", "b"], [clip(0, split="train"), clip(1, split="dev")])
    sides = [clip(0, split="train"), clip(1, split="train"), clip(2, split="test"), clip(3, split="dev")]
    with pytest.raises(UserError, match="the test side has c, but the training side has only a, b; map labels"):
        official(["a", "b", "c", "a"], sides)
    with pytest.raises(UserError, match="c is not on the training side; drop it"):
        official(["a", "b", "a", "c"], sides)
    with pytest.raises(UserError, match="at least two classes"):
        official(["a", "a", "a", "a"], sides)


def test_a_transfer_trains_on_one_corpus_and_tests_on_another() -> None:
    clips = [clip(row, corpus=corpus) for row, corpus in enumerate(["x", "x", "y", "y", "z"])]
    fold = transfer(["a", "b", "a", "b", "a"], clips, ["x"], ["y", "z"])
    assert (fold.name, fold.train.tolist(), fold.test.tolist()) == ("y+z", [0, 1], [2, 3, 4])
    with pytest.raises(UserError, match="needs corpora to train on"):
        transfer(["a", "b", "a", "b", "a"], clips, ["x"], [])
    with pytest.raises(UserError, match="no clip of the corpus 'w' is left; there are: x, y, z"):
        transfer(["a", "b", "a", "b", "a"], clips, ["x"], ["w"])
    with pytest.raises(UserError, match="transfer: .* side has laughter, but the training side has only a, b"):
        transfer(["a", "b", "a", "laughter", "a"], clips, ["x"], ["y"])
