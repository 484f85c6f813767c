"""What ``nonverbal encoders check`` finds, of encoders that are exact and of some that are not."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_encoders import SAVED, save_tiny

from evaluate.encoders import main
from nonverbal.errors import UserError
from nonverbal.evaluation import exactness
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.encoders.logmel import LogMel
from nonverbal.evaluation.exactness import EXACT, Exactness, check_exactness, difference, shortest_of


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the encoder anew in this process, which is quicker than another one."""
    monkeypatch.setattr(
        exactness, "_in_another_process", lambda name, seed, clips: exactness._embedded_anew(name, seed, clips)
    )


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", SAVED)
def test_every_kind_is_exact_by_our_path(kind: str, tmp_path: Path) -> None:
    found = check_exactness(str(save_tiny(kind, tmp_path / "encoder")))
    assert found.faults == []
    assert found.run == 0
    assert found.neighbours is not None
    assert found.neighbours <= EXACT
    assert found.padding is not None
    assert found.padding <= EXACT
    waveforms = kind not in ("whisper", "audio-spectrogram-transformer", "audio_mamba")
    assert (found.plain is not None) == waveforms
    if kind in ("wav2vec2 base", "hubert base", "wavlm base", "unispeech-sat base", "data2vec-audio"):
        # Group norm takes in the padding; data2vec's positions read it.
        assert found.plain is not None
        assert found.plain > 100 * EXACT
    if kind in ("wav2vec2 large", "hubert large", "wavlm large"):
        assert found.plain is not None
        assert found.plain <= EXACT
    expected = {"audio_mamba": 1, "whisper": 1}.get(kind, 400)
    assert found.shortest == expected == load_frame_encoder(str(tmp_path / "encoder")).shortest
    assert found.audio_per_second > 0
    assert found.memory > 10**7


def test_between_runs_means_between_processes(tmp_path: Path) -> None:
    """Where nothing was imported before, either: transformers knows this kind by what the loading imports alone."""
    found = check_exactness(str(save_tiny("audio_mamba", tmp_path / "encoder")))
    assert found.run <= EXACT


@pytest.mark.usefixtures("here")
def test_what_is_computed_without_weights_is_given_one_clip_at_a_time() -> None:
    found = check_exactness("logmel")
    assert (found.neighbours, found.padding, found.plain, found.run) == (None, None, None, 0)
    assert found.shortest == LogMel.shortest


@pytest.mark.usefixtures("here")
def test_an_audio_mamba_of_the_released_code_is_never_padded(tmp_path: Path) -> None:
    from nonverbal.models.audio_mamba import AudioMambaConfig, AudioMambaModel
    from nonverbal.models.ssam import save_extractor

    config = AudioMambaConfig(hidden_size=8, num_hidden_layers=2, state_size=4, padding="official")
    AudioMambaModel(config).save_pretrained(tmp_path / "encoder")
    save_extractor(tmp_path / "encoder")
    found = check_exactness(str(tmp_path / "encoder"))
    assert found.padding is None
    assert found.faults == []


@pytest.mark.usefixtures("here")
def test_one_that_is_not_exact_ends_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import contextlib

    from nonverbal.evaluation.encoders import padding

    folder = str(save_tiny("hubert base", tmp_path / "encoder"))
    main(["check", folder])
    assert "NOT EXACT" not in capsys.readouterr().out
    monkeypatch.setattr(padding, "each_row_alone", lambda *_: contextlib.nullcontext())
    with pytest.raises(SystemExit) as end:
        main(["check", folder])
    assert end.value.code == 2
    said = capsys.readouterr().out
    assert "NOT EXACT" in said
    assert "depends on: padding" in said
    assert "shortest clip: 400 samples (25 ms)" in said


def test_nan_and_any_difference_of_a_silent_layer_count() -> None:
    one = np.array([[[1.0, -1.0], [0.0, 0.0]]])
    assert difference(one, one) == 0
    assert difference(one, one + np.array([[0.5, 0], [0, 0]])) == 0.5
    assert difference(one, one + np.array([[0, 0], [1e-9, 0]])) == np.inf
    found = Exactness("x", "layer", 1, float("nan"), 2e-5, None, 1.0, 1.0, 1)
    assert found.faults == ["run", "neighbours"]


@pytest.mark.usefixtures("here")
def test_a_small_value_beside_large_ones_is_measured_by_its_own_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = np.array([[[1e6, 1e-3]], [[-1e6, 1e-3]]])
    other = one + np.array([0, 1e-4])
    assert difference(one, other) <= EXACT
    assert difference(one, other, "value") == pytest.approx(0.1)
    heard, calls = LogMel.frames, iter(range(10**6))

    def drifting(self: LogMel, waveform: np.ndarray) -> np.ndarray:
        frames = 1e6 + heard(self, waveform)
        frames[..., 0] = 1 + 1e-3 * next(calls)
        return frames

    monkeypatch.setattr(LogMel, "frames", drifting)
    with pytest.raises(SystemExit):
        main(["check", "logmel"])
    assert "over the RMS of each value" in capsys.readouterr().out


def test_the_shortest_clip_is_found_by_trying() -> None:
    def frames(waveform: np.ndarray) -> np.ndarray:
        if len(waveform) < 777:
            raise UserError("too short")
        return np.zeros((1, 1, 1))

    assert shortest_of(SimpleNamespace(frames=frames)) == 777  # type: ignore[arg-type]
