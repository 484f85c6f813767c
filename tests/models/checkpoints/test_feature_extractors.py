"""How waveforms are read is what the folder says, wherever it says it, for training and for probes alike."""

import json

import pytest
from sources import save_transformers

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import check_encoder
from nonverbal.models.checkpoints.feature_extractors import normalises
from nonverbal.models.checkpoints.reading import read_checkpoint


def settings(**changed):
    return {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16_000, **changed}


def test_settings_among_a_processors_are_heeded(tmp_path):
    save_transformers(tmp_path, "large")
    (tmp_path / "preprocessor_config.json").unlink()
    within = {"processor_class": "Wav2Vec2Processor", "feature_extractor": settings(do_normalize=False)}
    (tmp_path / "processor_config.json").write_text(json.dumps(within))
    checkpoint = read_checkpoint(str(tmp_path))
    assert not checkpoint.normalise
    assert checkpoint.notes == ()
    check_encoder(str(tmp_path))


def test_a_processor_without_an_extractor_says_nothing(tmp_path):
    save_transformers(tmp_path, "base")
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"processor_class": "Wav2Vec2Processor"}))
    assert normalises("here", tmp_path) is None
    checkpoint = read_checkpoint(str(tmp_path))
    assert not checkpoint.normalise
    assert "the default for this layout" in checkpoint.notes[0]
    with pytest.raises(UserError, match=r"there is no preprocessor_config\.json"):
        check_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (settings(do_normalize="false"), "do_normalize: 'false'; expected true or false"),
        (settings(do_normalize=None), "do_normalize: None; expected true or false"),
        (settings(sampling_rate="16000"), "has a sampling_rate of '16000' Hz"),
        (settings(sampling_rate=8000), "has a sampling_rate of 8000 Hz"),
        ({"feature_extractor_type": "WhisperFeatureExtractor"}, "is for WhisperFeatureExtractor"),
        (settings(do_normalize=True), "differ in do_normalize"),
        ([], "not a feature extractor's settings"),
        ("{", "not a feature extractor's settings"),
    ],
)
def test_settings_that_are_not_ours_or_contradict_each_other_are_refused(tmp_path, alone, said):
    save_transformers(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(alone))
    within = {"feature_extractor": settings(do_normalize=False)}
    (tmp_path / "processor_config.json").write_text(json.dumps(within))
    for read in (read_checkpoint, check_encoder):
        with pytest.raises(UserError, match=said):
            read(str(tmp_path))
