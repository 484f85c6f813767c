"""Batches of whole clips, against the clips read in full."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nonverbal.batch import Targets
from nonverbal.data.batching.augmentation import Augmentation
from nonverbal.data.batching.clip_plans import padding
from nonverbal.data.batching.clips import ClipBatches, ClipData, ClipTargets
from nonverbal.data.batching.requests import Request
from nonverbal.data.index import open_shards
from nonverbal.errors import UserError

OFF = Augmentation()
SECONDS = [0.31, 0.2, 0.05, 0.5, 0.62, 0.25, 0.4, 0.11, 0.3, 0.22, 0.7, 0.15]
"""Of parts: those of clips 3 and 4 are joined to two, and those of clip 5 to three parts."""
PARTS_OF = [0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 7]
ORDER = [0, 0, 0, 0, 1, 1, 0, 2, 0, 1, 0, 0]


@dataclass(frozen=True)
class Labels(ClipTargets):
    """A label a clip, and a number drawn a row, so that the seed shows; zero where nothing may be drawn."""

    labels: np.ndarray

    def __call__(self, clips, rows, clip, random):
        drawn = np.zeros(len(rows.lengths)) if random is None else random.random(len(rows.lengths))
        tensors = {"labels": torch.from_numpy(self.labels[clips]), "drawn": torch.from_numpy(drawn)}
        return Targets(len(clips) / 2, tensors)


@pytest.fixture(scope="module")
def shards(module_shards):
    """Eight clips, of which some lie in several parts, not in their order; those from the fifth on are of corpus b."""
    clips = [("a" if clip < 4 else "b", s, "train") for s, clip in zip(SECONDS, PARTS_OF, strict=True)]
    folder = module_shards(clips).folder
    table = np.load(folder / "table.npy")
    table["clip"], table["part"] = PARTS_OF, ORDER
    np.save(folder / "table.npy", table)
    index = json.loads((folder / "index.json").read_text())
    index["files"]["table.npy"] = hashlib.sha256((folder / "table.npy").read_bytes()).hexdigest()
    (folder / "index.json").write_text(json.dumps(index))
    return open_shards(folder)


CLIPS = np.array([7, 5, 3, 0, 1, 2, 4, 6])
"""Rows of the manifest, in an order of the task's own."""


def data_of(shards, settings=None, train=(0, 1, 2, 3, 4), validation=(5, 6, 7), augmentation=OFF, **others):
    others = {"seed": 3, "shortest": 400, "longest": 30.0, "workers": 0} | others
    targets = Labels(np.arange(len(CLIPS)) * 10)
    settings = settings or ClipBatches(batch_clips=2)
    return ClipData(shards, CLIPS, np.array(train), np.array(validation), targets, settings, augmentation, **others)


def whole(shards, place, dtype="int16"):
    """Return all samples of the clip at a place of ``CLIPS``: its parts read in full, sorted by hand."""
    parts = [row for row, clip in enumerate(PARTS_OF) if clip == CLIPS[place]]
    return np.concatenate([shards.read(row, dtype=dtype) for row in sorted(parts, key=lambda row: ORDER[row])])


def rows_by_place(batches):
    """Return (place, row up to its length) of each row of batches, in their order."""
    found = []
    for batch in batches:
        places = batch.targets.tensors["places"][batch.targets.tensors["clip"]]
        for row, length, place in zip(batch.waveforms, batch.lengths.tolist(), places.tolist(), strict=True):
            assert not row[length:].any()
            found.append((place, row[:length].numpy()))
    return found


def same(one, other):
    assert (one.step, one.position, one.after, one.ids, one.corpus) == (
        other.step,
        other.position,
        other.after,
        other.ids,
        other.corpus,
    )
    assert torch.equal(one.waveforms, other.waveforms)
    assert torch.equal(one.lengths, other.lengths)
    assert one.targets.tensors.keys() == other.targets.tensors.keys()
    assert all(torch.equal(one.targets.tensors[name], other.targets.tensors[name]) for name in one.targets.tensors)
    return True


def test_parts_of_a_clip_are_joined_in_their_order(shards):
    data = data_of(shards, train=range(8), validation=())
    batches = list(data.training(range(data.steps_per_epoch), 0, 0, 0, 1))
    rows = dict(rows_by_place(batches))
    assert sorted(rows) == list(range(8))
    for place, row in rows.items():
        assert row.dtype == np.int16
        np.testing.assert_array_equal(row, whole(shards, place))
    assert sum(batch.real_samples for batch in batches) == sum(len(whole(shards, place)) for place in range(8))
    assert batches[0].ids == [
        "+".join(
            f"shards:{row}" for row in sorted(np.flatnonzero(np.array(PARTS_OF) == CLIPS[place]), key=ORDER.__getitem__)
        )
        for place in batches[0].targets.tensors["places"].tolist()
    ]


def test_a_batch_says_which_clips_it_holds(shards):
    for batch in data_of(shards).training(range(3), 0, 0, 0, 1):
        tensors = batch.targets.tensors
        assert tensors["clip"].tolist() == list(range(len(batch.lengths)))
        assert tensors["clip"].dtype == tensors["places"].dtype == torch.int64
        assert tensors["labels"].tolist() == [10 * place for place in tensors["places"].tolist()]
        assert batch.targets.count == len(batch.lengths) / 2
        assert batch.padded == (len(set(batch.lengths.tolist())) > 1)
        assert batch.corpus is None


@settings(max_examples=15)
@given(seed=st.integers(0, 2**40), step=st.integers(0, 99), longest=st.integers(400, 20_000))
def test_a_longer_clip_is_a_random_stretch_in_training(shards, seed, step, longest):
    """Of a clip in three parts too: against its parts joined."""
    data = data_of(
        shards, ClipBatches(batch_clips=8, max_seconds=longest / 16_000), train=range(8), validation=(), seed=seed
    )
    (batch,) = data.training(range(step, step + 1), 0, 0, 0, 1)
    for place, row in rows_by_place([batch]):
        clip = whole(shards, place)
        assert len(row) == min(len(clip), longest)
        places = np.flatnonzero(clip[: len(clip) - len(row) + 1] == row[0])
        assert any(np.array_equal(clip[first : first + len(row)], row) for first in places)


def test_stretches_reach_both_ends_and_change_with_the_step(shards):
    data = data_of(shards, ClipBatches(batch_clips=1, max_seconds=0.5), train=[1], validation=())
    clip = whole(shards, 1)
    firsts = []
    for batch in data.training(range(40), 0, 0, 0, 1):
        row = batch.waveforms[0].numpy()
        (first,) = (i for i in range(len(clip) - 8_000 + 1) if np.array_equal(clip[i : i + 8_000], row))
        firsts.append(first)
    assert len(set(firsts)) > 35
    assert min(firsts) < 0.1 * (len(clip) - 8_000)
    assert max(firsts) > 0.9 * (len(clip) - 8_000)


def test_what_is_drawn_is_a_function_of_seed_step_and_position(shards):
    every = Augmentation(gain_db=(-6, 6), noise_snr_db=(0, 9), speed=(0.9, 1.1))

    def draw(seed, *place, augmentation=OFF):
        data = data_of(shards, ClipBatches(max_seconds=0.3), (0, 1), (), augmentation, seed=seed)
        batch = data.dataset[Request(np.array([1]), *place)]
        return batch.waveforms.numpy().tobytes(), batch.targets.tensors["drawn"].item()

    places = [(0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3)]
    for augmentation in (OFF, every):
        assert draw(*places[0], augmentation=augmentation) == draw(*places[0], augmentation=augmentation)
        waveforms, drawn = zip(*(draw(*place, augmentation=augmentation) for place in places), strict=True)
        assert len(set(waveforms)) == len(set(drawn)) == 4


def test_the_order_in_which_clips_are_named_changes_nothing(shards):
    settings = ClipBatches(batch_clips=2, by_length=False)
    one = data_of(shards, settings, train=[4, 0, 2, 3], validation=[7, 5])
    other = data_of(shards, settings, train=[0, 2, 3, 4], validation=[5, 7])
    training = [data.training(range(4), 0, 0, 0, 1) for data in (one, other)]
    assert all(same(*pair) for pair in zip(*training, strict=True))
    assert all(same(*pair) for pair in zip(one.validation(0, 1), other.validation(0, 1), strict=True))


@settings(max_examples=15)
@given(longest=st.integers(400, 20_000), batch_clips=st.integers(1, 9))
def test_testing_hears_all_of_a_clip_in_equal_windows_of_one_batch(shards, longest, batch_clips):
    settings = ClipBatches(batch_clips=batch_clips, max_seconds=longest / 16_000)
    data = data_of(shards, settings, train=[0], validation=(), shortest=100)
    batches = list(data.batches(np.array([6, 1, 2, 7, 5])))
    for batch in batches:
        assert sorted(set(batch.targets.tensors["clip"].tolist())) == list(range(len(batch.targets.tensors["places"])))
        assert batch.waveforms.numel() <= batch_clips * longest or len(batch.targets.tensors["places"]) == 1
    rows = rows_by_place(batches)
    for place in (6, 1, 2, 7, 5):
        own = [row for other, row in rows if other == place]
        clip = whole(shards, place)
        assert len(own) == -(-len(clip) // longest)
        assert max(map(len, own)) - min(map(len, own)) <= 1
        np.testing.assert_array_equal(np.concatenate(own), clip)
    assert {place for place, _ in rows} == {6, 1, 2, 7, 5}


def test_validation_is_of_one_corpus_a_batch_and_the_same_every_time(shards):
    # Places 5, 6 and 7: clips 2 of a, and 4 and 6 of b.
    augmentation = Augmentation(gain_db=(3, 6), speed=(0.8, 0.9))
    data = data_of(shards, ClipBatches(batch_clips=3, max_seconds=0.4), augmentation=augmentation)
    first, again = list(data.validation(0, 1)), list(data.validation(0, 1))
    assert all(same(*pair) for pair in zip(first, again, strict=True))
    assert {(batch.corpus, place) for batch in first for place in batch.targets.tensors["places"].tolist()} == {
        ("a", 5),
        ("b", 6),
        ("b", 7),
    }
    # As it is, whatever is changed in training.
    for place in (5, 6, 7):
        own = np.concatenate([row for other, row in rows_by_place(first) if other == place])
        np.testing.assert_array_equal(own, whole(shards, place))
    shared = [batch for rank in range(2) for batch in data.validation(rank, 2)]
    assert sorted(batch.position for batch in shared) == [batch.position for batch in first]


@pytest.mark.parametrize("augmentation", [OFF, Augmentation(gain_db=(-3, 3), noise_snr_db=(5, 9), speed=(0.9, 1.1))])
@pytest.mark.parametrize("world", [2, 3])
def test_any_number_of_processes_takes_the_same_micro_batches(shards, augmentation, world):
    settings = ClipBatches(batch_clips=4, batches_per_step=3, max_seconds=0.3)
    data = data_of(shards, settings, train=range(7), validation=(), augmentation=augmentation)
    alone = {(b.step, b.position): b for b in data.training(range(5), 0, 0, 0, 1)}
    shared = [b for rank in range(world) for b in data.training(range(5), 0, 0, rank, world)]
    assert len(shared) == len(alone) == 15
    assert all(same(batch, alone[batch.step, batch.position]) for batch in shared)


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_run_goes_on_where_it_stopped(shards, stop):
    settings = ClipBatches(batch_clips=4, batches_per_step=2, max_seconds=0.3)
    data = data_of(shards, settings, train=range(7), validation=(), augmentation=Augmentation(speed=(0.9, 1.1)))
    everything = list(data.training(range(7), 0, 0, 0, 1))
    epoch, batch = everything[2 * stop - 1].after
    assert (epoch, batch) == ((stop - 1) // 2, 2 * ((stop - 1) % 2 + 1))
    rest = list(data.training(range(stop, 7), epoch, batch, 0, 1))
    assert all(same(*pair) for pair in zip(rest, everything[2 * stop :], strict=True))


def test_every_epoch_holds_every_clip_once_in_its_steps(shards):
    data = data_of(shards, ClipBatches(batch_clips=2), train=range(7), validation=())
    assert data.steps_per_epoch == 4
    batches = list(data.training(range(12), 0, 0, 0, 1))
    epochs = [[p for b in batches[i : i + 4] for p in b.targets.tensors["places"].tolist()] for i in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [batch.after for batch in batches[3:5]] == [(0, 4), (1, 1)]


def test_worker_processes_give_the_batches_of_none(shards):
    def batches(workers):
        changed = Augmentation(noise_snr_db=(0, 9))
        data = data_of(shards, ClipBatches(batch_clips=3, max_seconds=0.3), augmentation=changed, workers=workers)
        return [*data.training(range(3), 0, 0, 0, 1), *data.validation(0, 1), *data.batches(np.array([0, 5]))]

    assert all(same(*pair) for pair in zip(batches(0), batches(2), strict=True))


@pytest.mark.parametrize("seconds", [0.25, 1.5])
def test_all_rows_are_filled_or_cut_to_a_length_that_counts_as_sound(shards, seconds):
    """The beginning is taken, as ``truncation=True, padding="max_length"`` of transformers' feature extractors does."""
    from transformers import Wav2Vec2FeatureExtractor

    expected = Wav2Vec2FeatureExtractor(do_normalize=False)(
        [whole(shards, place, "float32") for place in range(8)],
        sampling_rate=16_000,
        max_length=int(16_000 * seconds),
        truncation=True,
        padding="max_length",
    )["input_values"]
    settings = ClipBatches(batch_clips=3, pad_to=seconds, max_seconds=0.1)
    data = data_of(shards, settings, train=range(8), validation=())
    for batches in (data.training(range(3), 0, 0, 0, 1), data.batches(np.arange(8))):
        found = [batch.to(torch.device("cpu")) for batch in batches]
        rows = dict(rows_by_place(found))
        for place, row in enumerate(expected):
            np.testing.assert_array_equal(rows[place], row)
        assert not any(batch.padded for batch in found)
        assert sum(b.real_samples for b in found) == sum(min(len(whole(shards, p)), len(expected[0])) for p in range(8))


def test_a_clip_without_a_frame_is_filled_up(shards):
    # Place 5: 0.05 s.
    data = data_of(shards, train=range(8), validation=(), shortest=2_000)
    rows = dict(rows_by_place(data.training(range(4), 0, 0, 0, 1)))
    assert {place: len(row) for place, row in rows.items()} == {
        place: max(len(whole(shards, place)), 2_000) for place in range(8)
    }
    ((_, tested),) = rows_by_place(data.batches(np.array([5])))
    for row in (rows[5], tested):
        np.testing.assert_array_equal(row, np.pad(whole(shards, 5), (0, 2_000 - 800)))
    assert "; 1 clips are filled with zeros to 0.125 s, which count as sound" in data.describe()


def test_the_encoder_may_take_less_at_once_than_the_settings(shards):
    data = data_of(shards, train=range(8), validation=(), longest=0.2)
    assert max(len(row) for _, row in rows_by_place(data.training(range(4), 0, 0, 0, 1))) == 3_200
    with pytest.raises(UserError, match=r"batches.pad_to is 7 s, but the encoder takes at most 0.2 s; lower it"):
        data_of(shards, ClipBatches(pad_to=7), longest=0.2)
    with pytest.raises(UserError, match=r"batches.max_seconds is 0.01 s, but the encoder needs 0.025 s .*raise it"):
        data_of(shards, ClipBatches(max_seconds=0.01))
    for setting in ({"pad_to": 0.0}, {"max_seconds": float("nan")}):
        with pytest.raises(UserError, match=f"batches.{next(iter(setting))} must be a number of seconds above 0"):
            ClipBatches(**setting)


def test_more_micro_batches_than_clips_are_refused(shards):
    with pytest.raises(UserError, match="5 clips to train on are fewer than the 2 x 3 micro-batches of an epoch"):
        data_of(shards, ClipBatches(batch_clips=4, batches_per_step=3))


def test_a_sped_clip_is_as_long_as_it_lasts_and_its_stretch_is_of_the_sped(shards):
    fast, slow = (Augmentation(speed=(speed, speed)) for speed in (2.0, 0.5))
    lengths = {}
    for augmentation in (fast, slow):
        data = data_of(shards, ClipBatches(batch_clips=8, max_seconds=0.4), range(8), (), augmentation)
        (batch,) = data.training(range(1), 0, 0, 0, 1)
        assert batch.waveforms.dtype == torch.float32
        lengths[augmentation] = {place: len(row) for place, row in rows_by_place([batch])}
    for place in range(8):
        samples = len(whole(shards, place))
        assert lengths[fast][place] == min(max(round(samples / 2), 400), 6_400)
        assert lengths[slow][place] == min(samples * 2, 6_400)


def test_changes_are_drawn_for_each_step_and_heard(shards):
    augmentation = Augmentation(gain_db=(-6, 6))
    data = data_of(shards, ClipBatches(batch_clips=1), train=[3], validation=(), augmentation=augmentation)
    clip = whole(shards, 3, "float32")
    gains = []
    for batch in data.training(range(20), 0, 0, 0, 1):
        row = batch.waveforms[0].numpy()
        gains.append(np.abs(row).max() / np.abs(clip).max())
        np.testing.assert_allclose(row, clip * gains[-1], rtol=1e-5)
    decibels = 20 * np.log10(gains)
    assert len({round(gain, 4) for gain in decibels}) == 20
    assert decibels.min() < -3
    assert decibels.max() > 3


def bytes_of(batch):
    return sum(tensor.nbytes for tensor in (batch.waveforms, batch.lengths, *batch.targets.tensors.values()))


@pytest.mark.parametrize("augmentation", [OFF, Augmentation(speed=(0.5, 2.0))])
def test_the_largest_batch_is_known_before_any_is_read(shards, augmentation):
    settings = ClipBatches(batch_clips=4, batches_per_step=2, max_seconds=0.6)
    data = data_of(shards, settings, train=range(6), validation=[6, 7], augmentation=augmentation)
    sizes = [bytes_of(batch) for batch in [*data.training(range(40), 0, 0, 0, 1), *data.validation(0, 1)]]
    assert max(sizes) <= data.largest() <= 1.2 * max(sizes)


@pytest.mark.parametrize("shortest", [400, 2_400])
def test_a_batch_of_validation_may_be_the_largest(shards, shortest):
    """Of the longest clip alone, and of windows that are filled up."""
    settings = ClipBatches(batch_clips=1, max_seconds=0.15)
    data = data_of(shards, settings, train=[5], validation=[6, 7], shortest=shortest)
    sizes = [bytes_of(batch) for batch in data.validation(0, 1)]
    assert max(sizes) <= data.largest() <= 1.02 * max(sizes)


def test_shared_memory_that_is_too_small_is_refused(shards, monkeypatch):
    said = []
    monkeypatch.setattr("nonverbal.data.batching.planned.check_shared_memory", said.append)
    data = data_of(shards, ClipBatches(batch_clips=2), workers=1)
    data.training(range(9), 0, 0, 0, 1)
    # 2 ahead in training and in validation, and 3 held.
    assert said == [7 * data.largest()]


def test_what_an_epoch_holds_is_told(shards):
    data = data_of(shards, ClipBatches(batch_clips=2, max_seconds=0.5), train=range(5), validation=[5, 6, 7])
    samples = [len(whole(shards, place)) for place in range(8)]
    over = [n for n in samples[:5] if n > 8_000]
    told = data.describe()
    assert "train: 5 clips, 0.00 h of a, b; 3 steps an epoch of 1 x at most 2 clips, " in told
    assert f"of {len(over)} clips over 0.5 s a random stretch" in told
    assert f"{(sum(over) - 8_000 * len(over)) / 16_000:.1f} s of audio are left out" in told
    lengths = np.minimum(samples, 8_000)
    assert f"{padding(lengths[:5], data.plan(0)):.1%} of it padding" in told
    windows = sum(-(-n // 8_000) for n in samples[5:])
    assert told.endswith(f"validation: 3 clips, 0.00 h of a, b; in {windows} windows")


def test_nothing_to_train_on_is_enough_for_testing(shards):
    data = data_of(shards, train=(), validation=())
    assert data.steps_per_epoch == 0
    assert list(data.validation(0, 1)) == []
    assert "train: 0 clips, 0.00 h; 0 steps an epoch" in data.describe()
    assert "no clip is cut or filled" in data.describe()
    assert [place for place, _ in rows_by_place(data.batches(np.array([4])))] == [4]
    assert data.contents == {str(shards.folder): shards.sha256}
