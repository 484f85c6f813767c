import json
import os
import shutil
import signal

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score
from transformers import HubertConfig, HubertModel

from nonverbal.data.batching.units import frame_count, open_units
from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.mfcc import Mfcc
from nonverbal.stages import clustering
from nonverbal.stages.clustering import ClusterConfig, agreement, cluster, fit, nearest
from pretrain.cluster import main

CLIPS = [("a", 0.5 + 0.1 * i, "train" if i % 5 else "validation") for i in range(20)]


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


def settings_of(shards, out, **changes):
    return ClusterConfig(**{"data": [shards.folder], "out": out, "clusters": 4, "processes": 1, **changes})


def test_blobs_are_found_and_assigned():
    random = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10]], dtype=np.float32)
    true = random.integers(3, size=600)
    frames = (centres[true] + random.normal(0, 0.5, (600, 2))).astype(np.float32)
    centroids = fit(frames, 3, seed=0)
    units = nearest(frames, centroids)
    assert len({(a, b) for a, b in zip(true, units.tolist(), strict=True)}) == 3
    distances = ((frames[:, None] - centroids) ** 2).sum(-1)
    assert np.array_equal(units, distances.argmin(1))
    with pytest.raises(UserError, match="only 2 frames for 3 clusters; lower --clusters"):
        fit(frames[:2], 3, seed=0)


@pytest.mark.parametrize("samples", [1040, 1200, 7777, 16_000])
def test_mfccs_have_the_frames_of_the_convolutions(samples):
    assert len(Mfcc().frames(np.ones(samples, dtype=np.float32))[0]) == frame_count(samples)


def test_every_part_gets_its_nearest_centroids(tmp_path, shards):
    facts = cluster(settings_of(shards, tmp_path / "units"))
    folder = open_units(tmp_path / "units")
    units, centroids = folder.units(shards), np.load(tmp_path / "units/centroids.npy")
    assert folder.clusters == 4
    for row in range(len(shards.table)):
        waveform = shards.read(row, 0, int(shards.table[row]["samples"]))
        assert np.array_equal(units.of(row), nearest(Mfcc().frames(waveform)[0], centroids))
    assert facts["frames"] == len(units.flat)
    share = np.bincount(units.flat) / len(units.flat)
    share = share[share > 0]
    assert facts["perplexity"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def test_two_processes_and_an_interruption_change_nothing(tmp_path, shards, monkeypatch):
    monkeypatch.setattr(clustering, "CHUNK", 3)
    cluster(settings_of(shards, tmp_path / "one"))
    one = open_units(tmp_path / "one").units(shards)

    taken = []

    def stopped(frames, centroids):
        if len(taken) == 10:
            raise KeyboardInterrupt
        taken.append(1)
        return nearest(frames, centroids)

    with monkeypatch.context() as patch:
        patch.setattr(clustering, "nearest", stopped)
        with pytest.raises(KeyboardInterrupt):
            cluster(settings_of(shards, tmp_path / "two"))
    assert len(list((tmp_path / "two/unfinished").iterdir())) == 3
    with pytest.raises(UserError, match="is not a folder of units"):
        open_units(tmp_path / "two")
    cluster(settings_of(shards, tmp_path / "two", processes=2))
    two = open_units(tmp_path / "two").units(shards)
    assert np.array_equal(one.flat, two.flat)
    assert np.array_equal(one.ends, two.ends)
    assert not (tmp_path / "two/unfinished").exists()


def test_finished_units_are_kept_and_others_refused(tmp_path, shards):
    facts = cluster(settings_of(shards, tmp_path / "units"))
    before = (tmp_path / "units/units.json").stat().st_mtime_ns
    assert cluster(settings_of(shards, tmp_path / "units"))["used"] == facts["used"]
    assert (tmp_path / "units/units.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"holds units of other settings \(clusters was 4 and is now 5\)"):
        cluster(settings_of(shards, tmp_path / "units", clusters=5))


def test_a_moved_folder_keeps_its_units(tmp_path, shards):
    cluster(settings_of(shards, tmp_path / "units"))
    shutil.copytree(shards.folder, tmp_path / "elsewhere")
    assert len(open_units(tmp_path / "units").units(open_shards(tmp_path / "elsewhere")).ends) == len(CLIPS)


def test_agreement_is_that_of_hand_and_scikit_learn():
    counts = np.array([[8, 0, 2], [1, 5, 4]])
    found = agreement(counts)
    assert found["purity"] == pytest.approx((8 + 5 + 4) / 20)
    assert found["largest_class"] == pytest.approx(0.5)
    information = mutual_info_score(None, None, contingency=counts)
    assert found["label_information"] == pytest.approx(information / np.log(2))
    assert agreement(np.array([[5, 0], [0, 5]])) == {"purity": 1, "largest_class": 0.5, "label_information": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clusters": 1}, "--clusters must be at least 2, but is 1"),
        ({"clusters": 70_000}, "--clusters must be at most 65536, but is 70000"),
        ({"processes": -1}, "--processes must be at least 0, but is -1"),
    ],
)
def test_settings_without_meaning_are_refused(shards, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        settings_of(shards, tmp_path, **changes)


def test_the_program_says_what_came_of_it(tmp_path, shards, capsys):
    main([f"--data={shards.folder}", f"--out={tmp_path / 'units'}", "--clusters=4", "--processes=1"])
    out = capsys.readouterr().out
    assert "of 4 units in use, perplexity" in out
    assert f"--hubert.units {tmp_path / 'units'}" in out
    assert json.loads((tmp_path / "units/units.json").read_text())["key"] == Mfcc.key


def test_an_encoder_whose_frames_are_not_those_of_units_is_refused_before_any_audio(tmp_path, shards, monkeypatch):
    from nonverbal.models import ssam, wav2vec2
    from nonverbal.models.audio_mamba import AudioMambaForPreTraining

    shape = wav2vec2.Architecture("base", 32, 2, 2, 16, conv_channels=8, position_kernel=8)
    model = HubertModel(HubertConfig(**wav2vec2.encoder_options(shape), conv_stride=(5, 2, 2, 2, 2, 2, 1)))
    model.save_pretrained(tmp_path / "hubert")
    wav2vec2.save_extractor(model.config, False, tmp_path / "hubert")
    mamba = AudioMambaForPreTraining(ssam.config_of(ssam.Architecture(16, 1, 3)))
    ssam.export(mamba, mamba.state_dict(), tmp_path / "mamba")
    monkeypatch.setattr(ShardFolder, "read", lambda *_: pytest.fail("audio was read"))
    for features, layer in ((str(tmp_path / "hubert"), 1), (str(tmp_path / "mamba"), 1), ("logmel", 0)):
        settings = settings_of(shards, tmp_path / "units", features=features, layer=layer)
        with pytest.raises(UserError, match="--features .* turns 1040 samples .* but there is a unit every 320"):
            cluster(settings)


def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.processes
def test_a_process_that_is_killed_is_not_waited_for(tmp_path, shards, monkeypatch):
    monkeypatch.setattr(clustering, "CHUNK", 4)
    monkeypatch.setattr(clustering, "_work", killed)
    with pytest.raises(UserError, match="reads audio was ended from outside, .* fewer --processes"):
        cluster(settings_of(shards, tmp_path / "units", processes=2))
