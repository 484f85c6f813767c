"""What is said in clips: texts as recognisers are trained on them, their characters, and differences between texts.

A text is compared in upper case, as words of letters, numbers and apostrophes, as in wav2vec 2.0's recognisers, which
write ``|`` between words. Numbers stay as they are written: 7 is a character, not SEVEN.
"""

import importlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import ModuleType
from typing import NamedTuple

import numpy as np

from nonverbal.errors import UserError

BLANK, UNKNOWN, DELIMITER = "<pad>", "<unk>", "|"
"""Tokens that are not characters: CTC's blank, with which transformers also pads; a character that did not occur in
training; the end of a word."""

APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇", "'"))
"""Characters that are written for an apostrophe."""


def spoken(text: str) -> str:
    """Return the words of a text as they are compared: upper case, one space between words; empty without words.

    Words consist of letters with their marks, numbers, and apostrophes within them. Anything else in a text, such as
    punctuation, ends a word.
    """
    upper = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.translate(APOSTROPHES)).upper())
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in upper)
    return " ".join(word for part in kept.split() if (word := part.strip("'")))


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a recogniser distinguishes, by number: blank, unknown, end of a word, and then characters."""

    characters: tuple[str, ...]
    """Sorted and distinct, without spaces."""

    @property
    def tokens(self) -> list[str]:
        """All tokens, in the order of their numbers; blank is 0."""
        return [BLANK, UNKNOWN, DELIMITER, *self.characters]

    def encode(self, text: str) -> np.ndarray:
        """Return the number of each character of a ``spoken`` text, ``(characters,)`` int64."""
        numbers = {" ": 2} | {token: number for number, token in enumerate(self.tokens) if number > 2}
        return np.array([numbers.get(character, 1) for character in text], dtype=np.int64)

    def spell(self, numbers: Iterable[int]) -> str:
        """Return the text that consists of these tokens."""
        tokens = self.tokens
        return "".join(tokens[number] for number in numbers).replace(DELIMITER, " ")

    def decode(self, frames: Iterable[int]) -> str:
        """Return the text of the most likely token of each frame: equal neighbours count once, and blanks not at all.

        As in transformers' tokenizers, two ends of a word with a blank between them give two spaces.
        """
        return self.spell(number for number, _ in groupby(frames) if number != 0).strip()


def vocabulary_of(texts: Iterable[str]) -> Vocabulary:
    """Return the vocabulary of ``spoken`` texts."""
    return Vocabulary(tuple(sorted(set().union(*texts) - {" "})))


def frames_needed(numbers: np.ndarray) -> int:
    """Return the smallest number of frames for encoded characters: one each, and a blank between two equal ones."""
    return len(numbers) + int((numbers[1:] == numbers[:-1]).sum())


class Edits(NamedTuple):
    """Differences between texts and what was said, ``(clips,)`` int64 each."""

    word_errors: np.ndarray
    """Number of words to substitute, delete and insert."""
    words: np.ndarray
    """Number of words that were said."""
    character_errors: np.ndarray
    """The same for characters, including spaces."""
    characters: np.ndarray

    @property
    def rates(self) -> dict[str, float]:
        """``wer`` and ``cer``: errors of all clips together, relative to what was said in them; they may be above 1."""
        return {
            "wer": float(self.word_errors.sum() / self.words.sum()),
            "cer": float(self.character_errors.sum() / self.characters.sum()),
        }


def edits(said: Sequence[str], predicted: Sequence[str]) -> Edits:
    """Compare texts with those that were said, both in the form of ``spoken``, with ``jiwer``.

    Raises:
        UserError: ``jiwer`` is not installed.
    """
    jiwer = _jiwer()
    rows = []
    for text, guess in zip(said, predicted, strict=True):
        row: list[int] = []
        for found in (jiwer.process_words(text, guess), jiwer.process_characters(text, guess)):
            wrong = found.substitutions + found.deletions
            row += [wrong + found.insertions, found.hits + wrong]
        rows.append(row)
    return Edits(*np.array(rows, dtype=np.int64).reshape(-1, 4).T)


def check_jiwer() -> None:
    """Refuse to begin if the result could not be scored.

    Raises:
        UserError: ``jiwer`` is not installed.
    """
    _jiwer()


def _jiwer() -> ModuleType:
    try:
        return importlib.import_module("jiwer")
    except ImportError as error:
        raise UserError("word and character errors are counted by jiwer: pip install 'nonverbal[speech]'") from error
