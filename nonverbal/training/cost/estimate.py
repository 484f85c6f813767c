"""Estimates a whole run from a minute of training: hours, memory, disk, and passes over the data."""

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from nonverbal.data.batching.epochs import (
    BatchSettings,
    ClipTable,
    corpus_weights,
    share,
    training_epoch,
    validation_epoch,
)
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective
from nonverbal.training.communication import Communication, communication
from nonverbal.training.cost.timing import Measured
from nonverbal.training.optimizer import build_optimizer
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.zero import check_zero

MANY_PASSES = 3000
"""Number of passes over the data above which a warning is given; wav2vec 2.0 base makes 650 over LibriSpeech."""

MUCH_COMMUNICATION = 0.2
"""Share of communication in the time of an update above which a warning is given."""

VALIDATION_COST = 1 / 3
"""Time of a forward pass, as a share of the time of an update on the same audio."""


@dataclass(frozen=True)
class Shares:
    """How the micro-batches of an update are distributed over GPUs."""

    micro_batches: int
    gpus: int

    @property
    def rounds(self) -> int:
        """Number of micro-batches of the busiest GPU in an update."""
        return math.ceil(self.micro_batches / self.gpus)

    @property
    def idle_in_last_round(self) -> int:
        """Number of GPUs without a micro-batch in the last round."""
        return self.rounds * self.gpus - self.micro_batches

    @property
    def time(self) -> float:
        """Time of an update, as a share of its time on one GPU."""
        return self.rounds / self.micro_batches


@dataclass(frozen=True)
class CorpusPasses:
    """How often a run uses a corpus."""

    corpus: str
    clips: int
    hours: float
    """Hours of its training clips."""
    passes: float
    """How often each clip is drawn: number of epochs times the weight of the corpus."""
    heard_hours: float
    """Hours of distinct audio that the model receives in the whole run, which excludes what is cropped away."""


@dataclass(frozen=True)
class Audio:
    """How a run uses the data."""

    seconds_per_update: float
    """Seconds of distinct audio, without padding and repetition."""
    hours: float
    """Hours of the same in the whole run."""
    passes: float
    """Number of epochs."""
    corpora: list[CorpusPasses]
    cropped: float
    repeated: float
    padded: float
    """As in ``nonverbal.data.batching.epochs.Share``."""
    validation_seconds: float
    """Seconds of audio in a validation pass."""


@dataclass(frozen=True)
class Estimate:
    """The cost of a run."""

    updates: int
    gpus: int
    shares: Shares
    communication: Communication | None
    """Communication of an update; None on one device, or if it is not counted."""
    seconds_per_update: float
    """Seconds on ``gpus`` devices, including ``communication``."""
    training_hours: float
    validation_hours: float
    checkpoint_count: int
    """Largest number of checkpoints on the disk at a time: the last ones, the best, and one that is being written."""
    disk_bytes: int

    @property
    def communication_share(self) -> float:
        """Share of communication in the time of an update."""
        return 0.0 if self.communication is None else self.communication.seconds / self.seconds_per_update

    @property
    def hours(self) -> float:
        """Hours of training and validation, without the time to start and to write checkpoints."""
        return self.training_hours + self.validation_hours

    @property
    def gpu_hours(self) -> float:
        """Hours summed over devices."""
        return self.gpus * self.hours


def estimate(
    measured: Measured,
    audio: Audio,
    settings: TrainerSettings,
    micro_batches: int,
    gpus: int,
    gigabits: float | None = None,
) -> Estimate:
    """Return the cost of a run with ``settings`` on ``gpus`` devices like the measured one.

    ``gigabits`` is the bandwidth of the slowest link between two of them, in Gb/s; if it is None, communication is
    assumed to take no time.
    """
    shares = Shares(micro_batches, gpus)
    computing = statistics.fmean(measured.seconds) * shares.time
    sent = None
    if gigabits is not None:
        sent = communication(measured.parameters, settings.zero, gpus, shares.rounds, gigabits)
    seconds = computing + (sent.seconds if sent is not None else 0.0)
    validations = math.ceil(settings.last / settings.validate_every)
    per_validation = computing * VALIDATION_COST * audio.validation_seconds / audio.seconds_per_update
    count = settings.keep_checkpoints + 2
    return Estimate(
        updates=settings.last,
        gpus=gpus,
        shares=shares,
        communication=sent,
        seconds_per_update=seconds,
        training_hours=settings.last * seconds / 3600,
        validation_hours=validations * per_validation / 3600,
        checkpoint_count=count,
        # For a moment, a new encoder and the old one are both on the disk.
        disk_bytes=count * measured.checkpoint_bytes + 2 * measured.encoder_bytes,
    )


def audio_of(table: ClipTable, validation: ClipTable, settings: BatchSettings, seed: int, updates: int) -> Audio:
    """Return how a run of ``updates`` uses the clips, from the plan of its first epoch."""
    batches = training_epoch(table, settings, seed, 0)
    done = share(batches, table)
    held_out = [batch for _, batch in validation_epoch(validation, settings, seed)]
    heard = heard_seconds(batches, table)
    epochs = updates * settings.batches_per_step / len(batches)
    return Audio(
        seconds_per_update=float(heard.sum()) / len(batches) * settings.batches_per_step,
        hours=epochs * float(heard.sum()) / 3600,
        passes=epochs,
        corpora=[
            _corpus_passes(number, table, epochs * float(weight), epochs * float(heard[number]))
            for number, weight in enumerate(corpus_weights(table, settings))
            if (table.corpus == number).any()
        ],
        cropped=done.cropped,
        repeated=done.repeated,
        padded=done.padded,
        validation_seconds=float(heard_seconds(held_out, validation).sum()),
    )


def _corpus_passes(number: int, table: ClipTable, passes: float, heard: float) -> CorpusPasses:
    samples = table.samples[table.corpus == number]
    hours = float(samples.sum()) / SAMPLE_RATE / 3600
    return CorpusPasses(table.corpora[number], len(samples), hours, passes, heard / 3600)


def heard_seconds(batches: Iterable[MicroBatch], table: ClipTable) -> np.ndarray:
    """Return the seconds of distinct audio in ``batches``, ``(corpora,)``. The clips of a row belong to one corpus."""
    heard = np.zeros(len(table.corpora))
    for batch in batches:
        for clips, length in zip(batch.clips, batch.lengths, strict=True):
            heard[table.corpus[clips[0]]] += min(int(table.samples[clips].sum()), int(length)) / SAMPLE_RATE
    return heard


def refusals(objective: Objective, settings: TrainerSettings, micro_batches: int, gpus: int) -> list[str]:
    """Return the errors with which `nonverbal pretrain` would refuse to start on ``gpus`` devices."""
    checks: list[Callable[[], object]] = [
        lambda: build_optimizer(objective, settings.steps, settings.optimizer),
        lambda: check_zero(settings.zero, gpus, micro_batches),
    ]
    errors = []
    if gpus > micro_batches:
        errors.append(
            f"{gpus - micro_batches} of {gpus} GPUs would have none of the {micro_batches} micro-batches of an update; "
            f"use at most {micro_batches}, or raise batches.batches_per_step and lower batches.batch_seconds"
        )
    for check in checks:
        try:
            check()
        except UserError as error:
            errors.append(str(error))
    return [f"nonverbal pretrain will refuse this: {text}" for text in errors]


def cautions(measured: Measured, audio: Audio, estimate: Estimate, settings: TrainerSettings) -> list[str]:
    """Return warnings about what is allowed, but probably not intended."""
    shares, steps, warmup = estimate.shares, settings.steps, settings.optimizer.warmup_steps
    most = max(audio.corpora, key=lambda corpus: corpus.passes)
    found = [
        (
            shares.rounds > 1 and shares.idle_in_last_round > 0,
            f"{shares.idle_in_last_round} of {shares.gpus} GPUs are idle in the last of {shares.rounds} rounds of an "
            f"update; make batches.batches_per_step a multiple of {shares.gpus}",
        ),
        (
            estimate.communication_share > MUCH_COMMUNICATION,
            f"up to {estimate.communication_share:.0%} of an update is communication; use fewer GPUs or a faster "
            "network, or raise batches.batch_seconds",
        ),
        (
            steps / 2 < warmup < steps,
            f"{warmup} of {steps} updates are warm-up, so the learning rate has little time to decay; lower "
            "trainer.optimizer.warmup_steps",
        ),
        (
            audio.passes < 1,
            f"the run ends before it has used every clip ({audio.passes:.2g} passes); raise trainer.steps",
        ),
        (
            most.passes > MANY_PASSES,
            f"each clip of {most.corpus} is drawn {most.passes:.0f} times, so the model may memorise it; lower "
            "trainer.steps or its weight, or add data",
        ),
        (
            settings.checkpoint_every >= steps and estimate.hours > 1,
            f"no checkpoint is written before the end; lower trainer.checkpoint_every ({settings.checkpoint_every})",
        ),
        (measured.waiting > 0.1, f"{measured.waiting:.0%} of the time is spent on waiting; raise trainer.workers"),
        (len(measured.seconds) < 5, f"only {len(measured.seconds)} updates were measured; raise --seconds"),
        (not measured.on_gpu, "the hours are for devices like this CPU; plan on the machine that will train"),
    ]
    return [text for holds, text in found if holds]
