"""The learner for texts of clips, character by character."""

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch

from nonverbal.batch import Batch
from nonverbal.data.batching.clip_rows import samples_of, whole_pieces
from nonverbal.data.batching.clips import ClipTargets
from nonverbal.data.transcripts import edits, vocabulary_of
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.objectives.ctc import CtcObjective
from nonverbal.stages.finetuning.learner import Learner, Tested
from nonverbal.training.processes import Processes


class Texts(Learner[CtcObjective]):
    """Learns to transcribe clips."""

    @cached_property
    def texts(self) -> list[str]:
        """The text of each clip."""
        return self.task.texts

    @cached_property
    def samples(self) -> np.ndarray:
        """Number of samples of each clip at 16 kHz, ``(clips,)`` int64."""
        pieces = whole_pieces(self.task.shards, self.task.rows)
        return np.array([samples_of(own) for own in pieces], dtype=np.int64)

    def build(self, seed: int) -> CtcObjective:
        """Return the initial objective. All folds have the same characters, just as they have the same classes."""
        return CtcObjective(self.encoder(seed), vocabulary_of(self.texts), self.settings.ctc, seed)

    def encoder_of(self, objective: CtcObjective) -> TunedEncoder:
        """Return the encoder that an objective trains."""
        return objective.encoder

    def targets(self, objective: CtcObjective, fitted: np.ndarray) -> ClipTargets:
        """Return the characters of the clips."""
        settings, encoder = self.settings, objective.encoder
        limits = settings.batches.limits(encoder.shortest, encoder.longest)
        clips = [clip.id for clip in self.task.clips]
        return objective.targets(clips, self.texts, self.samples, limits, settings.augmentation.speeds)

    def test(self, objective: CtcObjective, test: np.ndarray, batches: Iterable[Batch], processes: Processes) -> Tested:
        """Return the predicted texts of the clips, and their error rates."""
        written = clip_texts(objective, batches, processes)
        predicted = [written[place] for place in test.tolist()]
        found = edits([self.texts[place] for place in test.tolist()], predicted)
        counts = {"words": int(found.words.sum()), "characters": int(found.characters.sum())}
        return Tested(found.rates, [{"predicted_text": text} for text in predicted], counts)


def clip_texts(objective: CtcObjective, batches: Iterable[Batch], processes: Processes | None = None) -> dict[int, str]:
    """Return the predicted text of each clip, by the clip's place.

    Computed in float32 without autocast on the objective's device, and without dropout.

    Args:
        objective: is put in evaluation mode.
        batches: of this process.
        processes: those that share the clips; each returns the texts of all. None if this is the only one.
    """
    device = objective.head.weight.device
    objective.eval()
    own: dict[int, str] = {}
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for batch in batches:
            places = batch.targets.tensors["places"].tolist()
            own |= zip(places, objective.transcripts(batch.to(device)), strict=True)
    parts = [own] if processes is None else processes.of_each(own)
    return {place: text for part in parts for place, text in part.items()}
