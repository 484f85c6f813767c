"""Fine-tuning on texts in folds, by the program, and then on classes from what it has trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from labelled_tones import labelled_shards, tones  # noqa: F401
from made_shards import with_clips
from transformers import pipeline
from tuned_runs import QUICK, score_rows, tiny_encoder

from finetune.train import main
from nonverbal.config import load
from nonverbal.data.transcripts import edits
from nonverbal.errors import UserError
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.tasks.measurements import read_text_measurements

WORDS = {"high": "Hi, hi!", "low": "Lo."}


def arguments(shards, init, out, **settings):
    pairs = {"task": "ctc", "data": shards, "init": init, "out": out, **QUICK, **settings}
    return [f"--{key}={value}" for key, value in pairs.items() if key != "head.projection"]


@pytest.fixture
def shards(labelled_shards):  # noqa: F811
    """Clips of .375 s, 18 frames; the last has no label, and no text."""
    made = labelled_shards(tones(speakers=4, takes=1))
    clips = [replace(clip, text=WORDS.get(str(clip.label))) for clip in made.clips()]
    return with_clips(made, clips).folder


def test_texts_are_learned_in_folds_and_written_by_the_model_to_use(shards, tmp_path, capsys):
    encoder, out = tiny_encoder(tmp_path / "encoder"), tmp_path / "run"
    main([*arguments(shards, encoder, out, epochs=1, folds=2), "--final"])
    said = capsys.readouterr().out
    assert "made: texts, speaker-disjoint 2-fold, not refitted" in said
    assert "note: 1 of 9 clips have no text with words, and are left out; the first is made/8.wav" in said
    rows = score_rows(out)
    assert [(row["fold"], row["classes"], row["test_classes"]) for row in rows] == [("0", [], 0), ("1", [], 0)]
    (read,) = read_text_measurements([out])
    texts = read.transcriptions
    assert sorted(texts.texts) == ["HI HI"] * 4 + ["LO"] * 4
    for row in rows:
        own = [place for place, fold in enumerate(texts.folds) if fold == row["fold"]]
        found = edits([texts.texts[place] for place in own], [texts.predicted[place] for place in own])
        assert row["metrics"] == found.rates
        assert (row["details"]["words"], row["details"]["characters"]) == (6, 14)
    (metrics,) = out.glob("seed-0/fold-0/metrics.jsonl")
    validated = [row for row in map(json.loads, metrics.read_text().splitlines()) if row["kind"] == "validation"]
    assert {"loss", "wer", "cer", "blank"} <= validated[0].keys()
    tone = 0.2 * np.sin(np.arange(6000) / 5)
    soundfile.write(tmp_path / "tone.wav", tone, 16_000)
    recognise = pipeline("automatic-speech-recognition", model=str(out / "model"))
    assert set(recognise(tone.astype(np.float32))["text"]) <= set("HILO ")
    assert json.loads((out / "model" / "vocab.json").read_text())["|"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"batches.max_seconds": 0.3},
            "8 of 8 clips are longer than the limit of 0.3 s, .* raise batches.max_seconds to 1",
        ),
        ({"augmentation.speed": "[1.0,4.0]"}, "4 of 8 clips are too short for their texts.* with 4 frames"),
        ({"labels": "[high]"}, "labels apply only to tasks with classes"),
        ({"head.dropout": 0.1}, "head.dropout is set, .* because the task is ctc; .* or choose --task classes"),
        ({"task": "classes", "ctc.dropout": 0.2}, "ctc.dropout is set, .* because the task is classes; .* --task ctc"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_training(shards, tmp_path, settings, message):
    encoder = tiny_encoder(tmp_path / "encoder")
    with pytest.raises(UserError, match=message):
        main(arguments(shards, encoder, tmp_path / "run", folds=2, **settings))
    assert not list((tmp_path / "run").glob("seed-*"))


def test_recipes_resolve():
    def read(name):
        argv = [f"recipes/finetune/{name}.yaml", "--data", "shards", "--out", "run", "--init", "x"]
        return load(FinetuneConfig, argv, "finetune", "")

    ctc, ser, asr = read("ctc"), read("ser"), read("asr_ser")
    assert (ctc.task, ctc.ctc.head_steps, ctc.trainer.optimizer.lr) == ("ctc", 100, 5e-5)
    assert (ser.batches.batch_clips, ser.batches.batches_per_step) == (32, 8), "4 clips x 8"
    assert (ser.seeds, ser.trainer.optimizer.lr, ser.encoder.train) == ([1337], 1e-5, "no_convolutions")
    assert ser.resolved().folds == "leave-one-out"
    assert ser.resolved().group == "session"
    assert replace(asr, name=ser.name) == ser
    argv = ["recipes/finetune/asr_ser.yaml", "--data", "shards", "--out", "run"]
    assert load(FinetuneConfig, argv, "finetune", "").init == "facebook/wav2vec2-base-100h"
