"""Measures the speed of training with the real loader."""

import gc
import statistics
from collections.abc import Iterator
from typing import Any, Literal

import torch
from base_work import forward_work

from gpu_parts.machine import ROW_SECONDS, Figures, Machine, rate
from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.objectives.base import Objective
from nonverbal.objectives.contrastive import Wav2Vec2Settings
from nonverbal.stages.pretraining import PretrainConfig, build
from nonverbal.training.cost.estimate import audio_of
from nonverbal.training.cost.timing import measure
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.settings import TrainerSettings

STEP_SECONDS = 700.0
"""Seconds of audio in a step of wav2vec 2.0 base, as in ``recipes/pretrain/voc2vec.yaml``."""


def run_of(
    here: Machine, family: Literal["wav2vec2", "ssam"], batch_seconds: float, per_step: int, workers: int | None = None
) -> tuple[Objective, ShardData, TrainerSettings]:
    """Return the trainer's objective, data and settings."""
    if family == "ssam":
        rows = 4 if here.smoke else 128
        # As in recipes/pretrain/ssam_tiny.yaml.
        batches = BatchSettings(ROW_SECONDS * rows, batch_rows=rows, batches_per_step=per_step, short="tile", fit="pad")
    else:
        batches = BatchSettings(max(batch_seconds, ROW_SECONDS), batches_per_step=per_step)
    count = here.workers if workers is None else workers
    optimizer = OptimizerSettings(lr=1e-5)
    shape: dict[str, Any] = {"wav2vec2": Wav2Vec2Settings(architecture=here.base())} if family == "wav2vec2" else {}
    settings = PretrainConfig(
        data=[here.shards().folder],
        out=here.out / "run",
        family=family,
        **shape,
        batches=batches,
        trainer=TrainerSettings(steps=10**6, precision="bf16", workers=count, optimizer=optimizer),
    )
    objective, data = build(settings)
    return objective, data, settings.trainer


def base(here: Machine) -> Iterator[Figures]:
    """Train wav2vec 2.0 base on 700 s of audio per step, in micro-batches of three sizes."""
    peak = rate(here, torch.bfloat16)
    for batch_seconds in (10.0,) if here.smoke else (87.5, 350.0, 700.0):
        per_step = 2 if here.smoke else round(STEP_SECONDS / batch_seconds)
        yield {f"{batch_seconds:g}": trained(here, "wav2vec2", batch_seconds, per_step, peak=peak)}


def workers(here: Machine) -> Iterator[Figures]:
    """Train the same with few processes that read ahead."""
    for count in (1,) if here.smoke else (1, 4):
        yield {str(count): trained(here, "wav2vec2", 10.0 if here.smoke else 87.5, 2 if here.smoke else 8, count)}


def ssam(here: Machine) -> Iterator[Figures]:
    """Train SSAM tiny on 1024 clips of up to 10 s per step."""
    yield trained(here, "ssam", 0.0, 1 if here.smoke else 8)


def trained(
    here: Machine,
    family: Literal["wav2vec2", "ssam"],
    batch_seconds: float,
    per_step: int,
    count: int | None = None,
    peak: float | None = None,
) -> Figures:
    """Train for some seconds. Returns seconds per step, audio per second, waiting, FLOP use and memory."""
    gc.collect()
    if here.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    objective, data, settings = run_of(here, family, batch_seconds, per_step, count)
    try:
        measured = measure(objective, data, settings, 0, 2.0 if here.smoke else 14.0)
    except torch.OutOfMemoryError as error:
        return {"failed": str(error)[:200]}
    audio = audio_of(data.table, data.validation_table, data.settings, 0, 1).seconds_per_update
    # Of the later half, because new shapes take longer.
    seconds = statistics.median(measured.seconds[len(measured.seconds) // 2 :])
    figures: Figures = {
        "seconds_a_step": seconds,
        "steps": len(measured.seconds),
        "fastest_and_slowest": [min(measured.seconds), max(measured.seconds)],
        "audio_a_step": audio,
        "audio_per_second": audio / seconds,
        "waiting": measured.waiting,
        "memory": measured.memory,
        "workers": settings.workers,
    }
    if peak is not None and not here.smoke:
        figures["flop_use"] = flops_a_second_of_audio() * audio / seconds / 1e12 / peak
    return figures


def flops_a_second_of_audio(row_seconds: float = 6.0) -> float:
    """Return the operations of forward and backward of wav2vec 2.0 base per second of audio, matrix products alone."""
    # The backward pass has two products for each one of the forward pass.
    return 3 * sum(forward_work(round(row_seconds * SAMPLE_RATE))) / row_seconds
