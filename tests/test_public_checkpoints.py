"""What public checkpoints have heard."""

import pytest

from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora import VOC125 as OF_THE_CATALOG
from nonverbal.public_checkpoints import CHECKPOINTS, DRAWN_FROM, PARTS, VOC125, Heard, heard, with_parts

ELSEWHERE = {
    "libri-light", "gigaspeech", "voxpopuli", "multilingual-librispeech", "common-voice", "babel", "voxlingua107",
    "mms-lab", "680000 hours of the web", "the English part of 680000 hours of the web",
}  # fmt: skip
"""Corpora without a reader."""


def test_voc125_is_that_of_the_catalog():
    assert set(VOC125) == set(OF_THE_CATALOG)


@pytest.mark.parametrize(
    ("checkpoint", "corpora"),
    [
        ("facebook/wav2vec2-base", {"librispeech", "librilight-limited"}),
        ("microsoft/wavlm-base-plus", {"libri-light", "gigaspeech", "voxpopuli", "librispeech", "librilight-limited"}),
        ("ALM/wav2vec2-base-audioset", {"audioset"}),
        ("MIT/ast-finetuned-audioset-10-10-0.4593", {"audioset"}),
        ("alkiskoudounas/voc2vec", set(VOC125)),
        ("alkiskoudounas/voc2vec-ls-pt", {*VOC125, "librispeech", "librilight-limited"}),
    ],
)
def test_what_a_checkpoint_has_heard(checkpoint, corpora):
    assert heard(checkpoint) == Heard(frozenset(corpora), complete=True)


@pytest.mark.parametrize("source", ["facebook/mms-300m", "openai/whisper-small", "emotion2vec/emotion2vec_plus_base"])
def test_what_is_not_wholly_known_says_so(source):
    assert not heard(source).complete


def test_of_what_is_not_in_the_table_nothing_is_known():
    assert heard("runs/x/encoder") is heard("") is None


def test_parts_are_heard_with_the_whole():
    assert with_parts(["libri-light"]) == {"libri-light", "librispeech", "librilight-limited"}
    assert with_parts([]) == frozenset()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_statement_has_a_source_and_corpora_have_known_names(name):
    checkpoint = CHECKPOINTS[name]
    assert checkpoint.source
    assert checkpoint.terms.source
    assert {*(checkpoint.pretraining or ()), *(checkpoint.supervised or ())} <= CATALOG.keys() | ELSEWHERE
    assert "memory" not in checkpoint.source or not checkpoint.verified


def test_parts_and_origins_are_of_known_corpora():
    assert {name for names in PARTS.values() for name in names} <= CATALOG.keys()
    assert PARTS.keys() <= CATALOG.keys() | ELSEWHERE
    assert DRAWN_FROM.keys() <= CATALOG.keys()
    named = [(*(known.pretraining or ()), *(known.supervised or ())) for known in CHECKPOINTS.values()]
    assert PARTS.keys() <= {name for names in named for name in names}
