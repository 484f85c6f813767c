"""A micro-batch of clips asks its device for nothing, for which a GPU would have to finish all that is queued."""

import numpy as np
import pytest
import torch.nn.functional as F
from tiny_classifiers import NAMES, WHOLE, batch_for, objective_of
from waits import NoWaits, check_on_device

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
    objective = objective_of(name, settings)
    check_on_device(objective, batch_for(objective, [0.5, 0.3, 0.4], np.random.default_rng(0)), monkeypatch)
