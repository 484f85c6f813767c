from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from labelled_tones import Sound, tones
from made_shards import with_clips

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.tasks.divisions import plan
from nonverbal.tasks.protocols import Protocol
from nonverbal.tasks.task import make_task, task_of

Make = Callable[..., ShardFolder]


def test_a_task_holds_the_labelled_clips(labelled_shards: Make) -> None:
    shards = labelled_shards(tones())
    task = make_task(shards, [], "speaker", 3, [0, 1])
    assert len(task.clips) == 24
    assert task.classes == ["high", "low"]
    assert task.groups[:4] == ["s0"] * 4
    assert {seed: len(folds) for seed, folds in task.folds.items()} == {0: 3, 1: 3}
    assert make_task(shards, [], "recording", None, [0]).protocol == "leave one recording out"
    assert len(make_task(shards, [], "recording", None, [0]).folds[0]) == 24


def test_a_task_that_cannot_be_is_refused(labelled_shards: Make) -> None:
    shards = labelled_shards(tones())
    with pytest.raises(UserError, match="labelled 'hihg'; there are: high, low"):
        make_task(shards, ["hihg", "low"], "speaker", 3, [0])
    with pytest.raises(UserError, match="at least two classes"):
        make_task(shards, ["high"], "speaker", 3, [0])
    with pytest.raises(UserError, match="so give one seed"):
        make_task(shards, [], "speaker", None, [0, 1])
    with pytest.raises(UserError, match="so there are no classes"):
        make_task(labelled_shards(tones()[-1:], "unlabelled"), [], "speaker", 3, [0])
    with pytest.raises(UserError, match="all labels are dropped"):
        make_task(shards, {"high": None, "low": None}, "speaker", 3, [0])


def test_labels_are_merged_and_dropped(labelled_shards: Make) -> None:
    """Six speakers say four labels; the clips keep the labels of their corpus, the task has the classes."""
    sounds: list[Sound] = [
        (label, speaker, f"{speaker}-{label}", part)
        for (_, speaker, _, part), label in zip(tones()[:24], ["hap", "exc", "sad", "xxx"] * 6, strict=True)
    ]
    task = make_task(labelled_shards(sounds), {"exc": "hap", "xxx": None}, "speaker", 3, [0])
    assert task.labels == ["hap", "hap", "sad"] * 6
    assert [clip.label for clip in task.clips] == ["hap", "exc", "sad"] * 6
    assert task.rows.tolist() == [row for row in range(24) if row % 4 != 3]
    assert task.merged == {"exc": "hap"}
    assert make_task(task.shards, ["hap", "sad"], "speaker", 3, [0]).merged == {}


def with_texts(shards: ShardFolder, texts: list[str | None]) -> ShardFolder:
    """Give the clips of shards texts, in the order of the manifest."""
    return with_clips(shards, [replace(clip, text=text) for clip, text in zip(shards.clips(), texts, strict=True)])


def test_a_task_of_texts_is_divided_by_groups_alone(labelled_shards: Make) -> None:
    """Labels play no part: the clip without one counts, and clips without words do not."""
    shards = with_texts(labelled_shards(tones()), ["One two!", None, " - ", *["three"] * 22])
    task = task_of(shards, [], Protocol(3), "texts")
    assert task.texts == ["ONE TWO", *["THREE"] * 22]
    assert (task.classes, task.merged, set(task.labels)) == ([], {}, {""})
    assert task.clips[-1].label is None
    assert task.protocol == "speaker-disjoint 3-fold"
    assert task.slug == "made-speaker-disjoint-3-fold-texts"
    assert task.division.notes == ["2 of 25 clips have no text with words, and are left out; the first is made/1.wav"]
    for fold in task.folds[0]:
        assert not {task.groups[row] for row in fold.train} & {task.groups[row] for row in fold.test}
        own = plan(task.division.protocol, fold, task.labels, task.groups, 0)
        assert all(len(inner.test) for inner in own.inner)
    assert sorted(row for fold in task.folds[0] for row in fold.test) == list(range(23))
    assert task.prediction(0, "1") == {
        "clip": "made/0.wav",
        "text": "ONE TWO",
        "group": "s0",
        "fold": "1",
        "speaker": "s0",
        "recording": "s0-high-0",
    }


@pytest.mark.parametrize("protocol", ["hold-out", "leave-one-out", "official", "none"])
def test_texts_are_divided_by_every_protocol(labelled_shards: Make, protocol: Any) -> None:
    shards = with_texts(labelled_shards(tones()), ["text"] * 25)
    if protocol == "official":
        sides = [replace(clip, split="train" if number % 2 else "test") for number, clip in enumerate(shards.clips())]
        shards = with_clips(shards, sides)
    asked = Protocol(3, "none", counting="voc2vec") if protocol == "none" else Protocol(protocol)
    task = task_of(shards, [], asked, "texts")
    assert {"hold-out": 1, "leave-one-out": 6, "official": 1, "none": 3}[protocol] == len(task.folds[0])
    assert not any("class" in note for note in task.division.notes)
    assert "stratified" not in task.protocol.replace("not stratified", "")


def test_a_task_of_texts_that_cannot_be_is_refused(labelled_shards: Make) -> None:
    shards = labelled_shards(tones())
    with pytest.raises(UserError, match="no clip in .* has a text with words, so there is nothing to recognise; prep"):
        task_of(shards, [], Protocol(3), "texts")
    shards = with_texts(shards, ["one"] * 25)
    with pytest.raises(UserError, match="labels apply only to tasks with classes; leave out --labels"):
        task_of(shards, ["high"], Protocol(3), "texts")
    shards = with_texts(shards, [*["one"] * 4, *[None] * 21])
    with pytest.raises(UserError, match=r"all clips are in one group \(s0\); group otherwise \(--group\)"):
        task_of(shards, [], Protocol(3), "texts")
