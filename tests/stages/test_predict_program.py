"""``nonverbal predict``: as plain transformers says of each file alone; windows with times; files that are damaged."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from finetuned_runs import save_classifier
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from finetune.predict import PredictConfig, main
from nonverbal.batch import Batch, Targets
from nonverbal.data.batching.clip_rows import RowLimits
from nonverbal.data.batching.clips import ClipBatches
from nonverbal.errors import UserError
from nonverbal.objectives.opening_classifiers import open_classifier
from nonverbal.stages.predict_files import Predictor, Spans
from nonverbal.stages.predicting import clip_probabilities, read_limits, write_limits

CLASSES = ["cough", "=laugh", "sigh"]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (3000 * np.random.default_rng(seed).standard_normal(samples)).astype(np.int16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("model") / "model", 3, CLASSES)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for number, samples in enumerate((5000, 8000, 5300)):
        soundfile.write(folder / f"{number}.wav", noise(samples, number), 16_000, subtype="PCM_16")
    return folder


def by_transformers(model: Path, samples: np.ndarray) -> np.ndarray:
    """A plain loop: one file at a time, and no code of ours."""
    extractor = AutoFeatureExtractor.from_pretrained(model)
    inputs = extractor(samples / np.float32(32768), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForAudioClassification.from_pretrained(model).eval()(**inputs).logits
    return logits[0].double().softmax(-1).numpy()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_files_are_told_as_plain_transformers_tells_them(
    model: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out/said.jsonl"
    main([str(model), str(sounds), "--out", str(out), "--processes=1"])
    rows = read(out)
    assert [row["file"] for row in rows] == [f"{sounds}/{number}.wav" for number in range(3)]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 0.3125), (0, 0.5), (0, 0.33125)]
    for number, row in enumerate(rows):
        expected = by_transformers(model, soundfile.read(sounds / f"{number}.wav", dtype="int16")[0])
        assert list(row["probabilities"]) == CLASSES
        assert list(row["probabilities"].values()) == pytest.approx(expected, abs=1e-5)
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-12)
        assert row["predicted"] == CLASSES[expected.argmax()]
        assert row["problem"] is None
    assert f"predictions: {out} (3 rows of 3 files)" in capsys.readouterr().out
    again, table = tmp_path / "again.jsonl", tmp_path / "said.csv"
    main([str(model), *(str(sounds / f"{number}.wav") for number in (0, 1, 2)), f"--out={again}", "--processes=1"])
    assert read(again) == rows
    main([str(model), str(sounds), f"--out={table}", "--processes=1"])
    with open(table, newline="") as file:
        cells = list(csv.DictReader(file))
    assert list(cells[0])[-3:] == [f"probabilities.{name}" for name in CLASSES]
    for cell, row in zip(cells, rows, strict=True):
        assert cell["predicted"] == row["predicted"].replace("=", "'=")
        assert {name: float(cell[f"probabilities.{name}"]) for name in CLASSES} == row["probabilities"]


def test_a_file_that_cannot_be_read_has_a_row_with_the_reason(
    model: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sounds / "1.wav").write_bytes((sounds / "1.wav").read_bytes()[:9000])
    (sounds / "a, b.wav").write_bytes(b"")
    out = tmp_path / "said.csv"
    main([str(model), str(sounds), f"--out={out}", "--processes=2"])
    with open(out, newline="") as file:
        cells = list(csv.DictReader(file))
    assert [Path(cell["file"]).name for cell in cells] == ["0.wav", "1.wav", "2.wav", "a, b.wav"]
    assert [cell["problem"].split(":")[0] for cell in cells] == ["", "truncated", "", "unreadable"]
    assert {cells[1][name] for name in ("start", "end", "predicted", "probabilities.sigh")} == {""}
    assert "2 of 4 files cannot be read" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"no file could be read; .*one\.jsonl gives the reason for each"):
        main([str(model), str(sounds / "a, b.wav"), f"--out={tmp_path / 'one.jsonl'}", "--processes=1"])
    (row,) = read(tmp_path / "one.jsonl")
    assert row["problem"] == "unreadable: the file has no bytes"
    assert row["probabilities"] == {}


def test_windows_have_times_and_are_told_as_files_of_their_own(model: Path, sounds: Path, tmp_path: Path) -> None:
    out = tmp_path / "said.jsonl"
    main([str(model), str(sounds), f"--out={out}", "--window=0.2", "--hop=.1", "--processes=1"])
    rows = [row for row in read(out) if row["file"].endswith("1.wav")]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 0.2), (0.1, 0.3), (0.2, 0.4), (0.3, 0.5)]
    samples = soundfile.read(sounds / "1.wav", dtype="int16")[0]
    for row in rows:
        own = samples[round(16_000 * row["start"]) : round(16_000 * row["end"])]
        assert list(row["probabilities"].values()) == pytest.approx(by_transformers(model, own), abs=1e-5)


def test_the_last_window_ends_with_the_recording() -> None:
    assert Spans(10, 5).of(10) == [slice(0, 10)]
    assert Spans(10, 5).of(4) == [slice(0, 4)]
    assert Spans(10, 5).of(11) == [slice(0, 10), slice(1, 11)]
    assert Spans(10, 5).of(20) == [slice(0, 10), slice(5, 15), slice(10, 20)]
    assert Spans(10, 10).of(21) == [slice(0, 10), slice(10, 20), slice(11, 21)]
    for samples in range(1, 60):
        spans = Spans(10, 7).of(samples)
        assert sorted({place for span in spans for place in range(span.start, span.stop)}) == list(range(samples))


def test_what_is_longer_than_a_window_at_once_is_averaged_as_the_test_of_a_fold_does(model: Path) -> None:
    classifier, samples = open_classifier(str(model)), noise(8000)
    (said,) = Predictor(classifier, RowLimits(400, 3000), None)([samples])
    lengths = torch.tensor([2667, 2667, 2666])
    rows = [torch.from_numpy(samples[:2667]), torch.from_numpy(samples[2667:5334]), torch.from_numpy(samples[5334:])]
    waveforms = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    tensors = {"clip": torch.zeros(3, dtype=torch.int64), "places": torch.zeros(1, dtype=torch.int64)}
    batch = Batch(waveforms, lengths, [], Targets(1, tensors), 0, 0, 0, padded=True)
    assert [(one.start, one.end) for one in said] == [(0, 0.5)]
    assert said[0].probabilities == pytest.approx(clip_probabilities(classifier, [batch])[1][0], abs=1e-6)


def test_batches_say_what_each_file_alone_says(model: Path) -> None:
    """As on a GPU; what is too short for a frame is filled with zeros."""
    alone = Predictor(open_classifier(str(model)), RowLimits(400, 4000), Spans(3000, 1500))
    together = Predictor(alone.classifier, RowLimits(400, 4000), Spans(3000, 1500))
    together.batch_seconds = 1.0
    recordings = [noise(samples, samples) for samples in (100, 5000, 2900, 9000, 400)]
    for first, second in zip(alone(recordings), together(recordings), strict=True):
        assert [(one.start, one.end) for one in first] == [(one.start, one.end) for one in second]
        for one, other in zip(first, second, strict=True):
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    filled = np.zeros(400, dtype=np.int16)
    filled[:100] = recordings[0]
    np.testing.assert_array_equal(alone([recordings[0]])[0][0].probabilities, alone([filled])[0][0].probabilities)


def test_a_classifier_is_shown_clips_as_it_was_in_training(tmp_path: Path) -> None:
    assert read_limits(tmp_path).max_seconds == 10
    write_limits(tmp_path, ClipBatches(max_seconds=4.0, pad_to=7.0, batch_clips=3))
    assert read_limits(tmp_path) == ClipBatches(max_seconds=4.0, pad_to=7.0)
    assert read_limits(tmp_path).limits(400, 30.0).shortest == 7 * 16_000
    (tmp_path / "clips.json").write_text('{"max_seconds": "long", "pad_to": null}')
    with pytest.raises(UserError, match=r"clips\.json should give max_seconds and pad_to, but cannot"):
        read_limits(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out=said.xlsx"], r"--out must end in \.csv or \.jsonl"),
        (["--out=said.csv", "--hop=1"], "would skip sound between windows; leave it out, or give --window too"),
        (["--out=said.csv", "--hop=2", "--window=1"], "--hop is 2 s, .* lower it to 1"),
        (["--out=said.csv", "--hop=0", "--window=1"], "--hop must be a number of seconds above 0, but is 0"),
        (["--out=said.csv", "--window=-1"], "--window must be a number of seconds above 0"),
        (["--out=said.csv", "--window=.inf"], "--window must be a number of seconds above 0"),
        (["--out=said.csv", "--processes=0"], "--processes must be at least 1"),
    ],
)
def test_settings_without_a_meaning_are_refused(arguments: list[str], said: str, model: Path) -> None:
    with pytest.raises(UserError, match=said):
        main([str(model), "sounds", *arguments])


def test_models_that_tell_no_classes_are_refused(model: Path, sounds: Path, tmp_path: Path) -> None:
    from tiny_encoders import save_tiny

    out = f"--out={tmp_path / 'said.csv'}"
    encoder = save_tiny("wav2vec2 base", tmp_path / "encoder")
    with pytest.raises(UserError, match="is not a classifier, because it has no .*nonverbal finetune"):
        main([str(encoder), str(sounds), out])
    run = tmp_path / "run"
    run.mkdir()
    (run / "folds.json").write_text("{}")
    with pytest.raises(
        UserError, match="has no model trained on all clips: run its nonverbal finetune again with --final"
    ):
        main([str(run), str(sounds), out])
    (run / "model").symlink_to(model)
    main([str(run), str(sounds / "0.wav"), out, "--processes=1"])
    with pytest.raises(UserError, match="there is no file or folder .*/soundz; did you mean"):
        main([str(model), f"{sounds.parent}/soundz", out])


def test_names_of_files_may_hold_commas(tmp_path: Path) -> None:
    from finetune.predict import with_model
    from nonverbal import config

    argv = ["runs/x", "a, b.wav", "ü[1].wav", "--out", "said.csv"]
    settings = config.load(PredictConfig, with_model(argv), prog="nonverbal predict", description="")
    assert settings.files == [Path("a, b.wav"), Path("ü[1].wav")]
