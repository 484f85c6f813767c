"""Each paper's study from folders to its page: corpora of noise in their real layouts, tiny random encoders.

What is cut is said here: epochs, steps, folds, and which models meet which corpora; no command and no kind of step is.
"""

import os
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml
from crowds import write_crowd
from tiny_encoders import save_tiny

from nonverbal.evaluation.paper_tables import paper_tables
from nonverbal.evaluation.studies import StudyRecord, read_study
from nonverbal.report.collect import collect
from nonverbal.stages.studying.settings import read_study_recipe

ROOT = Path(__file__).parent.parent

TRAINER: dict[str, Any] = {"workers": 0, "precision": "fp32"}
TUNED = {
    "epochs": 1,
    "warmup_share": 0.1,
    "batches": {"batch_clips": 8, "batches_per_step": 1},
    "trainer": TRAINER,
}
STEPS = {
    "batches": {"batch_clips": 8, "batches_per_step": 1},
    "trainer": {**TRAINER, "steps": 2, "validate_every": 1, "checkpoint_every": 1},
}
HEARD = {
    "batches": {"batch_seconds": 8, "batches_per_step": 1, "max_seconds": 2, "min_seconds": 1},
    "trainer": {
        **TRAINER,
        "steps": 2,
        "validate_every": 2,
        "checkpoint_every": 2,
        "log_every": 1,
        "optimizer": {"warmup_steps": 1},
    },
}
SHAPE = {"hidden_size": 16, "layers": 2, "heads": 2, "ffn_size": 32, "conv_channels": 8, "codes": 4, "code_size": 8}
UNITS = {"clusters": 4, "fit_frames": 2000, "processes": 1}


def on(corpora: str | list[str], models: list[str] | None = None, **settings: Any) -> dict[str, Any]:
    return {"each": {"corpus": corpora} | ({"model": models} if models else {}), "with": settings}


VIVAE, BABIES = ["vivae"], ["asvp-esd-babies"]
CUT: dict[str, dict[str, dict[str, Any]]] = {
    "voc2vec": {
        "pretrain": {"with": {**HEARD, "wav2vec2": {"architecture": SHAPE}}},
        **{name: {"with": HEARD} for name in ("pretrain-as", "pretrain-ls", "pretrain-hubert-first")},
        "pretrain-hubert-ls": {"with": HEARD},
        "units-mfcc": {"with": UNITS},
        "units-layer6": {"with": {**UNITS, "layer": 2}},
        "finetune": on("score", ["voc2vec-ls"], **TUNED, folds=2),
        "finetune-here": on(VIVAE, ["here", "here-as", "here-ls", "here-hubert-ls"], **TUNED, folds=2),
        "features": on(VIVAE, ["opensmile"], head="mlp:epochs=1"),
        "finetune-nested": on(["cnvve", "vivae"], ["voc2vec-ls", "data2vec"], **TUNED),
        "finetune-nested-babies": on(BABIES, ["voc2vec-ls"], **TUNED),
        "finetune-nested-here": on(VIVAE, ["here-ls"], **TUNED),
        "finetune-nested-here-babies": on(BABIES, ["here-ls"], **TUNED),
        "features-nested": on(VIVAE, ["opensmile"], head="mlp:epochs=1"),
        "map": on(VIVAE, ["voc2vec-ls", "here-ls"]),
        "confusion": on(VIVAE, ["voc2vec-ls"]),
        "confusion-here": on(VIVAE),
    },
    "reno": {
        **{name: {"with": {"head": "{head}:epochs=1"}} for name in ("probe", "probe-nested")},
        "fuse": {"with": {"fusion": {"epochs": 1}}},
        "fuse-nested": on(VIVAE, encoders=["{source:A-T}", "{source:W}", "{source:H}"], fusion={"epochs": 1}),
        "confusion-nested": on(VIVAE),
        "map": on(VIVAE, ["A-T", "W"]),
    },
    "recovery": {
        "ser": {"with": STEPS},
        "asr-ser": on("score", ["ASR10", "ASR100"], **STEPS),
        "ser-nested": on(["iemocap"], **STEPS),
        "asr-ser-nested": on(["iemocap"], ["ASR10"], **STEPS),
        "embeddings-asr-ser": on("score", ["ASR10", "ASR100"]),
        "embeddings-nested": on(["iemocap"], ["PT"]),
    },
    "cross_lingual": {
        "probe": {
            "each": {"model": ["wav2vec2-base", "whisper-small"], "head": ["linear", "multilayer"]},
            "with": {"head": "{head}:epochs=1"},
        },
        "probe-nested": {
            "each": {"corpus": ["emodb"], "model": ["whisper-small"], "head": ["linear", "nonlinear"]},
            "with": {"head": "{head}:epochs=1"},
        },
        "ast": on(["emodb", "oreau"], **TUNED),
        "ast-nested": on(["emodb"], **TUNED),
    },
}

KINDS = {
    "voc2vec": {"hubert-ls": "hubert base", "voc2vec-hubert-ls": "hubert base", "data2vec": "data2vec-audio"},
    "reno": {
        **dict.fromkeys(("A-T", "A-S", "A-B"), "audio_mamba"),
        "W": "wavlm base",
        "U": "unispeech-sat base",
        "H": "hubert base",
    },
    "recovery": {},
    "cross_lingual": {
        "wav2vec2-large": "wav2vec2 large",
        "xls-r": "wav2vec2 large",
        **dict.fromkeys(("whisper-small-en", "whisper-small", "whisper-medium"), "whisper"),
        "AST": "audio-spectrogram-transformer",
    },
}
"""Of models that are not a wav2vec 2.0 base."""

EMPTY = ("wer", "for the HuBERT models that the authors added")
"""Titles of tables without a value here: noise has no words, and what is cut leaves these models out."""

COMPUTED = ("opensmile", "compare", "boaw")


@pytest.fixture(params=CUT)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, StudyRecord]:
    """A paper's study, run from its folders of sound to its page."""
    paper = request.param
    recipe = tmp_path / f"{paper}.yaml"
    recipe.write_text(yaml.safe_dump({"base": f"recipes/studies/{paper}.yaml", "steps": CUT[paper]}))
    study, _ = read_study_recipe(str(recipe))
    data = [f"{name}={write_crowd(tmp_path / 'corpora' / name, name)}" for name in study.corpora]
    models = []
    for name, model in study.models.items():
        if name not in (*COMPUTED, "emotion2vec") and "{step" not in (model.source or ""):
            folder = save_tiny(KINDS[paper].get(name, "wav2vec2 base"), tmp_path / "checkpoints" / name)
            models.append(f"{name}={'initialised:' if name == 'AST' else ''}{folder}")
    command = [sys.executable, "-m", "nonverbal", "study", str(recipe), "--out", "study"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, "--data", *data, "--models", *models], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    return tmp_path / "study", read_study(tmp_path / "study" / "study.json")


@pytest.mark.processes
@pytest.mark.slow
def test_a_papers_study_goes_from_folders_to_its_tables(
    made: tuple[Path, StudyRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, record = made
    monkeypatch.chdir(folder.parent)
    assert {step.status for step in record.steps} == {"done"}
    assert [model.name for model in record.models if not model.present] in ([], ["emotion2vec"])
    tables = paper_tables(record, folder)
    assert [table.name for table in tables] == list(record.tables)
    for table in tables:
        for part in table.tables:
            own = [place for place, name in enumerate(part.columns) if place >= part.texts and "printed" not in name]
            assert own, part.title
            filled = {row[place] for row in part.rows for place in own} - {"-"}
            assert filled or any(words in part.title for words in EMPTY), part.title
    page = collect([folder], "", "")
    (study,) = page.studies
    assert [figure.name for figure in study.figures] == list(record.figures)
    assert all(figure.links and not figure.missing for figure in study.figures)
    text = unescape((folder / "report.html").read_text())
    assert all(table.caption in text for table in tables)
