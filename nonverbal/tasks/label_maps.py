"""Which labels a task distinguishes: classes to keep, labels to merge or drop, and the maps of papers, by name."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from nonverbal.errors import UserError
from nonverbal.text import shown

LabelMap = Mapping[str, str | None]
"""From a label of a corpus to a class of a task, or to None, which drops its clips. ``OTHERS`` stands for all labels
that are not named; without it they stay as they are."""

Labels = Sequence[str] | LabelMap | str
"""Classes to keep, all if empty; or a map; or the name of one."""

OTHERS = "*"

NAMED: dict[str, dict[str, str | None]] = {
    # IEMOCAP (5531 clips) and MSP-IMPROV (7798): four classes, with excited merged into happy. Emotion information
    # recovery (2024), and the usual protocol of both corpora. The labels are those of our readers.
    "four-emotions": {
        "anger": "anger",
        "happiness": "happiness",
        "excitement": "happiness",
        "sadness": "sadness",
        "neutral": "neutral",
        OTHERS: None,
    },
}
"""Label maps of published protocols. Labels that a corpus does not have are ignored; a class without clips is an error.
The cross-lingual study (CLiC-it 2024) and RENO (2025) keep every class of their corpora, so they need no map."""


def label_map(labels: Labels, present: Sequence[str], where: str) -> dict[str, str | None]:
    """Return the class, or None, of each label that is present.

    Args:
        labels: which to keep, merge or drop. A list with one name stands for the map of this name, if there is one and
            no label has this name.
        present: labels that the clips have.
        where: what holds the clips, for messages.

    Raises:
        UserError: no clip has a label that is named, or a class of a named map.
    """
    if isinstance(labels, str):
        labels = [labels]
    if isinstance(labels, Mapping):
        _refuse_unknown(set(labels) - {OTHERS}, present, where)
        return _applied(labels, present)
    if len(labels) == 1 and labels[0] in NAMED and labels[0] not in present:
        return _named(labels[0], present, where)
    _refuse_unknown(set(labels), present, where, NAMED if len(labels) == 1 else ())
    return {label: label if label in labels or not labels else None for label in present}


def _named(name: str, present: Sequence[str], where: str) -> dict[str, str | None]:
    result = _applied(NAMED[name], present)
    missing = sorted({label for label in NAMED[name].values() if label is not None} - set(result.values()))
    if missing:
        raise UserError(
            f"no clip in {where} is of class {missing[0]!r} of the label map {name}; the labels are: "
            f"{_listed(present)}; give a map of your own: --labels.LABEL CLASS"
        )
    return result


def _applied(labels: LabelMap, present: Sequence[str]) -> dict[str, str | None]:
    return {label: labels.get(label, labels.get(OTHERS, label)) for label in present}


def _refuse_unknown(asked: set[str], present: Sequence[str], where: str, names: Collection[str] = ()) -> None:
    for label in sorted(asked - set(present)):
        near = difflib.get_close_matches(label, [*present, *names], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        maps = f"; label maps: {', '.join(names)}" if names else ""
        raise UserError(f"no clip in {where} is labelled {label!r}; there are: {_listed(present)}{maps}{hint}")


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(map(shown, sorted(labels)))
