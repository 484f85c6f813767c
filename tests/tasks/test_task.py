from collections.abc import Callable

import pytest
from labelled_tones import Sound, tones

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.tasks.task import make_task

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
    with pytest.raises(UserError, match="takes one seed"):
        make_task(shards, [], "speaker", None, [0, 1])
    with pytest.raises(UserError, match="nothing to tell apart"):
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


@pytest.mark.parametrize("kind", ["several", "numbers"])
def test_a_kind_that_cannot_be_scored_is_refused(labelled_shards: Make, kind: str) -> None:
    with pytest.raises(UserError, match=f"a task must be of kind classes.* but is '{kind}'"):
        make_task(labelled_shards(tones()), [], "speaker", 3, [0], kind)  # type: ignore[arg-type]
