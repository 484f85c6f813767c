"""Was a model trained on the clips that it is scored on? The leak status of a score."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nonverbal.data.manifest import Clip, read_manifest
from nonverbal.public_checkpoints import DRAWN_FROM, Heard

HELD_OUT, TRANSDUCTIVE, UNKNOWN = "held out", "transductive", "unknown"
"""None of the clips was in the pretraining data; some were, without their labels; it is not known."""

LABELS_SEEN = "labels seen"
"""The model was fine-tuned with labels of these clips, or of their recordings (``nonverbal.tasks.labels_seen``)."""

BY_AUTHORS = " (by its authors)"
"""After a status that rests on what a model's authors say they trained it on, with or without labels, and not on a
manifest. Corpora are compared then, and not clips."""

_WORST_FIRST = (LABELS_SEEN, TRANSDUCTIVE, TRANSDUCTIVE + BY_AUTHORS, UNKNOWN, HELD_OUT + BY_AUTHORS, HELD_OUT)


def worst(statuses: Iterable[str]) -> str:
    """Return the leak status of several models that are used as one: that of the one which is least held out."""
    return min(statuses, key=_WORST_FIRST.index)


def by_manifests(clips: Sequence[Clip], manifests: Iterable[Path]) -> str:
    """Say whether clips are in the manifests a model was pretrained on: the same samples or the same recording.

    Returns:
        ``transductive`` where any is, ``held out`` where none is, ``unknown`` where there is no manifest.
    """
    paths = list(manifests)
    if not paths:
        return UNKNOWN
    samples, recordings = {clip.sha256 for clip in clips}, {clip.recording for clip in clips}
    seen = (clip.sha256 in samples or clip.recording in recordings for path in paths for clip in read_manifest(path))
    return TRANSDUCTIVE if any(seen) else HELD_OUT


def by_authors(clips: Sequence[Clip], heard: Heard) -> str:
    """Say whether a model's authors trained it on the clips' corpora, by their names in the catalog.

    Args:
        clips: of any corpora.
        heard: the corpora that the model was trained on, according to its authors.

    Returns:
        ``transductive (by its authors)`` if a corpus of the clips is among them; ``held out (by its authors)`` if these
        are all that it was trained on, all corpora of the clips are in the catalog, none is among them, and none was
        drawn from the same source as one of them (``DRAWN_FROM``); otherwise ``unknown``: the sounds of a user's own
        folder, or of another corpus from the same site, may be in it.
    """
    from nonverbal.data.corpora import CATALOG

    corpora = {clip.corpus for clip in clips}
    if corpora & heard.corpora:
        return TRANSDUCTIVE + BY_AUTHORS
    apart = corpora <= CATALOG.keys() and not _places(corpora) & _places(heard.corpora)
    return HELD_OUT + BY_AUTHORS if heard.complete and apart else UNKNOWN


def _places(corpora: Iterable[str]) -> set[str]:
    return {place for corpus in corpora for place in DRAWN_FROM.get(corpus, ())}
