"""From a minute of training to what a whole run takes: hours, memory, disk, and how often it hears the data."""

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
from nonverbal.training.strategy import check_zero

MANY_PASSES = 3000
"""Passes over the data above which a warning is due; wav2vec 2.0 base makes 650 over LibriSpeech."""

MUCH_COMMUNICATION = 0.2
"""Share of an update that goes to communication above which a warning is due."""

VALIDATION_COST = 1 / 3
"""A forward pass alone, as a share of an update's time for the same audio."""


@dataclass(frozen=True)
class Shares:
    """How the micro-batches of an update share out."""

    micro_batches: int
    gpus: int

    @property
    def rounds(self) -> int:
        """Micro-batches that the busiest GPU takes in an update."""
        return math.ceil(self.micro_batches / self.gpus)

    @property
    def idle_in_last_round(self) -> int:
        """GPUs without a micro-batch in the last round."""
        return self.rounds * self.gpus - self.micro_batches

    @property
    def time(self) -> float:
        """Time of an update, as a share of that on one GPU."""
        return self.rounds / self.micro_batches


@dataclass(frozen=True)
class CorpusPasses:
    """How often a run hears a corpus."""

    corpus: str
    clips: int
    hours: float
    """Of its training clips."""
    passes: float
    """How often each clip is drawn: the epochs of the run times the corpus's weight."""
    heard_hours: float
    """Distinct audio that goes through the model, over the whole run: what is cropped away is not heard."""


@dataclass(frozen=True)
class Audio:
    """What a run does with the data."""

    seconds_per_update: float
    """Distinct audio: neither padding nor repetition."""
    hours: float
    """The same, over the whole run."""
    passes: float
    """Epochs."""
    corpora: list[CorpusPasses]
    cropped: float
    repeated: float
    padded: float
    """As in ``nonverbal.data.batching.epochs.Share``."""
    validation_seconds: float
    """Audio of a validation pass."""


@dataclass(frozen=True)
class Estimate:
    """What a run costs."""

    updates: int
    gpus: int
    shares: Shares
    communication: Communication | None
    """Of an update; None: on one device, or not counted."""
    seconds_per_update: float
    """On ``gpus`` devices, ``communication`` included."""
    training_hours: float
    validation_hours: float
    checkpoint_count: int
    """The most that lie on the disk at one time: the last ones, the best, and one that is being written."""
    disk_bytes: int

    @property
    def communication_share(self) -> float:
        """Share of an update that goes to communication."""
        return 0.0 if self.communication is None else self.communication.seconds / self.seconds_per_update

    @property
    def hours(self) -> float:
        """Of training and validation; neither start-up nor writing of checkpoints."""
        return self.training_hours + self.validation_hours

    @property
    def gpu_hours(self) -> float:
        """The hours of all devices."""
        return self.gpus * self.hours


def estimate(
    measured: Measured,
    audio: Audio,
    settings: TrainerSettings,
    micro_batches: int,
    gpus: int,
    gigabits: float | None = None,
) -> Estimate:
    """Return what a run of ``settings`` costs on ``gpus`` devices like the one measured.

    Where ``gigabits`` a second of the slowest link between two of them is None, communication takes no time.
    """
    shares = Shares(micro_batches, gpus)
    computing = statistics.fmean(measured.seconds) * shares.time
    told = None
    if gigabits is not None:
        told = communication(measured.parameters, settings.zero, gpus, shares.rounds, gigabits)
    seconds = computing + (told.seconds if told is not None else 0.0)
    validations = math.ceil(settings.last / settings.validate_every)
    per_validation = computing * VALIDATION_COST * audio.validation_seconds / audio.seconds_per_update
    count = settings.keep_checkpoints + 2
    return Estimate(
        updates=settings.last,
        gpus=gpus,
        shares=shares,
        communication=told,
        seconds_per_update=seconds,
        training_hours=settings.last * seconds / 3600,
        validation_hours=validations * per_validation / 3600,
        checkpoint_count=count,
        # A new encoder lies beside the old one for a moment.
        disk_bytes=count * measured.checkpoint_bytes + 2 * measured.encoder_bytes,
    )


def audio_of(table: ClipTable, validation: ClipTable, settings: BatchSettings, seed: int, updates: int) -> Audio:
    """Return what a run of ``updates`` does with the clips, from the plan of its first epoch."""
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
    """Return the distinct audio in ``batches``, ``(corpora,)`` in seconds. The clips of a row are of one corpus."""
    heard = np.zeros(len(table.corpora))
    for batch in batches:
        for clips, length in zip(batch.clips, batch.lengths, strict=True):
            heard[table.corpus[clips[0]]] += min(int(table.samples[clips].sum()), int(length)) / SAMPLE_RATE
    return heard


def refusals(objective: Objective, settings: TrainerSettings, micro_batches: int, gpus: int) -> list[str]:
    """Return what `nonverbal pretrain` would say on ``gpus`` devices before it refused to begin."""
    checks: list[Callable[[], object]] = [
        lambda: build_optimizer(objective, settings.steps, settings.optimizer),
        lambda: check_zero(settings.zero, gpus, micro_batches),
    ]
    said = []
    if gpus > micro_batches:
        said.append(
            f"{gpus - micro_batches} of {gpus} would have none of the {micro_batches} micro-batches of an update; "
            f"ask for at most {micro_batches}, or raise batches.batches_per_step and lower batches.batch_seconds"
        )
    for check in checks:
        try:
            check()
        except UserError as error:
            said.append(str(error))
    return [f"nonverbal pretrain will refuse this: {text}" for text in said]


def cautions(measured: Measured, audio: Audio, estimate: Estimate, settings: TrainerSettings) -> list[str]:
    """Return what is allowed and probably not meant."""
    shares, steps, warmup = estimate.shares, settings.steps, settings.optimizer.warmup_steps
    most = max(audio.corpora, key=lambda corpus: corpus.passes)
    found = [
        (
            shares.rounds > 1 and shares.idle_in_last_round > 0,
            f"{shares.idle_in_last_round} of {shares.gpus} are idle in the last of {shares.rounds} rounds of an "
            f"update; make batches.batches_per_step a multiple of {shares.gpus}",
        ),
        (
            estimate.communication_share > MUCH_COMMUNICATION,
            f"up to {estimate.communication_share:.0%} of an update is communication; use fewer GPUs or a faster "
            "network, or raise batches.batch_seconds",
        ),
        (
            steps / 2 < warmup < steps,
            f"{warmup} of {steps} updates are warm-up, so the learning rate has little time to fall; lower "
            "trainer.optimizer.warmup_steps",
        ),
        (
            audio.passes < 1,
            f"the run ends before it has heard every clip ({audio.passes:.2g} passes); raise trainer.steps",
        ),
        (
            most.passes > MANY_PASSES,
            f"each clip of {most.corpus} is drawn {most.passes:.0f} times, and may be learnt by heart; lower "
            "trainer.steps or its weight, or add data",
        ),
        (
            settings.checkpoint_every >= steps and estimate.hours > 1,
            f"no checkpoint is written before the end; lower trainer.checkpoint_every ({settings.checkpoint_every})",
        ),
        (measured.waiting > 0.1, f"{measured.waiting:.0%} of the time goes by waiting for data; raise trainer.workers"),
        (len(measured.seconds) < 5, f"only {len(measured.seconds)} updates were measured; raise --seconds"),
        (not measured.on_gpu, "the hours are those of devices like this CPU; plan on the machine that will train"),
    ]
    return [text for holds, text in found if holds]
