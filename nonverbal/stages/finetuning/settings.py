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
"""What ``trainer.steps`` is where nobody has set it."""

FREE = {"jobs", "only", "final", "pretraining"}
"""Settings by which no fold takes other weights, and which may be others when a fine-tuning is continued."""


def _trainer() -> TrainerSettings:
    """Return what fine-tuning begins with, where pretraining's defaults would not do."""
    optimizer = OptimizerSettings(lr=1e-4, warmup_steps=500, betas=(0.9, 0.999), eps=1e-8, clip_norm=1.0)
    return TrainerSettings(patience=5, keep_checkpoints=1, log_every=10, optimizer=optimizer)


@dataclass(kw_only=True)
class FinetuneConfig(ProtocolSettings):
    """An encoder that is trained on the labels of clips, or on their texts, in the folds of a protocol."""

    task: Literal["classes", "ctc"] = "classes"
    """What is learned: the class of each clip; or ctc, its text, character by character. Then clips with a text count,
    whole, and no labels."""

    data: Path
    """Folder of shards that holds the labelled clips; those of both its splits count."""
    init: PathOrName
    """Encoder to start from: a run, a folder or Hugging Face Hub id, a file of fairseq, an earlier fine-tuning;
    `initialised:FOLDER` for the same encoder with random weights."""
    out: Path
    """The run folder. A run that is there is continued: folds that are done are passed over."""
    name: str = "fine-tuned"
    """What tables call this way to fine-tune: scores of one model under two ways are told apart by it."""
    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes to tell apart, all where empty; or a map of labels to classes, or the name of a map (see probe)."""
    epochs: int | None = 50
    """Passes over the training clips, at most: `trainer.patience` counts epochs too. null: trainer.steps and
    trainer.validate_every count. voc2vec: up to 50, patience 5."""
    warmup_share: float | None = 0.1
    """Share of the steps over which the learning rate rises. null: trainer.optimizer.warmup_steps counts."""
    pretraining: list[Path] = field(default_factory=list)
    """Manifests the encoder was pretrained on. Scores then say whether the clips were held out or not."""
    allow_seen: bool = False
    """Start from an encoder too that was fine-tuned with labels of these clips. Scores and tables then say `labels
    seen`."""
    encoder: TunedSettings = field(default_factory=TunedSettings)
    """What of the encoder is trained, and its dropout."""
    head: ClassifierSettings = field(default_factory=ClassifierSettings)
    """What stands on the encoder, class weights, masks, where classes are told apart."""
    ctc: CtcSettings = field(default_factory=CtcSettings)
    """What stands on the encoder, and masks, where texts are written."""
    batches: ClipBatches = field(default_factory=ClipBatches)
    """How clips become batches."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to the sound of training clips; nothing unless given."""
    trainer: TrainerSettings = field(default_factory=_trainer)
    """Steps, precision, learning rate, what is kept."""
    jobs: int = 1
    """Folds that are trained side by side, each in a process of its own, on the next GPU where there are GPUs."""
    only: str | None = None
    """One fold alone, `seed-0/fold-3`; `final` for the final model. Whoever comes last writes the scores of all."""
    final: bool = False
    """Also train on all clips, for as many epochs as the folds chose (the median), and write the model to use to
    OUT/model."""

    def __post_init__(self) -> None:
        """Refuse numbers that no fine-tuning can have, and settings that contradict each other."""
        idle = "ctc" if self.task == "classes" else "head"
        if given := config.given(getattr(self, idle)):
            raise UserError(
                f"the task is {self.task}, so {idle}.{given[0]} would not count; leave it out, or choose "
                f"--task {'ctc' if idle == 'ctc' else 'classes'}"
            )
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs must be at least 1, but is {self.epochs}")
        if self.epochs is not None and self.trainer.steps != UNPLANNED:
            raise UserError(
                f"epochs is {self.epochs} and trainer.steps is {self.trainer.steps}: give one of the two, and set "
                "epochs to null where steps count"
            )
        if self.epochs is None and self.trainer.steps == UNPLANNED:
            raise UserError("epochs is null, so trainer.steps has to say how long to train")
        if self.warmup_share is not None and not 0 <= self.warmup_share < 1:
            raise UserError(f"warmup_share must be at least 0 and below 1, but is {self.warmup_share}")
        if self.jobs < 1:
            raise UserError(f"jobs must be at least 1, but is {self.jobs}")
        if self.jobs > 1 and (self.trainer.processes or 1) > 1:
            raise UserError(
                f"jobs is {self.jobs} and trainer.processes {self.trainer.processes}: train folds side by side, or "
                "each on several processes"
            )
        if self.trainer.optimizer.lr_clips is not None:
            raise UserError("trainer.optimizer.lr_clips is for pretraining; set trainer.optimizer.lr, and leave it out")
        self._refuse_idle()

    def _refuse_idle(self) -> None:
        """Refuse settings of the trainer that would not count beside others."""
        given, usual = self.trainer, _trainer()
        if self.epochs is not None and given.validate_every != usual.validate_every:
            raise UserError(
                f"trainer.validate_every is {given.validate_every}, but with epochs ({self.epochs}) each epoch is "
                "validated; leave it out, or set epochs to null and trainer.steps"
            )
        if self.warmup_share is not None and given.optimizer.warmup_steps != usual.optimizer.warmup_steps:
            raise UserError(
                f"trainer.optimizer.warmup_steps is {given.optimizer.warmup_steps}, but warmup_share "
                f"({self.warmup_share:g}) says how long the warm-up is; leave one of the two out: set warmup_share to "
                "null where steps count"
            )
        if given.stop_after is not None:
            raise UserError("trainer.stop_after is set by the folds themselves; leave it out, and set epochs")

    def resolved(self) -> Protocol:
        """Return the protocol that is meant; refitting, which trains each fold twice, only where it is asked for.

        Raises:
            UserError: as ``ProtocolSettings.resolved``.
        """
        return replace(super().resolved(), refit=bool(self.refit))


def trainer_for(settings: FinetuneConfig, steps_per_epoch: int, share: float | None, chooses: bool) -> TrainerSettings:
    """Return the trainer's settings of one run, in steps.

    Args:
        settings: of the fine-tuning.
        steps_per_epoch: of this run's training clips.
        share: share of its steps after which it ends, its schedule being that of all; None: it runs to its end.
        chooses: whether it has validation clips, by which its best epoch is chosen.

    Raises:
        UserError: a warm-up that does not end before the run does.
    """
    trainer = settings.trainer
    steps = trainer.steps if settings.epochs is None else settings.epochs * steps_per_epoch
    every = trainer.validate_every if settings.epochs is None else steps_per_epoch
    rising = settings.warmup_share
    warmup = trainer.optimizer.warmup_steps if rising is None else min(round(rising * steps), steps - 1)
    if warmup >= steps:
        raise UserError(
            f"trainer.optimizer.warmup_steps is {warmup}, but a fold has {steps} steps ({steps_per_epoch} an epoch); "
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
