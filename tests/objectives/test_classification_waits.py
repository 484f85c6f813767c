"""A micro-batch of clips asks its device for nothing, for which a GPU would have to finish all that is queued."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_waits import NoWaits, OnDevice
from tiny_classifiers import NAMES, WHOLE, batch_for, objective_of

from nonverbal.models import classifier_heads, selective_scan, wav2vec2
from nonverbal.objectives.classification import ClassifierSettings


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """On a CPU, dropout and attention draw their random numbers in NumPy, and the scan looks at its decays."""
    monkeypatch.setattr(classifier_heads, "dropout", F.dropout)
    monkeypatch.setattr(wav2vec2, "dropout", F.dropout)
    monkeypatch.setattr(selective_scan, "kernel_for", lambda *_: "PyTorch")


@pytest.mark.parametrize("settings", [ClassifierSettings(), WHOLE], ids=["plain", "whole"])
@pytest.mark.parametrize("name", NAMES)
def test_a_micro_batch_of_clips_waits_for_nothing(name, settings):
    objective = objective_of(name, settings)
    batch = batch_for(objective, [0.5, 0.3, 0.4], np.random.default_rng(0))
    # Constants such as mel filters are made the first time.
    objective(batch)
    with NoWaits():
        objective(batch).sum.backward()


@pytest.mark.parametrize("settings", [ClassifierSettings(), WHOLE], ids=["plain", "whole"])
@pytest.mark.parametrize("name", NAMES)
def test_all_of_a_micro_batch_of_clips_is_done_on_its_device(monkeypatch, name, settings):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    objective = objective_of(name, settings)
    batch = batch_for(objective, [0.5, 0.3, 0.4], np.random.default_rng(0))
    objective.to("meta")
    tensors = {key: tensor.to("meta") for key, tensor in batch.targets.tensors.items()}
    batch = replace(
        batch,
        waveforms=batch.waveforms.to("meta"),
        lengths=batch.lengths.to("meta"),
        targets=replace(batch.targets, tensors=tensors),
    )
    objective(batch)
    with OnDevice():
        objective(batch).sum.backward()
