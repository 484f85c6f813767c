"""What public checkpoints have heard."""

import pytest

from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora import VOC125 as OF_THE_CATALOG
from nonverbal.public_checkpoints import CHECKPOINTS, DRAWN_FROM, PARTS, VOC125, heard, with_parts

ELSEWHERE = {
    "libri-light", "gigaspeech", "voxpopuli", "multilingual-librispeech", "common-voice", "babel", "voxlingua107",
    "mms-lab", "680000 hours of the web",
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
    assert heard(checkpoint) == corpora


@pytest.mark.parametrize(
    "source", ["facebook/mms-300m", "openai/whisper-small", "emotion2vec/emotion2vec_plus_base", "runs/x/encoder", ""]
)
def test_what_is_not_wholly_known_is_unknown(source):
    assert heard(source) is None


def test_parts_are_heard_with_the_whole():
    assert with_parts(["asvp-esd"]) == {"asvp-esd", "asvp-esd-nonspeech"}
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
    assert DRAWN_FROM.keys() - CATALOG.keys() == {"esc-50"}
