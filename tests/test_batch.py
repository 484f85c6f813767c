"""A batch on its way to a device: exact float32, everything moved, and page-locked where torch asks for it."""

import io

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from nonverbal.batch import Batch, Targets

CPU = torch.device("cpu")


def batch_of(waveforms):
    targets = Targets(3, {"mask": torch.ones(1, 4, dtype=torch.bool), "starts": torch.zeros(1, dtype=torch.int64)})
    lengths = torch.full((len(waveforms),), waveforms.shape[1])
    return Batch(
        waveforms, lengths, ["a"], targets, seed=1, step=2, position=3, padded=False, real_samples=4, corpus="b"
    )


def test_every_int16_value_becomes_the_float32_that_libsndfile_reads():
    values = np.arange(-(1 << 15), 1 << 15, dtype=np.int16)
    file = io.BytesIO()
    soundfile.write(file, values, 16_000, format="FLAC", subtype="PCM_16")
    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
    found = batch_of(torch.from_numpy(values)[None]).to(CPU).waveforms
    assert found.dtype == torch.float32
    assert torch.equal(found[0], torch.from_numpy(expected))


def test_float32_waveforms_stay_what_they_are():
    waveforms = torch.randn(2, 50)
    assert torch.equal(batch_of(waveforms).to(CPU).waveforms, waveforms)


def test_all_tensors_go_to_the_device_and_the_rest_stays():
    moved = batch_of(torch.zeros(1, 5, dtype=torch.int16)).to(torch.device("meta"))
    tensors = [moved.waveforms, moved.lengths, *moved.targets.tensors.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.waveforms.dtype == torch.float32
    assert (moved.ids, moved.targets.count) == (["a"], 3)
    assert (moved.seed, moved.step, moved.position, moved.real_samples, moved.corpus) == (1, 2, 3, 4, "b")


def test_torch_pins_every_tensor_of_a_batch(monkeypatch):
    """No CUDA: a stand-in for page-locking marks its copies."""

    def lock(tensor, device=None):
        copy = tensor.clone()
        copy.locked = True
        return copy

    monkeypatch.setattr(torch.Tensor, "pin_memory", lock)
    batch = batch_of(torch.ones(1, 5, dtype=torch.int16))
    # What the loader's thread calls with what a worker has sent.
    pinned = pin_memory(batch, "cuda")
    tensors = [pinned.waveforms, pinned.lengths, *pinned.targets.tensors.values()]
    assert len(tensors) == 4
    assert all(tensor.locked for tensor in tensors)
    assert torch.equal(pinned.waveforms, batch.waveforms)
    assert pinned.waveforms.dtype == torch.int16
    assert (pinned.ids, pinned.targets.count, pinned.corpus) == (["a"], 3, "b")


@pytest.mark.gpu
def test_a_pinned_batch_reaches_the_gpu_whole():
    values = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int16)[None]
    batch = batch_of(values)
    pinned = batch.pin_memory()
    assert pinned.waveforms.is_pinned()
    moved = pinned.to(torch.device("cuda"))
    assert torch.equal(moved.waveforms.cpu(), batch.to(CPU).waveforms)
