import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer

from nonverbal.data.transcripts import Vocabulary, edits, frames_needed, spoken, vocabulary_of


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Don’t stop -- 'now'!", "DON'T STOP NOW"),
        ("  re-\tread\nit ", "RE READ IT"),
        ("cafe\u0301 Straße", "CAF\u00c9 STRASSE"),
        ("7 | <pad> a_b", "7 PAD A B"),
        ("नमस्ते", "नमस्ते"),
        ("... ' - ?", ""),
        ("", ""),
    ],
)
def test_what_is_said_of_a_text(text: str, said: str) -> None:
    assert spoken(text) == said


@given(st.text())
def test_what_is_said_is_said_of_itself(text: str) -> None:
    said = spoken(text)
    assert spoken(said) == said
    assert said == " ".join(said.split())


def test_a_vocabulary_holds_the_characters_of_texts() -> None:
    vocabulary = vocabulary_of(["ONE TWO", "THREE'S"])
    assert vocabulary.tokens == ["<pad>", "<unk>", "|", *"'EHNORSTW"]
    assert vocabulary.encode("NO X").tolist() == [6, 7, 2, 1]


def test_texts_are_encoded_and_decoded_as_by_transformers(tmp_path: Path) -> None:
    """Random frames, and real texts as frames, through the tokenizer that wav2vec 2.0's recognisers have."""
    vocabulary = vocabulary_of(["AB CD"])
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary.tokens)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), bos_token=None, eos_token=None)
    random = np.random.default_rng(0)
    # Few tokens, so that all neighbours occur: repeats, blanks between repeats, ends of words at both ends.
    for frames in random.integers(0, len(vocabulary.tokens), (200, 12)).tolist():
        assert vocabulary.decode(frames) == tokenizer.decode(frames)
    for text in ("AB BA", "A", "DXB C"):
        assert vocabulary.encode(text).tolist() == tokenizer(text).input_ids


def test_frames_that_a_text_needs() -> None:
    """AAB: A, blank, A, B."""
    vocabulary = Vocabulary(("A", "B"))
    assert [frames_needed(vocabulary.encode(text)) for text in ("AAB", "AB", "A", "AA  BB")] == [4, 2, 1, 9]
    assert vocabulary.decode([3, 0, 3, 4]) == "AAB"


def levenshtein(one: list[str], other: list[str]) -> int:
    """Wagner and Fischer's table, row by row."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def test_edits_are_the_distances_of_levenshtein() -> None:
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("AB C"), size)) for size in random.integers(1, 15, 40)]
    said = [spoken(text) or "A" for text in texts]
    predicted = [spoken(text) for text in reversed(texts)]
    found = edits(said, predicted)
    assert found.word_errors.tolist() == [
        levenshtein(a.split(), b.split()) for a, b in zip(said, predicted, strict=True)
    ]
    assert found.character_errors.tolist() == [
        levenshtein(list(a), list(b)) for a, b in zip(said, predicted, strict=True)
    ]
    assert found.words.tolist() == [len(a.split()) for a in said]
    assert found.characters.tolist() == list(map(len, said))
    assert found.rates["wer"] == found.word_errors.sum() / found.words.sum()


def test_edits_by_hand() -> None:
    """ONE TWO -> ON TWO TWO: a word substituted and one inserted; E becomes a space, TWO is inserted."""
    found = edits(["ONE TWO", "A"], ["ON TWO TWO", ""])
    assert [column.tolist() for column in found] == [[2, 1], [2, 1], [4, 1], [7, 1]]
    assert found.rates == {"wer": 1.0, "cer": 0.625}
    assert len(edits([], []).words) == 0
