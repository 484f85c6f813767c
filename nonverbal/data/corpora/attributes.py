"""Further properties of a clip that a corpus gives, such as sex, age, intensity and ratings, as names and values.

An attribute is a text or a finite number with a name. These names mean the same in every corpus (``STANDARD``):

=============== =======================================================================================
sex             female, male or other
age             a number of years, or a range as the corpus states it (``2 to 6 months``)
intensity       of the emotion, in the corpus's words: low, moderate, strong, peak; mild; normal, high
arousal         raters' mean, on the corpus's own scale; also called activation
valence         the same
dominance       the same
naturalness     the same
satisfaction    the speaker's own, with the take
elicited        the emotion that was requested or intended, if that is not the label
style           how it was made: read, improvised, scripted, prototypical, Chinese or Western opera
sounds          all classes of a clip that has several, and so has no label, separated by semicolons
sentence, take  which one of a fixed list; which one of several
pitch           the note that is sung, such as A#3
source          where the corpus has it from: freesound, youtube, film
location        indoor or outdoor
quality, noise  high or low; clean, noisy or mixed voices
channel, accent, country, included, draft
                as in the corpus
=============== =======================================================================================

In tables, JSON, Hugging Face datasets and patterns, a column, key or group is an attribute if it has one of these names
(case, blanks, ``_`` and ``-`` do not count; ``gender`` is ``sex``), or if it begins with ``attribute_``, for a name of
your own: ``attribute_room`` is the attribute ``room``. No other column becomes an attribute, because tables contain
addresses and names of people.

Values that cannot be read are left out, like unknown labels: lists and objects, numbers that are not finite, texts of
more than 200 characters, any other sex than these three, and words where a number is expected. A clip has at most 32
attributes; the first ones are kept.
"""

import math
import re
from collections.abc import Iterable, Mapping

from nonverbal.data.corpora.tables import as_text
from nonverbal.data.manifest import LONGEST, Value

Attributes = dict[str, Value]

NUMBERS = ("arousal", "valence", "dominance", "naturalness", "satisfaction")
"""Attributes that must be numbers."""

STANDARD = (
    "sex", "age", "intensity", *NUMBERS, "elicited", "style", "sounds", "sentence", "take", "pitch", "source",
    "location", "quality", "noise", "channel", "accent", "country", "included", "draft",
)  # fmt: skip
"""Names that mean the same in every corpus."""

ALIASES = {"gender": "sex", "activation": "arousal"}
"""Other names of columns, with the names used here."""

PREFIX = "attribute_"
"""Prefix of a column, key or group that is an attribute with a name of the user's own."""

SEXES = {
    **dict.fromkeys(("f", "female", "fem", "w", "woman"), "female"),
    **dict.fromkeys(("m", "male", "man"), "male"),
    **dict.fromkeys(("o", "other", "divers", "non-binary", "nonbinary"), "other"),
}
"""Spellings of ``sex``, in lower case."""

MOST = 32
"""Largest number of attributes of a clip."""

NAME = re.compile(r"[^\W\d](?:[\w .-]{0,62}\w)?")
"""Allowed names of attributes: letters and digits, with blanks, ``_``, ``-`` and ``.`` between them, at most 64."""

TAKEN = {"file_name", "label", "speaker", "session", "recording", "language", "split", "text"}
"""Names of a clip's own fields, which an attribute cannot have."""


def attribute_name(column: str) -> str | None:
    """Return the attribute that a column, key or group stands for, or None."""
    letters = re.sub(r"[\W_]", "", column).casefold()
    letters = ALIASES.get(letters, letters)
    if letters in STANDARD:
        return letters
    own = re.match(rf"\s*{PREFIX}", column, re.IGNORECASE)
    name = column[own.end() :].strip() if own else ""
    return name if NAME.fullmatch(name) and name not in TAKEN else None


def attributes_among(columns: Mapping[str, object]) -> Attributes:
    """Return the attributes among columns, keys or groups; of two that are the same, the first that can be read."""
    found: Attributes = {}
    for column, value in columns.items():
        name = attribute_name(column)
        if name is not None and name not in found:
            found |= attributes_of({name: value})
    return dict(list(found.items())[:MOST])


def attributes_of(named: Mapping[str, object]) -> Attributes:
    """Return attributes by their own names, with values in the form used here, without those that cannot be read."""
    read = ((name, _read(name, value)) for name, value in named.items() if NAME.fullmatch(name) and name not in TAKEN)
    return dict([(name, value) for name, value in read if value is not None][:MOST])


def _read(name: str, value: object) -> Value | None:
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, str):
        value = _number(value)
        return value if name != "sex" else None
    text = as_text(value.encode("utf-8", "ignore").decode())
    if text is None or len(text) > LONGEST:
        return None
    if name == "sex":
        return SEXES.get(text.lower())
    if name in NUMBERS or name == "age":
        number = _number(text)
        return number if number is not None or name in NUMBERS else text
    return text


def _number(value: object) -> int | float | None:
    """Return a finite number, as an integer if it is whole; None for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def by_parity(number: str | int, even: str, odd: str) -> str:
    """Return what the parity of a speaker's number means, in corpora that number women and men in this way."""
    return odd if int(number) % 2 else even


def summary(clips: Iterable[Mapping[str, Value]]) -> dict[str, dict[str, int]]:
    """Count the values of each attribute over clips, the most frequent first."""
    counts: dict[str, dict[str, int]] = {}
    for attributes in clips:
        for name, value in attributes.items():
            of_name = counts.setdefault(name, {})
            of_name[str(value)] = of_name.get(str(value), 0) + 1
    return {name: dict(sorted(of_name.items(), key=lambda item: -item[1])) for name, of_name in counts.items()}
