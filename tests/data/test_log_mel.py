"""The table of log-mel statistics: what is in it, and that reading two seconds by it gives what whole rows give."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from nonverbal.data.batching.batches import ShardData, ShardDataset
from nonverbal.data.batching.epochs import BatchSettings, clip_table
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.requests import Request
from nonverbal.data.index import open_shards
from nonverbal.data.log_mel import (
    EXCERPT,
    LogMel,
    excerpt_of,
    of_all,
    open_log_mel,
    spectra,
    statistics,
    write_log_mel,
)
from nonverbal.data.preparing.shards import verify
from nonverbal.data.workers import Done, over_processes
from nonverbal.errors import UserError
from nonverbal.files import locked
from nonverbal.models.audio_mamba import log_mel, log_mel_of_windows
from nonverbal.models.ssam import Architecture
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective
from nonverbal.training.run_folder import RunFolder
from pretrain import prepare

CPU = torch.device("cpu")
SECONDS = [10.0, 3.0, 2.0, 1.5, 0.7, 0.9, 0.5, 4.25]


@pytest.fixture
def shards(make_shards):
    return make_shards([("a", s, "train") for s in SECONDS] + [("b", 3.0, "validation")])


@pytest.fixture
def tabled(shards, monkeypatch):
    """The folder with its table, made in this process: fresh ones take seconds to import torch."""
    monkeypatch.setattr("nonverbal.data.log_mel.over_processes", in_this_process)
    write_log_mel(shards.folder, 1)
    return shards


def in_this_process(work, items, _):
    return (Done(item, work(item)) for item in items)


def objective():
    return build_ssam_objective(SsamSettings(architecture=Architecture(hidden_size=16, layers=1, state_size=2)), 0)


def both_ways(shards, rows, lengths, step=0):
    """Return the batch of whole rows, and the one of two seconds by the table."""
    table, sampler = clip_table([shards], "train"), objective().target_sampler
    request = Request(MicroBatch([np.array(row) for row in rows], np.array(lengths)), step, 0)
    by_table = spectra([shards]).sampler(sampler)
    assert by_table is not sampler
    return [ShardDataset([shards], table, way, 5)[request].to(CPU) for way in (sampler, by_table)]


def test_the_table_holds_each_parts_mean_and_deviation(tabled):
    table = open_log_mel(tabled)
    assert table.values.shape == (9, 2)
    for row, (mean, deviation) in enumerate(table.values.tolist()):
        waveform = torch.from_numpy(tabled.read(row))
        values = log_mel(waveform[None], torch.tensor([len(waveform)]))[0].numpy()
        assert mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)
        assert deviation == pytest.approx(values.std(dtype=np.float64), rel=1e-6)


@pytest.mark.slow  # fresh processes import torch and transformers
def test_several_processes_write_what_one_does(tabled):
    alone = np.array(open_log_mel(tabled).values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nonverbal.data.log_mel.over_processes", over_processes)
        patched.setattr("nonverbal.data.log_mel.CHUNK", 4)
        np.testing.assert_allclose(write_log_mel(tabled.folder, 2).values, alone, rtol=1e-6)


def test_two_seconds_by_the_table_are_those_of_the_whole_row(tabled):
    """Rows that are whole clips: 10 s, 3 s, and 2 s, whose frames are 201."""
    for step in range(12):
        whole, read = both_ways(tabled, [[0], [1], [2]], [160_000, 48_000, 32_000], step)
        assert read.waveforms.shape == (3, EXCERPT)
        assert read.real_samples == whole.real_samples == 240_000
        assert torch.equal(read.targets.tensors["mask"], whole.targets.tensors["mask"])
        expected, found = (objective()._cut(batch) for batch in (whole, read))
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
        losses = [objective()(batch).sum.item() for batch in (whole, read)]
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("start", [0, 1, 2, 400, 800, 801])
def test_two_seconds_at_the_ends_of_a_row_are_reflected_there(tabled, start):
    waveform = tabled.read(0)
    mel, _ = log_mel(torch.from_numpy(waveform)[None], torch.tensor([160_000]))
    part, reflected = excerpt_of(160_000, start)
    samples = np.pad(waveform[part], reflected, "reflect")
    assert len(samples) == EXCERPT
    found = log_mel_of_windows(torch.from_numpy(samples)[None])
    torch.testing.assert_close(found, mel[:, start : start + 200], rtol=0, atol=1e-4)


def test_a_crop_is_standardised_by_its_whole_clip(tabled):
    """4 s of a clip of 10: the frames are those of the crop, mean and deviation are the clip's."""
    whole, read = both_ways(tabled, [[0]], [64_000])
    mel, frames = log_mel(whole.waveforms, whole.lengths)
    mean, deviation = statistics(tabled.read(0))
    expected = objective().model.crop((mel - mean) / deviation, frames, whole.targets.tensors["starts"])
    torch.testing.assert_close(objective()._cut(read), expected, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("clips", "length"), [([3], 32_000), ([4, 5, 6], 32_000), ([6], 8000), ([3, 4, 5], 40_000)])
def test_short_clips_repeated_or_joined_are_standardised_by_all_their_frames(tabled, clips, length):
    whole, read = both_ways(tabled, [clips], [length])
    mel, frames = log_mel(whole.waveforms, whole.lengths)
    values = np.concatenate(
        [log_mel(torch.from_numpy(tabled.read(i))[None], torch.tensor([len(tabled.read(i))]))[0][0] for i in clips]
    )
    standard = (mel - values.mean()) / values.std()
    expected = objective().model.crop(standard, frames, whole.targets.tensors["starts"])
    torch.testing.assert_close(objective()._cut(read), expected, rtol=0, atol=5e-4)


def test_of_all_by_hand():
    # Frames: 101 and 201. Means 0 and 3, deviations 1 and 2.
    mean, deviation = of_all(np.array([[0, 1], [3, 2]], dtype=np.float32), np.array([16_000, 32_000]))
    assert mean == pytest.approx(603 / 302)
    assert deviation**2 == pytest.approx((101 * 1 + 201 * (4 + 9)) / 302 - mean**2)
    alone = np.array([[-7.25, 2.1]], dtype=np.float32)
    assert [np.float32(value) for value in of_all(alone, np.array([999]))] == alone[0].tolist()


def test_digital_silence_is_zeros(tabled):
    _, read = both_ways(tabled, [[1]], [48_000])
    mean, deviation = statistics(np.zeros(48_000, dtype=np.float32))
    assert deviation < 1e-6
    # As another device's logarithm may differ in the last place.
    tensors = read.targets.tensors | {"mean": torch.tensor([mean + 1e-6]), "deviation": torch.tensor([deviation])}
    silent = replace(read, waveforms=torch.zeros(1, EXCERPT), targets=replace(read.targets, tensors=tensors))
    assert not objective()._cut(silent).any()


def reading_of(shards):
    settings = BatchSettings(batch_seconds=20, short="tile", fit="pad")
    found = spectra([shards])
    sampler = found.sampler(objective().target_sampler)
    return ShardData([shards], settings, sampler, 0, 0, contents=found.contents, note=found.note)


def test_a_run_says_how_it_reads_and_counts_the_table_as_its_data(tabled, tmp_path):
    with_table = reading_of(tabled)
    assert "read: two seconds of a row" in with_table.describe()
    assert list(with_table.contents) == [str(tabled.folder), str(tabled.folder / "log-mel.npy")]
    assert all(batch.waveforms.shape[1] == EXCERPT for batch in with_table.validation(0, 1))
    (tabled.folder / "log-mel.json").unlink()
    without = reading_of(tabled)
    assert "read: whole rows" in without.describe()
    assert f"nonverbal prepare --log-mel {tabled.folder}" in without.describe()
    run = RunFolder(tmp_path / "run")
    run.folder.mkdir()
    run.check_data(without.contents)
    with pytest.raises(UserError, match=r"a run on other data .*now: .*log-mel.npy"):
        run.check_data(with_table.contents)


def test_one_folder_without_a_table_has_whole_rows_read(make_shards, tabled):
    other = make_shards([("a", 3.0, "train")], "other")
    found = spectra([tabled, other])
    assert found.tables is None
    assert found.note.endswith(f"after nonverbal prepare --log-mel {other.folder}")


def test_the_shards_stay_what_they_are_and_verify_covers_the_table(tabled):
    before = tabled.sha256
    assert open_shards(tabled.folder).sha256 == before
    count = verify(tabled.folder)
    np.save(tabled.folder / "log-mel.npy", np.array(open_log_mel(tabled).values) + 1)
    with pytest.raises(UserError, match=r"log-mel.npy does not belong to .*again with: nonverbal prepare --log-mel"):
        verify(tabled.folder)
    (tabled.folder / "log-mel.json").unlink()
    assert verify(tabled.folder) == count - 1


@pytest.mark.parametrize("change", [{"index": "0" * 64}, {"version": 2}, {"files": {}}])
def test_a_table_of_other_shards_or_versions_is_refused(tabled, change):
    path = tabled.folder / "log-mel.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"log-mel.*again with: nonverbal prepare --log-mel"):
        open_log_mel(tabled)


def test_the_command_writes_it(shards, capsys, monkeypatch):
    monkeypatch.setattr("nonverbal.data.log_mel.over_processes", in_this_process)
    prepare.main(["--log-mel", str(shards.folder)])
    assert "log-mel.npy: 9 parts" in capsys.readouterr().out
    assert isinstance(open_log_mel(shards), LogMel)
    with pytest.raises(UserError, match="--log-mel takes one folder of shards and nothing else"):
        prepare.main(["--log-mel"])


def test_a_run_that_began_without_the_table_goes_on_without_it(tabled):
    begun = [str(tabled.folder)]
    found = spectra([tabled], begun)
    assert found.tables is None
    assert "read: whole rows, to standardise them, as when this run began" in found.note
    # A damaged one does not stop it either.
    (tabled.folder / "log-mel.json").write_text("{")
    assert spectra([tabled], begun).tables is None
    with pytest.raises(UserError, match="log-mel.json and log-mel.npy cannot be read"):
        spectra([tabled])


def test_a_run_that_began_with_the_table_names_it_where_it_is_gone(tabled):
    begun = ["/elsewhere/shards", "/elsewhere/shards/log-mel.npy"]
    assert spectra([tabled], begun).tables is not None
    (tabled.folder / "log-mel.json").unlink()
    gone = f"{tabled.folder}/log-mel.json is gone, .* with: nonverbal prepare --log-mel {tabled.folder}$"
    with pytest.raises(UserError, match=gone):
        spectra([tabled], begun)
    assert spectra([tabled]).tables is None


def test_a_folder_in_use_is_told_without_an_option_that_the_command_lacks(shards):
    with (
        locked(shards.folder),
        pytest.raises(UserError, match=r"in use by another process .*; wait for it, or stop it$"),
    ):
        write_log_mel(shards.folder, 1)
