from dataclasses import replace

import numpy as np
import pytest
from divided import clip
from hypothesis import given, settings
from hypothesis import strategies as st

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.tasks.divisions import NOTHING, ON_TEST, UNKNOWN_RECORDINGS, UNKNOWN_SPEAKERS, cut, divide, plan
from nonverbal.tasks.folds import WITHOUT_CLASSES, Fold
from nonverbal.tasks.protocols import NAMED, Protocol

SPEAKERS, TAKES = 12, 4


def _clips(speakers: int = SPEAKERS, known: bool = True) -> tuple[list[str], list[Clip]]:
    """Each speaker says both words, in takes of a recording each, two speakers a session."""
    rows = [(speaker, word) for speaker in range(speakers) for word in "ab" for _ in range(TAKES)]
    clips = [
        clip(row, speaker=f"s{speaker}" if known else None, session=f"day{speaker // 2}")
        for row, (speaker, _) in enumerate(rows)
    ]
    return [word for _, word in rows], clips


PROTOCOLS = [
    Protocol(),
    Protocol(3, "session"),
    Protocol(4, "recording", stratified=False),
    Protocol(5, "none", "test"),
    Protocol("leave-one-out"),
    Protocol("auto"),
    Protocol("hold-out", refit=False, seeds=(0, 1)),
    Protocol("hold-out", select="test"),
    NAMED["voc2vec"].protocol,
    Protocol(3, refit=False),
    Protocol(3, per_class=3),
    Protocol(3, per_class=1),
    Protocol("hold-out", per_class=2, refit=False),
]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_what_is_fitted_keeps_what_the_protocol_says(protocol: Protocol) -> None:
    labels, clips = _clips()
    division = divide(protocol, labels, clips)
    assert list(division.folds) == list(protocol.seeds)
    for seed, folds in division.folds.items():
        if not isinstance(division.protocol.folds, str):
            assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(len(labels)))
        for fold in folds:
            own = plan(division.protocol, fold, labels, division.groups, seed)
            groups = np.array(division.groups)
            trained = own.rows[own.training]
            assert not {*trained} & {*fold.test}
            assert not {*groups[trained]} & {*groups[fold.test]}
            assert {*trained} <= {*fold.train}
            assert {labels[row] for row in trained} == {"a", "b"}
            for inner in own.inner:
                train, validation = own.rows[inner.train], own.rows[inner.test]
                assert not {*groups[train]} & {*groups[validation]}
                assert {labels[row] for row in train} == {"a", "b"}
                assert len(validation)
                assert ({*validation} <= {*fold.test}) == (protocol.select == "test")
                assert not {*train} & {*fold.test}
            if protocol.refit:
                assert len(trained) == len(fold.train)
            elif own.inner:
                assert trained.tolist() == own.rows[own.inner[0].train].tolist()
            if protocol.select == "test":
                (inner,) = own.inner
                assert own.rows[inner.test].tolist() == fold.test.tolist()


@pytest.mark.parametrize(
    ("protocol", "through"),
    [
        (Protocol(3, "session"), [NOTHING]),
        (Protocol(), ["sessions on both sides"]),
        (Protocol(5, "recording"), ["speakers on both sides", "sessions on both sides"]),
        (Protocol(5, "none", "test"), ["speakers on both sides", "sessions on both sides", ON_TEST]),
    ],
)
def test_what_is_let_through_is_said(protocol: Protocol, through: list[str]) -> None:
    assert divide(protocol, *_clips()).lets_through == through


def test_speakers_that_are_not_known_are_perhaps_on_both_sides() -> None:
    labels, clips = _clips(known=False)
    clips = [replace(clip, session=None, recording=f"r{row // 4}") for row, clip in enumerate(clips)]
    assert divide(Protocol(5, "recording"), labels, clips).lets_through == [UNKNOWN_SPEAKERS]
    through = divide(Protocol(5, "none"), labels, clips).lets_through
    assert through == ["recordings on both sides", UNKNOWN_SPEAKERS]
    nameless = [replace(clip, recording=clip.id) for clip in clips]
    assert divide(Protocol(5, "recording"), labels, nameless).lets_through == [UNKNOWN_RECORDINGS]
    corpora = [replace(clip, corpus="xy"[row % 4 // 2]) for row, clip in enumerate(clips)]
    apart = [replace(clip, recording=f"{clip.corpus}:{clip.recording}") for clip in corpora]
    transfer = Protocol("transfer", "recording", train_on=("x",), test_on=("y",))
    assert divide(transfer, labels, apart).lets_through == [NOTHING]


def test_official_splits_may_divide_speakers_and_that_is_said() -> None:
    labels, clips = _clips()
    sides = [replace(clip, split=["train", "test"][row % 4 == 3]) for row, clip in enumerate(clips)]
    division = divide(Protocol("official"), labels, sides)
    assert division.lets_through == ["speakers on both sides", "sessions on both sides"]
    assert division.notes == [
        "train 75.0% (72 clips of 12 groups, 2 classes), test 25.0% (24 clips of 12 groups, 2 classes)"
    ]


def test_true_shares_and_clips_on_no_side_are_said() -> None:
    labels, clips = _clips(5)
    (note,) = divide(Protocol("hold-out"), labels, clips).notes
    assert note == (
        "train 60.0% (24 clips of 3 groups, 2 classes), validation 20.0% (8 clips of 1 groups, 2 classes), "
        "test 20.0% (8 clips of 1 groups, 2 classes)"
    )
    two = divide(Protocol("hold-out", seeds=(0, 1)), labels, clips).notes
    assert [text[:8] for text in two] == ["seed 0: ", "seed 1: "]
    sides = [replace(clip, split=["train", "test", "extra"][row % 3]) for row, clip in enumerate(clips)]
    (note,) = divide(Protocol("official"), labels, sides).notes
    assert note.endswith("; 13 clips are on no side")


def test_known_groups_are_speakers_or_else_recordings() -> None:
    protocol = Protocol(3, "known")
    labels, clips = _clips()
    named = divide(protocol, labels, clips)
    assert (named.protocol.group, named.notes) == ("speaker", divide(Protocol(3, "speaker"), labels, clips).notes)
    clips[4] = replace(clips[4], speaker=None)
    unnamed = divide(protocol, labels, clips)
    assert unnamed.protocol.group == "recording"
    assert unnamed.groups == [clip.recording for clip in clips]
    assert f"grouped by recording, since 1 of {len(clips)} clips have no speaker" in unnamed.notes


def test_auto_leaves_one_out_of_few_groups_alone() -> None:
    assert divide(Protocol("auto"), *_clips(9)).protocol.folds == "leave-one-out"
    assert divide(Protocol("auto"), *_clips(10)).protocol.folds == 5


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (Protocol(13), r"folds must be 2 to 12.*; possible here: --group speaker with 2 to 12 folds; --group session"),
        (Protocol("official"), "no clip is on the train side.* sides there are: none; possible here: --group speaker"),
        (Protocol("leave-one-out", seeds=(0, 1)), "so give one seed instead of"),
        (Protocol("transfer"), "needs corpora to train on"),
    ],
)
def test_impossible_divisions_are_refused_with_what_is_possible(protocol: Protocol, words: str) -> None:
    with pytest.raises(UserError, match=words):
        divide(protocol, *_clips())


def test_what_is_possible_depends_on_what_is_known() -> None:
    labels, clips = _clips(known=False)
    clips = [replace(clip, session=None, split=["train", "test"][row % 2]) for row, clip in enumerate(clips)]
    clips[0] = replace(clips[0], corpus="other")
    with pytest.raises(UserError) as error:
        divide(Protocol(), labels, clips)
    assert str(error.value).endswith(
        "; possible here: --group recording with 2 to 96 folds; --group none with 2 to 96 folds; --folds official; "
        "--protocol transfer between c, other"
    )
    with pytest.raises(UserError, match=r"a task needs at least two classes, but the clips have \['a'\]$"):
        divide(Protocol(2), ["a"] * len(clips), clips)
    with pytest.raises(UserError, match="possible here: nothing: all clips are in one group"):
        divide(Protocol(), [WITHOUT_CLASSES], clips[1:2])


def test_classes_of_few_clips_are_counted_as_voc2vecs_code_does() -> None:
    """A class of one clip, and one of two: the fold that tests the one cannot be trained in their code, and is lost."""
    labels = ["common"] * 37 + ["rare"] * 2 + ["single"]
    clips = [clip(row) for row in range(40)]
    division = divide(NAMED["voc2vec"].protocol, labels, clips)
    (folds,) = division.folds.values()
    assert len(folds) == 9
    assert 39 not in np.concatenate([fold.test for fold in folds])
    assert all({labels[row] for row in fold.train} == {"common", "rare", "single"} for fold in folds)
    small, left_out = division.notes
    assert small == "fewer clips than folds: rare (2), single (1); some folds test none of them"
    assert "is left out: its training side has no clip of single, on which the code of voc2vec fails" in left_out
    with pytest.raises(UserError, match="all clips of class 'single' are in one group"):
        divide(Protocol(10, "none", stratified=False), labels, clips)


@settings(max_examples=40, deadline=None)
@given(clips=st.integers(1, 12), more=st.integers(0, 12), seed=st.integers(0, 2**31))
def test_a_cut_takes_clips_of_as_many_groups_as_there_are(clips: int, more: int, seed: int) -> None:
    labels = ["a", "b", "c"] * 20
    groups = [f"s{row // 9}" for row in range(60)]
    fold = Fold("0", np.arange(54), np.arange(54, 60))
    few, many = (cut(fold, labels, groups, size, seed, 0) for size in (clips, clips + more))
    assert {*few.train} <= {*many.train} <= {*fold.train}
    assert few.test.tolist() == fold.test.tolist()
    assert few.train.tolist() == sorted(few.train)
    for name in "abc":
        rows = [row for row in few.train if labels[row] == name]
        assert len(rows) == clips
        assert len({groups[row] for row in rows}) == min(clips, 6)


def test_a_cut_takes_all_of_a_class_that_has_fewer_and_leaves_the_validation_side() -> None:
    fold = Fold("0", np.arange(8), np.array([8, 9]), np.array([6, 7]))
    made = cut(fold, ["a", "a", *"bbbb", "a", "b", "a", "b"], [str(row) for row in range(10)], 3, 0, 0)
    assert made.train[:2].tolist() == [0, 1]
    assert len(made.train) == 5
    assert made.train.max() < 6
    assert made.validation is None


def test_one_clip_a_class_leaves_nothing_to_choose_between() -> None:
    labels, clips = _clips()
    for size, chosen in ((1, False), (6, True)):
        protocol = Protocol(3, per_class=size)
        division = divide(protocol, labels, clips)
        for fold in division.folds[0]:
            assert len(fold.train) == 2 * size
            assert bool(plan(protocol, fold, labels, division.groups, 0).inner) == chosen
