"""The leak status of a score: whether the model was trained on the clips that it is scored on."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nonverbal.data.manifest import Clip, read_manifest
from nonverbal.public_checkpoints import DRAWN_FROM, Heard

HELD_OUT, TRANSDUCTIVE, UNKNOWN = "held out", "transductive", "unknown"
"""No clip was in the pretraining data; some clips were, without their labels; it is not known."""

LABELS_SEEN = "labels seen"
"""The model was fine-tuned with labels of these clips, or of their recordings (``nonverbal.tasks.labels_seen``)."""

BY_AUTHORS = " (by its authors)"
"""Appended to a status that is based not on a manifest, but on what a model's authors say they trained it on, with or
without labels. In this case corpora are compared, not clips."""

_WORST_FIRST = (LABELS_SEEN, TRANSDUCTIVE, TRANSDUCTIVE + BY_AUTHORS, UNKNOWN, HELD_OUT + BY_AUTHORS, HELD_OUT)


def worst(statuses: Iterable[str]) -> str:
    """Return the leak status of several models that are used as one: that of the model that is least held out."""
    return min(statuses, key=_WORST_FIRST.index)


def by_manifests(clips: Sequence[Clip], manifests: Iterable[Path]) -> str:
    """Return the leak status by manifests of pretraining: do they hold the same samples or recordings as the clips?

    Returns:
        ``transductive`` if they do for any clip, ``held out`` if for none, ``unknown`` if there is no manifest.
    """
    paths = list(manifests)
    if not paths:
        return UNKNOWN
    samples, recordings = {clip.sha256 for clip in clips}, {clip.recording for clip in clips}
    seen = (clip.sha256 in samples or clip.recording in recordings for path in paths for clip in read_manifest(path))
    return TRANSDUCTIVE if any(seen) else HELD_OUT


def by_authors(clips: Sequence[Clip], heard: Heard) -> str:
    """Return the leak status by the corpora that a model's authors say they trained it on, as named in the catalog.

    Args:
        clips: of any corpora.
        heard: the corpora that the model was trained on, according to its authors.

    Returns:
        ``transductive (by its authors)`` if a corpus of the clips is among them; ``held out (by its authors)`` if the
        authors' list is complete, all corpora of the clips are in the catalog, none is on the list, and none was drawn
        from the same source as one that is (``DRAWN_FROM``); otherwise ``unknown``: nobody can say whether the model
        was trained on the sounds of a user's own folder, or of another corpus from the same site.
    """
    from nonverbal.data.corpora import CATALOG

    corpora = {clip.corpus for clip in clips}
    if corpora & heard.corpora:
        return TRANSDUCTIVE + BY_AUTHORS
    apart = corpora <= CATALOG.keys() and not _places(corpora) & _places(heard.corpora)
    return HELD_OUT + BY_AUTHORS if heard.complete and apart else UNKNOWN


def _places(corpora: Iterable[str]) -> set[str]:
    return {place for corpus in corpora for place in DRAWN_FROM.get(corpus, ())}
