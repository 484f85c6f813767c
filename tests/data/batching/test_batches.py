import pickle

import numpy as np
import pytest
import torch
from made_shards import relisted

from nonverbal.batch import Targets, TargetSampler
from nonverbal.data.batching.batches import ShardData, ShardDataset, tables
from nonverbal.data.batching.epochs import BatchSettings, clip_table
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.requests import Request
from nonverbal.errors import UserError


class CountFrames(TargetSampler):
    """Draws one number a row, so that its seed shows."""

    def __call__(self, rows, random):
        return Targets(len(rows.lengths), {"drawn": torch.from_numpy(random.random(len(rows.lengths)))})


count_frames = CountFrames()


def samples_of(batch):
    """Return the waveforms as the model gets them, float32."""
    return batch.to(torch.device("cpu")).waveforms.numpy()


@pytest.fixture
def shards(make_shards):
    lengths = [3.0, 0.7, 0.9, 5.0, 4.0, 2.5, 0.5]
    clips = [("a", s, "train") for s in lengths] + [("b", s, "validation") for s in [3.0, 1.0, 2.2]]
    return make_shards(clips)


def read_all(folder, table, clips):
    """Return the clips' samples, float32, one after the other."""
    return np.concatenate([folder.read(int(table.row[clip])) for clip in clips])


def test_a_row_is_a_crop_of_its_clips_joined(shards):
    table = clip_table([shards], "train")
    dataset = ShardDataset([shards], table, count_frames, seed=5)
    clips, length = np.array([1, 2, 6]), 16_000
    whole = read_all(shards, table, clips)
    starts = set()
    for step in range(20):
        batch = dataset[Request(MicroBatch([clips], np.array([length])), step, 0)]
        row = samples_of(batch)[0]
        matches = [s for s in range(len(whole) - length + 1) if whole[s] == row[0] and whole[s + 99] == row[99]]
        assert len(matches) == 1
        np.testing.assert_array_equal(row, whole[matches[0] : matches[0] + length])
        assert batch.real_samples == length
        starts |= set(matches)
    assert len(starts) == 20
    assert max(starts) > len(whole) - length * 1.25
    assert min(starts) < length * 0.25


def test_a_short_clip_is_repeated_and_only_its_own_audio_counts(shards):
    table = clip_table([shards], "train")
    dataset = ShardDataset([shards], table, count_frames, seed=5)
    clip = read_all(shards, table, [6])
    batch = dataset[Request(MicroBatch([np.array([6])], np.array([20_800])), 0, 0)]
    np.testing.assert_array_equal(samples_of(batch)[0], np.concatenate([clip, clip, clip])[:20_800])
    assert batch.real_samples == 8_000


def test_rows_are_padded_with_zeros_beyond_their_length(shards):
    table = clip_table([shards], "train")
    dataset = ShardDataset([shards], table, count_frames, seed=5)
    batch = dataset[Request(MicroBatch([np.array([5]), np.array([0])], np.array([40_000, 48_000])), 0, 0)]
    assert batch.waveforms.shape == (2, 48_000)
    assert batch.lengths.tolist() == [40_000, 48_000]
    assert batch.padded
    assert not batch.waveforms[0, 40_000:].any()
    np.testing.assert_array_equal(samples_of(batch)[1], read_all(shards, table, [0]))


def test_crops_and_targets_are_functions_of_seed_step_and_position(shards):
    table = clip_table([shards], "train")

    def draw(seed, step, position):
        batch = ShardDataset([shards], table, count_frames, seed)[
            Request(MicroBatch([np.array([3])], np.array([16_000])), step, position)
        ]
        assert not batch.padded
        return batch.waveforms.sum().item(), batch.targets.tensors["drawn"].item()

    assert draw(0, 1, 2) == draw(0, 1, 2)
    draws = [draw(*place) for place in [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3)]]
    assert len({a for a, _ in draws}) == len({b for _, b in draws}) == 4


def test_validation_crops_are_central_and_the_same_every_time(shards):
    data = ShardData([shards], BatchSettings(batch_seconds=10, max_seconds=2), count_frames, 0, workers=0)
    first, again = list(data.validation(0, 1)), list(data.validation(0, 1))
    assert [b.corpus for b in first] == ["b"] * len(first)
    table = clip_table([shards], "validation")
    three_seconds = read_all(shards, table, [0])[8_000:40_000]
    assert any(np.array_equal(row, three_seconds) for batch in first for row in samples_of(batch))
    for batch, other in zip(first, again, strict=True):
        assert torch.equal(batch.waveforms, other.waveforms)
        assert torch.equal(batch.targets.tensors["drawn"], other.targets.tensors["drawn"])


def test_worker_processes_give_the_batches_of_none(shards):
    def batches(workers):
        data = ShardData([shards], BatchSettings(batch_seconds=10, batches_per_step=3), count_frames, 0, workers)
        return list(data.training(range(4), 0, 0, 0, 1))

    for one, other in zip(batches(0), batches(2), strict=True):
        assert (one.step, one.position, one.after, one.ids) == (other.step, other.position, other.after, other.ids)
        assert torch.equal(one.waveforms, other.waveforms)


def test_several_folders_in_one_run(make_shards):
    one = make_shards([("a", 3.0, "train")] * 3, "one")
    two = make_shards([("b", 3.0, "train")] * 2 + [("a", 3.0, "train")], "two")
    table, _ = tables([one, two])
    assert table.corpora == ["a", "b"]
    assert table.corpus.tolist() == [0, 0, 0, 1, 1, 0]
    assert table.shard.tolist() == [0, 0, 0, 1, 1, 1]
    dataset = ShardDataset([one, two], table, count_frames, 0)
    batch = dataset[Request(MicroBatch([np.array([2]), np.array([4])], np.array([48_000] * 2)), 0, 0)]
    np.testing.assert_array_equal(samples_of(batch), np.stack([one.read(2), two.read(1)]))
    assert batch.ids == ["one:2", "two:1"]


def test_folders_that_disagree_on_the_split_are_refused(make_shards):
    one = make_shards([("a", 3.0, "train"), ("a", 3.0, "validation")], "one")
    two = make_shards([("a", 3.0, "validation"), ("a", 3.0, "train")], "two")
    text = (two.folder / "manifest.jsonl").read_text().replace("two-", "one-")
    (two.folder / "manifest.jsonl").write_text(text)
    two = relisted(two.folder)
    with pytest.raises(UserError, match=r"recording a:one-\d is in \w+ in .*one and in \w+ in .*two"):
        tables([one, two])


def test_nothing_to_train_on_is_refused(make_shards):
    with pytest.raises(UserError, match="no clips to train on"):
        tables([make_shards([("a", 3.0, "validation")])])


def test_an_opened_folder_travels_to_another_process(shards):
    shards.read(0)
    copy = pickle.loads(pickle.dumps(shards))
    np.testing.assert_array_equal(copy.read(3), shards.read(3))
