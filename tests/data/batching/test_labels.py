"""Labels as targets: each row has the class of its one clip, and clips are not joined."""

import json

import numpy as np
import pytest

from nonverbal.batch import AddingSampler
from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.data.batching.labels import open_labels
from nonverbal.errors import UserError

SECONDS = [0.5, 3.0, 0.7, 2.2, 4.0, 1.1]
SETTINGS = BatchSettings(batch_seconds=10, max_seconds=3, min_seconds=1, short="tile", fit="pad", max_ratio=3)


def labelled(shards, labels):
    """Write the labels of clips into the manifest."""
    path = shards.folder / "manifest.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == len(labels)
    lines = [json.dumps(row | {"label": label}) + "\n" for row, label in zip(rows, labels, strict=True)]
    path.write_text("".join(lines))
    return shards


@pytest.fixture
def folders(make_shards):
    clips = [("a", seconds, "train") for seconds in SECONDS]
    one = labelled(
        make_shards([*clips, ("a", 3.0, "validation")], "one"), ["sob", "cough", "sob", "cry", "cry", "cough", "cry"]
    )
    two = labelled(make_shards(clips[:2], "two"), ["laugh", "cough"])
    return [one, two]


def test_each_row_has_the_label_of_its_clip_whatever_the_padding(folders):
    sampler = open_labels(folders)
    assert sampler.classes == ["cough", "cry", "laugh", "sob"]
    data = ShardData(folders, SETTINGS, sampler, 0, workers=0)
    # By name, as the ids of a batch say which folder and part a row is.
    expected = {f"{f.folder.name}:{i}": clip.label for f in folders for i, clip in enumerate(f.clips())}
    seen = set()
    for batch in [*data.training(range(3), 0, 0, 0, 1), *data.validation(0, 1)]:
        labels = batch.targets.tensors["labels"]
        assert [sampler.classes[label] for label in labels.tolist()] == [expected[name] for name in batch.ids]
        assert batch.targets.count == len(labels) == len(batch.lengths)
        seen |= set(batch.ids)
    assert seen == set(expected)


def test_the_parts_of_a_long_clip_share_its_label(make_shards):
    shards = labelled(make_shards([("a", 3.0, "train")] * 3), ["x", "y", "x"])
    table = np.array(shards.table)
    table["clip"] = [1, 1, 0]
    object.__setattr__(shards, "table", table)
    assert open_labels([shards]).labels[0].tolist() == [1, 1, 0]


def test_a_clip_without_a_label_is_named(make_shards):
    shards = labelled(make_shards([("a", 3.0, "train")] * 3), ["x", None, "y"])
    name = shards.clips()[1].id
    with pytest.raises(UserError, match=rf"manifest.jsonl: the clip {name} has no label, but each row needs one"):
        open_labels([shards])


def test_one_class_alone_is_refused(make_shards):
    shards = labelled(make_shards([("a", 3.0, "train")] * 2), ["x", "x"])
    with pytest.raises(UserError, match=r"at least two classes, but all have the label 'x'; give"):
        open_labels([shards])


class Added(AddingSampler):
    def added(self, rows):
        return {}


@pytest.mark.parametrize("wrapped", [False, True])
def test_joined_clips_are_refused_before_anything_is_read(folders, wrapped):
    sampler = Added(open_labels(folders)) if wrapped else open_labels(folders)
    with pytest.raises(UserError, match=r"^batches.short is join, which .* one clip per row; set batches.short to"):
        ShardData(folders, BatchSettings(short="join"), sampler, 0, workers=0)
