"""What is said in clips: texts as recognisers are trained on them, their characters, and how far others are from them.

A text counts in upper case, as words of letters, numbers and apostrophes, as wav2vec 2.0's recognisers have it; ``|``
is what they write between words. Numbers stay as they are written: 7 is a character, and not SEVEN.
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
"""Tokens that are no characters: CTC's blank, which transformers also pads with; what stands for a character that was
not trained; the end of a word."""

APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇", "'"))
"""What is written for an apostrophe."""


def spoken(text: str) -> str:
    """Return what is said of a text: upper case, one space between words; empty where it has no words.

    Words are of letters with their marks, numbers, and apostrophes within them. What else stands in a text, such as
    punctuation, ends a word.
    """
    upper = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.translate(APOSTROPHES)).upper())
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in upper)
    return " ".join(word for part in kept.split() if (word := part.strip("'")))


@dataclass(frozen=True)
class Vocabulary:
    """The tokens that a recogniser tells apart, by number: blank, unknown, end of a word, and then characters."""

    characters: tuple[str, ...]
    """Sorted, each once, none of them a space."""

    @property
    def tokens(self) -> list[str]:
        """All tokens, in the order of their numbers; blank is 0."""
        return [BLANK, UNKNOWN, DELIMITER, *self.characters]

    def encode(self, text: str) -> np.ndarray:
        """Return the number of each character of a ``spoken`` text, ``(characters,)`` int64."""
        numbers = {" ": 2} | {token: number for number, token in enumerate(self.tokens) if number > 2}
        return np.array([numbers.get(character, 1) for character in text], dtype=np.int64)

    def spell(self, numbers: Iterable[int]) -> str:
        """Return the text whose characters these tokens are."""
        tokens = self.tokens
        return "".join(tokens[number] for number in numbers).replace(DELIMITER, " ")

    def decode(self, frames: Iterable[int]) -> str:
        """Return the text of the most likely token of each frame: equal neighbours count once, and blanks not at all.

        As transformers' tokenizers decode, so that two ends of a word with a blank between them are two spaces.
        """
        return self.spell(number for number, _ in groupby(frames) if number != 0).strip()


def vocabulary_of(texts: Iterable[str]) -> Vocabulary:
    """Return the vocabulary of ``spoken`` texts."""
    return Vocabulary(tuple(sorted(set().union(*texts) - {" "})))


def frames_needed(numbers: np.ndarray) -> int:
    """Return the fewest frames that can say encoded characters: one each, and a blank between two that are the same."""
    return len(numbers) + int((numbers[1:] == numbers[:-1]).sum())


class Edits(NamedTuple):
    """How far texts are from those that were said, ``(clips,)`` int64 each."""

    word_errors: np.ndarray
    """Words to substitute, delete and insert."""
    words: np.ndarray
    """Words that were said."""
    character_errors: np.ndarray
    """The same of characters, spaces among them."""
    characters: np.ndarray

    @property
    def rates(self) -> dict[str, float]:
        """``wer`` and ``cer``: errors of all clips together over what was said in them; they may be above 1."""
        return {
            "wer": float(self.word_errors.sum() / self.words.sum()),
            "cer": float(self.character_errors.sum() / self.characters.sum()),
        }


def edits(said: Sequence[str], predicted: Sequence[str]) -> Edits:
    """Compare texts with those that were said, both ``spoken``, by ``jiwer``.

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
    """Refuse to begin what could not be scored.

    Raises:
        UserError: ``jiwer`` is not installed.
    """
    _jiwer()


def _jiwer() -> ModuleType:
    try:
        return importlib.import_module("jiwer")
    except ImportError as error:
        raise UserError("word and character errors are counted by jiwer: pip install 'nonverbal[speech]'") from error
