"""The page of the final model: its classes, the scores of the folds, and the effect of padding in transformers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonverbal.batch import Batch, Targets
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.evaluation.results import ModelResult
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.objectives.opening_classifiers import open_classifier
from nonverbal.seeding import Stream, generator
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.tasks.task import Task
from nonverbal.text import one_line

CLIPS = 32
"""Number of clips to compare, chosen from those of the task."""

ROWS = 8
"""Number of clips in transformers' padded batches."""

FRONT = """\
---
library_name: transformers
pipeline_tag: audio-classification
tags:
- audio-classification
- nonverbal
---
"""
"""The metadata of the page for the Hub."""

USE = """\
```python
from transformers import pipeline

classify = pipeline("audio-classification", model="FOLDER")
classify("sound.wav")
```
"""


@dataclass(frozen=True)
class Compared:
    """The largest difference between our probabilities and those of transformers for the same clips."""

    clips: int
    alone: float
    """With one clip at a time."""
    padded: float
    """With batches of ``ROWS`` clips, padded to the longest by its feature extractor."""
    decisions: int
    """Number of clips that get another class in padded batches."""


def compared(folder: Path, waveforms: Sequence[np.ndarray]) -> Compared:
    """Compare our predictions of a model with those of transformers, for clips alone and in padded batches.

    Args:
        folder: of the model, in Hugging Face format.
        waveforms: ``(T,)`` float32 in [-1, 1], 16 kHz, at least one.
    """
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    ours = _ours(folder, waveforms)
    with quiet():
        model = AutoModelForAudioClassification.from_pretrained(folder).eval()
        extractor = AutoFeatureExtractor.from_pretrained(folder)

    def theirs(rows: int) -> Tensor:
        batches = [waveforms[start : start + rows] for start in range(0, len(waveforms), rows)]
        return torch.cat([_theirs(model, extractor, batch) for batch in batches])

    alone, padded = theirs(1), theirs(ROWS)
    decisions = int((padded.argmax(1) != ours.argmax(1)).sum())
    return Compared(len(waveforms), float((alone - ours).abs().max()), float((padded - ours).abs().max()), decisions)


def _ours(folder: Path, waveforms: Sequence[np.ndarray]) -> Tensor:
    """Return probabilities ``(clips, classes)``, computed for each clip alone."""
    classifier, found = open_classifier(str(folder)), []
    for waveform in waveforms:
        one = torch.zeros(1, dtype=torch.int64)
        batch = Batch(
            waveforms=torch.from_numpy(waveform)[None],
            lengths=torch.tensor([len(waveform)]),
            ids=[""],
            targets=Targets(1, {"clip": one, "places": one}),
            seed=0,
            step=0,
            position=0,
            padded=False,
        )
        with torch.inference_mode():
            found.append(classifier.logits(batch).softmax(-1))
    return torch.cat(found)


def _theirs(model: Any, extractor: Any, waveforms: Sequence[np.ndarray]) -> Tensor:
    inputs = extractor(list(waveforms), sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits: Tensor = model(**inputs).logits
    return logits.softmax(-1)


def clips_of(task: Task, max_seconds: float) -> list[np.ndarray]:
    """Return the beginnings of some clips of a task, ``(T,)`` float32, of different lengths if the task has such."""
    chosen = generator(0, Stream.RESAMPLE).permutation(len(task.rows))[:CLIPS]
    longest = int(max_seconds * SAMPLE_RATE)
    return [
        np.concatenate([task.shards.read(part) for part in parts.tolist()])[:longest]
        for parts in task.shards.parts(task.rows[np.sort(chosen)])
    ]


def write_page(folder: Path, task: Task, settings: FinetuneConfig, epochs: float, result: ModelResult) -> None:
    """Write the model's ``README.md``.

    Args:
        folder: of the model.
        task: that the model was trained on.
        settings: of the training.
        epochs: length of the training.
        result: scores of the models of the folds.
    """
    found = compared(folder, clips_of(task, settings.batches.max_seconds))
    (folder / "README.md").write_text(page(task, settings, epochs, result, found), encoding="utf-8")


def page(task: Task, settings: FinetuneConfig, epochs: float, result: ModelResult, found: Compared) -> str:
    """Return the text of the page."""
    classes = ", ".join(f"`{one_line(name)}`" for name in task.classes)
    return f"""{FRONT}
# A classifier of vocal sounds

It distinguishes {len(task.classes)} classes: {classes}. It assigns one of them to every sound, even if none fits.

It is `{one_line(Path(str(settings.init)).name)}`, fine-tuned on {len(task.clips)} clips of {one_line(task.corpus)} for
{epochs:g} epochs, the median of the numbers that the folds chose.

{USE}
{_how_good(task, result)}
{_padding(found)}
The model was trained on stretches of at most {settings.batches.max_seconds:g} s.
"""


def _how_good(task: Task, result: ModelResult) -> str:
    uar = result.pooled["uar"]
    interval = "" if uar.low is None or uar.high is None else f" [{uar.low:.3f}, {uar.high:.3f}]"
    return f"""## Performance

This model was trained on all clips, so none are left to test it on. The models of the folds were trained in the same
way on parts of the clips: UAR {uar.value:.3f}{interval} over {result.folds} folds ({task.protocol}). Possible
leakage between training and test: {"; ".join(task.division.lets_through)}.
"""


def _padding(found: Compared) -> str:
    return f"""## Padding

For {found.clips} clips, one at a time, the probabilities of transformers differ from those of `nonverbal predict` by at
most {found.alone:.1e}. In batches of {ROWS}, padded to the longest clip by its feature extractor, they differ by up to
{found.padded:.1e}, and {found.decisions} of {found.clips} clips get another class. `nonverbal predict` computes each
file as if it were alone.
"""
