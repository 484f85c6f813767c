"""Lists of clips to listen to: those that all models get wrong, and those on which two models disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.tasks.predictions import Predictions

SHOWN = 40
"""Largest number of clips in a list."""


@dataclass(frozen=True)
class ListedClip:
    """A clip, with the decisions of models."""

    id: str
    label: str
    decisions: list[tuple[str, str, bool]]
    """For each decision: the model, the class, and whether it is right."""


@dataclass(frozen=True)
class Rivals:
    """Two models, and whether their decisions differ on each clip."""

    first: str
    second: str
    differ: dict[str, bool]
    """Whether the decisions differ, by id of the clip."""


def rivals(models: Mapping[str, Predictions]) -> Rivals:
    """Return whether two models, given as name to decisions on the same clips, differ on each clip."""
    clips = _common(models)
    (first, one), (second, other) = models.items()
    return Rivals(first, second, dict(zip(clips, (one.predicted != other.predicted).tolist(), strict=True)))


def wrong_for_all(models: Mapping[str, Predictions], classes: Sequence[str]) -> tuple[list[ListedClip], str]:
    """Return clips on which no model is right, the most confident errors first, and a description of the list.

    Args:
        models: name to decisions, all on the same clips.
        classes: names.
    """
    clips = _common(models)
    right = np.stack([model.predicted == model.labels for model in models.values()])
    places = np.flatnonzero(~right.any(0))
    surest, order = _by_true_class(models, places)
    text = (
        f"{len(places)} of {len(clips)} clips are classified wrongly by all {len(models)} models (first seeds)"
        f"{_cut(len(places))}, {order}."
    )
    return _listed(models, classes, surest[:SHOWN]), text


def disputed(models: Mapping[str, Predictions], classes: Sequence[str]) -> tuple[list[ListedClip], str]:
    """Return clips on which the decisions of two models differ, in the order of ids, and a description of the list.

    Args:
        models: two, name to decisions, on the same clips.
        classes: names.
    """
    clips = _common(models)
    (first, one), (second, other) = models.items()
    places = np.flatnonzero(one.predicted != other.predicted)
    only = [int((a.predicted == a.labels)[places].sum()) for a in (one, other)]
    text = (
        f"The two models with the highest UAR, {first} and {second}, differ on {len(places)} of {len(clips)} clips "
        f"(first seeds): only the first is right on {only[0]}, only the second on {only[1]}{_cut(len(places))}."
    )
    return _listed(models, classes, places[:SHOWN]), text


def _common(models: Mapping[str, Predictions]) -> list[str]:
    clips = next(iter(models.values())).clips
    assert all(model.clips == clips for model in models.values()), "models of a task are tested on the same clips"
    return clips


def _by_true_class(models: Mapping[str, Predictions], places: np.ndarray) -> tuple[np.ndarray, str]:
    """Order clips by the mean probability of their true class, if every model gives probabilities."""
    given = [model.values for model in models.values() if model.gives == "probabilities" and model.values is not None]
    if len(given) < len(models):
        return places, "in the order of their names"
    labels = next(iter(models.values())).labels[places]
    said = np.mean([values[places, labels] for values in given], axis=0)
    return places[np.argsort(said, kind="stable")], "ordered by the probability of the true class, lowest first"


def _listed(models: Mapping[str, Predictions], classes: Sequence[str], places: np.ndarray) -> list[ListedClip]:
    any_model = next(iter(models.values()))
    return [
        ListedClip(
            any_model.clips[place],
            classes[any_model.labels[place]],
            [
                (name, classes[model.predicted[place]], bool(model.predicted[place] == model.labels[place]))
                for name, model in models.items()
            ],
        )
        for place in places
    ]


def _cut(count: int) -> str:
    return f"; {SHOWN} are shown" if count > SHOWN else ""
