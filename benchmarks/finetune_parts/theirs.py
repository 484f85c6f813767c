"""transformers' side: its ``Trainer``, feature extractor and samplers, on a share of an epoch."""

import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import (
    AutoFeatureExtractor,
    AutoModelForAudioClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from finetune_parts.work import BATCH, Clock, Figures, Phase, Work, picked, resident, share_of
from nonverbal.data.index import SAMPLE_RATE


class Clips(Dataset[dict[str, Any]]):
    """All clips, decoded and in memory, in random order, as after a division into folds."""

    def __init__(self, work: Work) -> None:
        files = sorted(work.sounds.glob("*/*.wav"))
        classes = sorted({file.parent.name for file in files})
        files = [files[i] for i in np.random.default_rng(0).permutation(len(files))]
        self.labels = [classes.index(file.parent.name) for file in files]
        self.sounds = [soundfile.read(file, dtype="float32")[0] for file in files]
        self.lengths = [len(sound) for sound in self.sounds]

    def __len__(self) -> int:
        return len(self.sounds)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"input_values": self.sounds[number], "labels": self.labels[number]}


class Order(Sampler[int]):
    """Some of the batches that one of transformers' samplers makes."""

    def __init__(self, batches: Sequence[Sequence[int]]) -> None:
        self.order = [clip for batch in batches for clip in batch]

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Any:
        return iter(self.order)


class ShareTrainer(Trainer):  # type: ignore[misc]
    """Runs a share of the batches of its samplers, in training after one that warms up."""

    share = 1.0
    phases: dict[str, Phase]

    def _get_train_sampler(self, train_dataset: Any = None) -> Order:
        return self._order("train", super()._get_train_sampler(train_dataset), warm=1)

    def _get_eval_sampler(self, eval_dataset: Any) -> Order:
        return self._order("test", super()._get_eval_sampler(eval_dataset), warm=0)

    def _order(self, phase: str, sampler: Iterable[int], warm: int) -> Order:
        lengths, order = self.train_dataset.lengths, list(sampler)
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        sizes = [len(batch) * max(lengths[clip] for clip in batch) for batch in batches]
        # A batch that is not full would shift those after it.
        full = [number for number, batch in enumerate(batches) if len(batch) == BATCH]
        of_full = [sizes[number] for number in full]
        chosen = [full[i] for i in picked(of_full, share_of(len(batches), self.share) if self.share else 2)]
        first = [full[i] for i in picked(of_full, warm)] if warm else []
        self.phases[phase] = Phase(sum(sizes), sum(lengths), sum(sizes[number] for number in chosen))
        return Order([batches[number] for number in first + chosen])


class Timed(TrainerCallback):  # type: ignore[misc]
    """Times the steps after the first."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock after the first step, and stop it after the last."""
        if state.global_step == 1:
            self.clock.start()
        if state.global_step == state.max_steps:
            self.clock.stop("train")


def measure(work: Work, name: str, precision: str, share: float, grouped: bool) -> Figures:
    """Train and test on a share of an epoch; return the seconds of a whole one.

    Args:
        work: the folders with clips and models.
        name: the name of the model.
        precision: bf16 or fp32.
        share: the share of the batches; 0: two training batches and no test.
        grouped: whether clips of similar length are batched together (``group_by_length``).
    """
    clips, clock = Clips(work), Clock()
    before = resident("VmRSS")
    model = _model(work, name)
    extractor = AutoFeatureExtractor.from_pretrained(work.model(name))

    def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        sounds = [item["input_values"] for item in items]
        batch = extractor(sounds, sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt")
        return {**batch, "labels": torch.tensor([item["labels"] for item in items])}

    with tempfile.TemporaryDirectory() as folder:
        trainer = ShareTrainer(
            model,
            _options(folder, precision, grouped),
            collate,
            train_dataset=clips,
            eval_dataset=clips,
            processing_class=extractor,
            callbacks=[Timed(clock)],
        )
        trainer.share, trainer.phases = share, {}
        trainer.train()
        figures: Figures = {"train": trainer.phases["train"].figures(clock.laps["train"])}
        if share:
            clock.start()
            trainer.evaluate()
            clock.stop("test")
            figures["test"] = trainer.phases["test"].figures(clock.laps["test"])
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    return figures | {"gigabytes": resident("VmHWM") - before}


def _model(work: Work, name: str) -> Any:
    # This trusts only the code of an exported Audio Mamba, which this benchmark has written itself.
    model = AutoModelForAudioClassification.from_pretrained(work.model(name), trust_remote_code=True)
    if name == "ssam":
        model.audio_mamba.patch_embed.requires_grad_(False)
    else:
        model.freeze_feature_encoder()
    return model


def _options(folder: str, precision: str, grouped: bool) -> TrainingArguments:
    return TrainingArguments(
        folder,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=1e-4,
        warmup_ratio=0.1,
        bf16=precision == "bf16",
        group_by_length=grouped,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
