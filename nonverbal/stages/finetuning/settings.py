"""The settings of a fine-tuning."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from nonverbal import config
from nonverbal.data.batching.augmentation import Augmentation
from nonverbal.data.batching.clips import ClipBatches
from nonverbal.errors import UserError
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.objectives.classification import ClassifierSettings
from nonverbal.objectives.ctc import CtcSettings
from nonverbal.paths import PathOrName
from nonverbal.tasks.protocol_settings import ProtocolSettings
from nonverbal.tasks.protocols import Protocol
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.settings import TrainerSettings

UNPLANNED = TrainerSettings().steps
"""The value of ``trainer.steps`` if nobody has set it."""

FREE = {"jobs", "only", "final", "pretraining"}
"""Settings that do not change the weights of a fold, and so may differ when a fine-tuning is continued."""


def _trainer() -> TrainerSettings:
    """Return the defaults of fine-tuning, some of which differ from those of pretraining."""
    optimizer = OptimizerSettings(lr=1e-4, warmup_steps=500, betas=(0.9, 0.999), eps=1e-8, clip_norm=1.0)
    return TrainerSettings(patience=5, keep_checkpoints=1, log_every=10, optimizer=optimizer)


@dataclass(kw_only=True)
class FinetuneConfig(ProtocolSettings):
    """Trains an encoder on the labels of clips, or on their texts, in the folds of a protocol."""

    task: Literal["classes", "ctc"] = "classes"
    """What is learned: the class of each clip, or, with ctc, its text, character by character. ctc uses all clips that
    have a text, uncropped, and ignores labels."""

    data: Path
    """Folder of shards with the labelled clips; clips of both of its splits are used."""
    init: PathOrName
    """Encoder to start from: a run, a folder or Hugging Face Hub id, a file of fairseq, an earlier fine-tuning;
    `initialised:FOLDER` for the same encoder with random weights."""
    out: Path
    """The run folder. If it holds a run, that run is continued, and folds that are done are skipped."""
    name: str = "fine-tuned"
    """Name of this way of fine-tuning in tables, to distinguish several ways of fine-tuning the same model."""
    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes to distinguish, all if empty; or a map from labels to classes, or the name of such a map (see probe)."""
    epochs: int | None = 50
    """Maximum number of passes over the training clips. `trainer.patience` then counts epochs too. null: use
    trainer.steps and trainer.validate_every instead. voc2vec: up to 50, patience 5."""
    warmup_share: float | None = 0.1
    """Share of the steps over which the learning rate rises. null: use trainer.optimizer.warmup_steps instead."""
    pretraining: list[Path] = field(default_factory=list)
    """Manifests of the clips that the encoder was pretrained on. Scores then say whether the clips were held out."""
    allow_seen: bool = False
    """Accept an encoder that was fine-tuned with labels of these clips. Scores and tables then say `labels seen`."""
    encoder: TunedSettings = field(default_factory=TunedSettings)
    """Which weights of the encoder are trained, and its dropout."""
    head: ClassifierSettings = field(default_factory=ClassifierSettings)
    """For classes: the head on the encoder, class weights, masks."""
    ctc: CtcSettings = field(default_factory=CtcSettings)
    """For texts: the head on the encoder, masks."""
    batches: ClipBatches = field(default_factory=ClipBatches)
    """How clips become batches."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Changes to the audio of training clips; none by default."""
    trainer: TrainerSettings = field(default_factory=_trainer)
    """Length of training, precision, optimizer, checkpoints."""
    jobs: int = 1
    """Number of folds trained in parallel, each in a process of its own; with several GPUs, each on the next GPU."""
    only: str | None = None
    """Train only this fold, such as `seed-0/fold-3`, or only the final model (`final`). The command that finishes last
    writes the scores of all folds."""
    final: bool = False
    """Also train on all clips, for as many epochs as the folds chose (the median), and write the final model to
    OUT/model."""

    def __post_init__(self) -> None:
        """Refuse values out of range, and settings that contradict each other."""
        idle = "ctc" if self.task == "classes" else "head"
        if given := config.given(getattr(self, idle)):
            raise UserError(
                f"{idle}.{given[0]} is set, but has no effect because the task is {self.task}; leave it out, or choose "
                f"--task {'ctc' if idle == 'ctc' else 'classes'}"
            )
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs must be at least 1, but is {self.epochs}")
        if self.epochs is not None and self.trainer.steps != UNPLANNED:
            raise UserError(
                f"epochs is {self.epochs} and trainer.steps is {self.trainer.steps}; leave one of them out (to use "
                "trainer.steps, set epochs to null)"
            )
        if self.epochs is None and self.trainer.steps == UNPLANNED:
            raise UserError("epochs is null, so trainer.steps must be set; set one of them to the length of training")
        if self.warmup_share is not None and not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share must be at least 0 and below 1, but is {self.warmup_share}")
        if self.jobs < 1:
            raise UserError(f"jobs must be at least 1, but is {self.jobs}")
        if self.jobs > 1 and (self.trainer.processes or 1) > 1:
            raise UserError(
                f"jobs is {self.jobs} and trainer.processes is {self.trainer.processes}; set one of them to 1: either "
                "train folds in parallel, or each fold in several processes"
            )
        if self.trainer.optimizer.lr_clips is not None:
            raise UserError("trainer.optimizer.lr_clips is for pretraining; leave it out, and set trainer.optimizer.lr")
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """Refuse settings of the trainer that have no effect because of others."""
        given, usual = self.trainer, _trainer()
        if self.epochs is not None and given.validate_every != usual.validate_every:
            raise UserError(
                f"trainer.validate_every is {given.validate_every}, but epochs is {self.epochs}, so every epoch ends "
                "with a validation; leave trainer.validate_every out, or set epochs to null and use trainer.steps"
            )
        if self.warmup_share is not None and given.optimizer.warmup_steps != usual.optimizer.warmup_steps:
            raise UserError(
                f"trainer.optimizer.warmup_steps is {given.optimizer.warmup_steps}, but warmup_share "
                f"({self.warmup_share:g}) already sets the length of the warm-up; leave warmup_steps out, or set "
                "warmup_share to null"
            )
        if given.stop_after is not None:
            raise UserError("trainer.stop_after is set for each fold by fine-tuning; leave it out, and set epochs")

    def resolved(self) -> Protocol:
        """Return the protocol; with refitting, which trains each fold twice, only on request.

        Raises:
            UserError: as in ``ProtocolSettings.resolved``.
        """
        return replace(super().resolved(), refit=bool(self.refit))


def trainer_for(settings: FinetuneConfig, steps_per_epoch: int, share: float | None, chooses: bool) -> TrainerSettings:
    """Return the trainer's settings of one run, in steps.

    Args:
        settings: of the fine-tuning.
        steps_per_epoch: of this run's training clips.
        share: share of the steps after which the run ends, while the schedule is that of all steps; None: all steps.
        chooses: whether the run has validation clips to choose its best epoch on.

    Raises:
        UserError: the warm-up does not end before the run does.
    """
    trainer = settings.trainer
    steps = trainer.steps if settings.epochs is None else settings.epochs * steps_per_epoch
    every = trainer.validate_every if settings.epochs is None else steps_per_epoch
    rising = settings.warmup_share
    warmup = trainer.optimizer.warmup_steps if rising is None else min(round(rising * steps), steps - 1)
    if warmup >= steps:
        raise UserError(
            f"trainer.optimizer.warmup_steps is {warmup}, but a fold has {steps} steps ({steps_per_epoch} per epoch); "
            f"lower it: --trainer.optimizer.warmup_steps {steps // 10}"
        )
    return replace(
        trainer,
        steps=steps,
        stop_after=None if share is None else max(round(share * steps), 1),
        validate_every=every,
        patience=trainer.patience if chooses else None,
        optimizer=replace(trainer.optimizer, warmup_steps=warmup),
    )
