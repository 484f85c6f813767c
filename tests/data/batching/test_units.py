import json

import numpy as np
import pytest
import torch

from nonverbal.batch import Targets, TargetSampler
from nonverbal.data.batching.batches import ShardData, ShardDataset
from nonverbal.data.batching.epochs import BatchSettings, clip_table
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.requests import Request
from nonverbal.data.batching.unit_targets import UnitSampler
from nonverbal.data.batching.units import Units, frame_at, frame_count, frame_places, open_units, write_units
from nonverbal.errors import UserError
from nonverbal.models.wav2vec2 import Architecture, frames_of
from nonverbal.objectives.unit_prediction import HubertSettings
from nonverbal.stages.pretraining import PretrainConfig, build

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
TINY = Architecture(
    hidden_size=16, layers=1, heads=2, ffn_size=16, conv_channels=8, position_kernel=4, position_groups=2
)
CLIPS = [("a", seconds, "train") for seconds in (3.0, 0.7, 0.9, 0.5)]


class Nothing(TargetSampler):
    def __call__(self, rows, random):
        return Targets(count=len(rows.lengths), tensors={})


def with_units(units):
    return UnitSampler(Nothing(), [units])


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


def numbered(shards):
    """Units that say which part they are of, and which of its frames."""
    counts = [frame_count(int(samples)) for samples in shards.table["samples"]]
    parts = [1000 * (row + 1) + np.arange(count) for row, count in enumerate(counts)]
    return Units(np.concatenate(parts).astype(np.uint16), np.cumsum(counts))


def test_frames_are_those_of_the_convolutions():
    lengths = np.array([400, 719, 720, 1039, 1040, 16_000, 31_999, 160_000])
    assert [frame_count(int(length)) for length in lengths] == frames_of(lengths, KERNELS, STRIDES).tolist()
    assert frame_places(3).tolist() == [200, 520, 840]
    assert frame_at(np.array([0, 200, 359, 360, 520, 5000]), 3).tolist() == [0, 0, 0, 1, 1, 2]


@pytest.mark.parametrize(("clips", "seconds"), [([0], 1.0), ([0], 3.0), ([1, 2, 3], 1.5), ([3], 1.3), ([3, 1], 2.0)])
def test_each_frame_has_the_unit_of_the_sample_in_its_middle(shards, clips, seconds):
    """Cropped, joined or repeated: found again by the audio itself."""
    table = clip_table([shards], "train")
    dataset = ShardDataset([shards], table, with_units(numbered(shards)), seed=5)
    sources = {}
    for clip in clips:
        for place, sample in enumerate(shards.read(int(table.row[clip])).tolist()):
            sources.setdefault(sample, []).append((clip, place))
    length = round(seconds * 16_000)
    for step in range(5):
        batch = dataset[Request(MicroBatch([np.array(clips)], np.array([length])), step, 0)]
        units = batch.targets.tensors["units"][0].tolist()
        assert len(units) == frame_count(length)
        row = batch.to(torch.device("cpu")).waveforms[0].tolist()
        for frame, unit in enumerate(units):
            # 16-bit noise repeats itself: the sample and its neighbours say which place it is.
            middle = 320 * frame + 200
            clip, place = next(source for source in sources[row[middle]] if matches(shards, table, source, row, middle))
            part, number = divmod(unit, 1000)
            assert part == table.row[clip] + 1
            assert abs(320 * number + 200 - place) < 520  # up to 519 samples at the end of a part are in no frame
            if 200 <= place < table.samples[clip] - 400:
                assert abs(320 * number + 200 - place) <= 160


def matches(shards, table, source, row, middle):
    clip, place = source
    own = shards.read(int(table.row[clip]))
    return own[min(place + 1, len(own) - 1)] == row[middle + 1] or own[place - 1] == row[middle - 1]


def test_padding_has_a_unit_that_no_target_reads(shards):
    table = clip_table([shards], "train")
    dataset = ShardDataset([shards], table, with_units(numbered(shards)), seed=5)
    rows = MicroBatch([np.array([0]), np.array([1])], np.array([32_000, 11_200]))
    units = dataset[Request(rows, 0, 0)].targets.tensors["units"]
    assert units.shape == (2, frame_count(32_000))
    assert (units[1, frame_count(11_200) :] == 0).all()


def test_units_are_written_and_found_by_content(tmp_path, shards):
    parts = np.split(numbered(shards).flat, numbered(shards).ends[:-1])
    write_units(tmp_path, {"clusters": 5000}, {shards.sha256: parts})
    folder = open_units(tmp_path)
    units = folder.units(shards)
    assert folder.clusters == 5000
    for row, part in enumerate(parts):
        assert np.array_equal(units.of(row), part)
    settings = BatchSettings(batch_seconds=4, max_seconds=2, min_seconds=1)
    data = ShardData([shards], settings, with_units(units), 0, workers=1)
    batch = next(iter(data.training(range(2), 0, 0, 0, 1)))
    assert batch.targets.tensors["units"].min() >= 1000


def test_units_of_other_shards_and_damaged_ones_are_refused(tmp_path, shards, make_shards):
    with pytest.raises(UserError, match=r"is not a folder of units: it has no units.json; nonverbal cluster makes one"):
        open_units(tmp_path)
    parts = np.split(numbered(shards).flat, numbered(shards).ends[:-1])
    write_units(tmp_path, {"clusters": 5000}, {shards.sha256: parts})
    with pytest.raises(UserError, match=r"holds no units of .*other as it is now; make them with: nonverbal cluster"):
        open_units(tmp_path).units(make_shards(CLIPS[:2], "other"))
    np.save(tmp_path / f"{shards.sha256[:16]}.npy", np.zeros(3, np.uint16))
    with pytest.raises(UserError, match=r"\.npy is not what .*units.json lists; make the units again"):
        open_units(tmp_path).units(shards)
    (tmp_path / f"{shards.sha256[:16]}.npy").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        open_units(tmp_path).units(shards)
    (tmp_path / "units.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(UserError, match="is not of format 'nonverbal-units' version 2"):
        open_units(tmp_path)


def test_a_run_is_bound_to_the_content_of_its_units(tmp_path, shards):
    """As ``nonverbal pretrain`` builds it."""
    contents = []
    for name, last in (("one", 1), ("again", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        parts = [part.copy() for part in np.split(numbered(shards).flat, numbered(shards).ends[:-1])]
        parts[-1][-1] = last
        write_units(tmp_path / name, {"clusters": 5000}, {shards.sha256: parts})
        hubert = HubertSettings(units=tmp_path / name, architecture=TINY)
        settings = PretrainConfig([shards.folder], tmp_path / "run", family="hubert", hubert=hubert)
        contents.append(build(settings)[1].contents)
    assert list(contents[0]) == [str(shards.folder), str(tmp_path / "one")]
    assert list(contents[0].values()) == list(contents[1].values()) != list(contents[2].values())
