"""Encoders made by hand, and the folders of shards of ``tests/tasks``."""

from pathlib import Path

import pytest
from labelled_tones import labelled_shards  # noqa: F401  (a fixture)
from tiny_shapes import LARGE, WAVEFORMS


@pytest.fixture(params=["group", "layer"])
def encoder_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny pretraining checkpoint in Hugging Face format, in the base (group norm) and large (layer norm) layout."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForPreTraining

    large = request.param == "layer"
    config = Wav2Vec2Config(
        **WAVEFORMS,
        codevector_dim=8,
        proj_codevector_dim=8,
        num_codevectors_per_group=4,
        **(LARGE if large else {}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        Wav2Vec2ForPreTraining(config).save_pretrained(tmp_path / "encoder")
    Wav2Vec2FeatureExtractor(do_normalize=large).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"
