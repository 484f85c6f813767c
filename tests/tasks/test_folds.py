from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.folds import Fold, group_folds, groups_of, leave_one_group_out, random_folds


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    speakers = draw(st.integers(6, 20))
    clips = [(c, s) for s in range(speakers) for c in "abc" for _ in range(draw(st.integers(1, 3)))]
    order = draw(st.permutations(range(len(clips))))
    return [clips[i][0] for i in order], [f"s{clips[i][1]}" for i in order]


@settings(max_examples=30, deadline=None)
@given(task=tasks(), folds=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_folds_split_no_group_and_test_every_clip_once(
    task: tuple[list[str], list[str]], folds: int, seed: int
) -> None:
    labels, groups = task
    result = group_folds(labels, groups, folds, seed)
    assert len(result) == folds
    assert sorted(np.concatenate([fold.test for fold in result])) == list(range(len(labels)))
    for fold in result:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.test}
        assert {labels[i] for i in fold.train} == {"a", "b", "c"}
        assert len(fold.train) + len(fold.test) == len(labels)


@settings(max_examples=30, deadline=None)
@given(task=tasks(), folds=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_a_training_side_is_divided_without_splitting_a_group_or_touching_the_test_side(
    task: tuple[list[str], list[str]], folds: int, seed: int
) -> None:
    labels, groups = task
    for fold in group_folds(labels, groups, folds, seed):
        inner = fold.inside(labels, groups, seed)
        assert len(inner) == min(3, len({groups[i] for i in fold.train}))
        tested = np.concatenate([fold.train[part.test] for part in inner])
        np.testing.assert_array_equal(np.sort(tested), fold.train)
        for part in inner:
            train, validation = ({groups[i] for i in fold.train[side]} for side in (part.train, part.test))
            assert not train & validation
            assert not (train | validation) & {groups[i] for i in fold.test}
            assert {labels[i] for i in fold.train[part.train]} == {"a", "b", "c"}


def test_a_training_side_of_one_group_cannot_be_divided() -> None:
    fold = leave_one_group_out(["a", "b", "a", "b"], ["x", "x", "y", "y"])[0]
    with pytest.raises(UserError, match="nothing can be chosen within the training side of fold x: all clips of class"):
        fold.inside(["a", "b", "a", "b"], ["x", "x", "y", "y"], 0)


def test_folds_are_stratified_as_far_as_groups_allow() -> None:
    labels = ["common"] * 40 + ["rare"] * 10
    groups = [f"common{i}" for i in range(40)] + [f"rare{i}" for i in range(10)]
    for fold in group_folds(labels, groups, 5, seed=1):
        assert [labels[i] for i in fold.test].count("rare") == 2


def test_the_seed_decides_the_folds() -> None:
    labels, groups = ["a", "b"] * 20, [f"s{i // 2}" for i in range(40)]
    first, again, other = (group_folds(labels, groups, 4, seed) for seed in (0, 0, 1))
    assert all((x.test == y.test).all() for x, y in zip(first, again, strict=True))
    assert any(len(x.test) != len(y.test) or (x.test != y.test).any() for x, y in zip(first, other, strict=True))


def test_leaving_one_out_names_each_fold_by_its_group() -> None:
    folds = leave_one_group_out(["a", "b", "a", "b"], ["z", "z", "y", "y"])
    assert [(fold.name, fold.test.tolist(), fold.train.tolist()) for fold in folds] == [
        ("y", [2, 3], [0, 1]),
        ("z", [0, 1], [2, 3]),
    ]


def test_impossible_folds_are_refused_with_the_reason() -> None:
    with pytest.raises(UserError, match="folds must be 2 to 3, the number of groups, but is 5"):
        group_folds(["a", "b"] * 3, ["x", "x", "y", "y", "z", "z"], 5, 0)
    with pytest.raises(UserError, match=r"all clips of class 'silence' are in one group \(silence.wav\)"):
        group_folds(["silence", "silence", "a", "a"], ["silence.wav", "silence.wav", "x", "y"], 2, 0)
    with pytest.raises(UserError, match="at least two classes"):
        leave_one_group_out(["a", "a"], ["x", "y"])
    with pytest.raises(UserError, match="all clips of class 'b' are in one group"):
        leave_one_group_out(["a", "a", "b"], ["x", "y", "y"])


def _clip(speaker: str | None, recording: str) -> Clip:
    return Clip("id", "c", "p", 0, 1, 16000, "a", speaker, None, None, None, recording, "CC0-1.0", "0")


def test_speakers_of_one_recording_are_one_group() -> None:
    clips = [
        _clip("ann", "1"),
        _clip("bob", "1"),
        _clip("bob", "2"),
        _clip("cy", "3"),
        _clip("dee", "4"),
        _clip("cy", "5"),
    ]
    assert groups_of(clips, "speaker") == ["ann", "ann", "ann", "cy", "dee", "cy"]


def test_a_clip_without_speaker_cannot_be_grouped_by_speaker() -> None:
    with pytest.raises(UserError, match=r"1 of 2 clips have no speaker, the first is id; .*--group recording"):
        groups_of([_clip("ann", "1"), _clip(None, "2")], "speaker")


def test_sessions_and_recordings_are_groups_and_without_groups_each_clip_is_its_own() -> None:
    clips = [replace(_clip("ann", str(i // 2)), id=f"c{i}", session=f"day{i // 3}") for i in range(6)]
    # Recording 1 holds clips 2 and 3, which are of two days.
    assert groups_of(clips, "session") == ["day0"] * 6
    assert groups_of([replace(clip, recording=clip.id) for clip in clips], "session") == ["day0"] * 3 + ["day1"] * 3
    assert groups_of(clips, "recording") == ["0", "0", "1", "1", "2", "2"]
    assert groups_of(clips, "none") == [f"c{i}" for i in range(6)]
    with pytest.raises(UserError, match="1 of 1 clips have no session, the first is id"):
        groups_of([_clip("ann", "1")], "session")


@pytest.mark.parametrize("stratified", [True, False])
def test_random_folds_are_scikit_learns(stratified: bool) -> None:
    from sklearn.model_selection import KFold, StratifiedKFold

    labels = ["a", "a", "b"] * 20
    state = int(generator(3, Stream.PROBE).integers(2**31))
    theirs = (StratifiedKFold if stratified else KFold)(10, shuffle=True, random_state=state)
    folds = random_folds(labels, 10, 3, stratified)
    for fold, (train, test) in zip(folds, theirs.split(labels, labels), strict=True):
        np.testing.assert_array_equal(fold.train, train)
        np.testing.assert_array_equal(fold.test, test)
    if stratified:
        assert all([labels[row] for row in fold.test].count("b") == 2 for fold in folds)


def test_random_folds_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="at least two classes"):
        random_folds(["a"] * 9, 3, 0, False)
    with pytest.raises(UserError, match="folds must be 2 to 3"):
        random_folds(["a", "a", "b"], 5, 0, False)


@settings(max_examples=20, deadline=None)
@given(task=tasks(), seed=st.integers(0, 2**31))
def test_folds_that_are_not_stratified_split_no_group_either(task: tuple[list[str], list[str]], seed: int) -> None:
    labels, groups = task
    folds = group_folds(labels, groups, 3, seed, stratified=False)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(labels)))
    assert not any({groups[i] for i in fold.train} & {groups[i] for i in fold.test} for fold in folds)


def test_a_validation_side_is_the_division_of_its_training_side() -> None:
    fold = Fold("0", np.array([0, 2, 3, 5]), np.array([1, 4]), np.array([3, 5]))
    (inner,) = fold.inside(["a"] * 6, ["g"] * 6, 0)
    assert (fold.train[inner.train].tolist(), fold.train[inner.test].tolist()) == ([0, 2], [3, 5])
