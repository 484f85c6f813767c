"""Fine-tuned runs as encoders: ``finetuned:RUN``, only under the folds of the run.

Like a head, the weights of a fold have seen the labels of its training side, and none of its test side. So all clips of
a fold, whether fitted or tested, are embedded with that fold's weights. Vectors of two folds come from two encoders, so
only decisions are pooled over folds, clip by clip.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import read_json
from nonverbal.recipes import yaml_of
from nonverbal.tasks.task import Task

FINETUNED = "finetuned:"
"""Prefix of the folder of a run of ``nonverbal finetune``."""

DONE = "fold.json"
"""File in the folder of each fold that is done."""


@dataclass(frozen=True)
class TunedFold:
    """A fold of a run."""

    folder: Path
    test: frozenset[str]
    """Ids of its test clips."""
    fitted: frozenset[str]
    """Ids of the clips on whose labels its weights depend: those of its training side, and those used for choices."""

    @property
    def encoder(self) -> Path:
        """The folder of its weights, in Hugging Face format."""
        return self.folder / "encoder"


@dataclass(frozen=True)
class FinetunedRun:
    """A run all of whose folds are done."""

    name: str
    """The name that the user gave."""
    folder: Path
    data_sha256: str
    """Hash of the shards that were divided."""
    protocol: str
    classes: Sequence[str]
    """Its classes; empty for a run that recognises speech, whose texts are not labels of classes."""
    merged: dict[str, str]
    """Labels that count as a class of another name."""
    init: str
    """The encoder from which every fold started."""
    folds: dict[tuple[int, str], TunedFold]
    """Folds by seed and name."""

    @cached_property
    def key(self) -> str:
        """A text that identifies the weights of all folds."""
        found = hashlib.sha256()
        for (seed, fold), tuned in self.folds.items():
            found.update(f"{seed} {fold}".encode())
            for path in sorted([*tuned.encoder.glob("*.safetensors"), *tuned.encoder.glob("*.json")]):
                found.update(hashlib.sha256(path.read_bytes()).digest())
        return found.hexdigest()

    @property
    def encoders(self) -> list[str]:
        """The folders of the folds' weights."""
        return [str(tuned.encoder) for tuned in self.folds.values()]

    def check_data(self, sha256: str) -> None:
        """Refuse shards other than those of the run.

        Raises:
            UserError: the shards differ.
        """
        if sha256 != self.data_sha256:
            raise self._other("the shards differ from those of the run")

    def check(self, task: Task) -> None:
        """Refuse a task that is not divided as the run was.

        Protocols may differ in how they use a training side, for example in refitting.

        Raises:
            UserError: the message says what differs.
        """
        self.check_data(task.shards.sha256)
        if self.classes and (list(self.classes), self.merged) != (task.classes, task.merged):
            raise self._other(f"its classes are {', '.join(self.classes)}, here they are {', '.join(task.classes)}")
        protocols = f"; its protocol is {self.protocol!r}, here it is {task.protocol!r}"
        for seed, folds in task.folds.items():
            for fold in folds:
                own = self.folds.get((seed, fold.name))
                if own is None:
                    raise self._other(f"it has no fold {fold.name} of seed {seed}{protocols}")
                test, known = ({task.clips[row].id for row in side} for side in (fold.test, fold.train))
                if task.division.protocol.select == "test":
                    known |= test
                if own.test != test or not own.fitted <= known:
                    raise self._other(f"fold {fold.name} of seed {seed} has other clips on its sides{protocols}")

    def _other(self, what: str) -> UserError:
        return UserError(
            f"{self.name} can be used only under the folds of its run, where the weights of a fold have not seen the "
            f"labels that it tests: {what}; give --data, --labels and the protocol of {self.folder / 'recipe.yaml'}, "
            "or the folder of one of its models with --allow-seen"
        )


def is_finetuned(name: str) -> bool:
    """Whether a name stands for a run, which has an encoder for each fold."""
    return name.startswith(FINETUNED)


def open_run(name: str) -> FinetunedRun:
    """Open a run given as ``finetuned:RUN``.

    Raises:
        UserError: there is no such run, its files cannot be read, or a fold is not done.
    """
    folder = Path(name.removeprefix(FINETUNED))
    path = folder / "folds.json"
    if not path.is_file():
        raise UserError(
            f"{folder} is not a run of nonverbal finetune: {path.name} is missing; give the folder that was its --out"
        )
    try:
        said = read_json(path)
        recipe = yaml_of((folder / "recipe.yaml").read_text(encoding="utf-8"))
        sha256, protocol, init = str(said["data_sha256"]), str(said["protocol"]), str(recipe["init"])
        classes, merged = [str(label) for label in said["classes"]], {str(k): str(v) for k, v in said["merged"].items()}
        folds = {(int(row["seed"]), str(row["fold"])): _fold(folder, row) for row in said["folds"]}
        run = FinetunedRun(name, folder, sha256, protocol, classes, merged, init, folds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path} and recipe.yaml cannot be read ({type(error).__name__}: {error}); run nonverbal finetune again"
        ) from error
    for (seed, fold), tuned in folds.items():
        # pathlib raises an error for a name that is too long.
        if not os.path.isfile(tuned.folder / DONE) or not os.path.isdir(tuned.encoder):
            raise UserError(
                f"fold {fold} of seed {seed} of {folder} is not finished, so its clips have no encoder; run nonverbal "
                "finetune again, which continues"
            )
    return run


def _fold(run: Path, row: Any) -> TunedFold:
    inside = PurePosixPath(row["folder"])
    if inside.is_absolute() or ".." in inside.parts:
        raise ValueError(f"the folder {row['folder']!r} is not in the run")
    return TunedFold(run / inside, frozenset(map(str, row["test"])), frozenset(map(str, row["fitted"])))
