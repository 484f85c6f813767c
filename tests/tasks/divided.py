"""Clips made by hand, for tests of how they are divided."""

from nonverbal.data.manifest import Clip


def clip(
    row: int,
    corpus: str = "c",
    speaker: str | None = None,
    session: str | None = None,
    recording: str | None = None,
    split: str | None = None,
) -> Clip:
    """A clip of its own recording, of an unknown speaker, unless said otherwise."""
    name, sound = f"{corpus}/{row}.wav", recording or f"{corpus}:{row}"
    return Clip(name, corpus, f"{row}.wav", 0, 1, 16000, "a", speaker, session, None, split, sound, "CC0-1.0", "0")
