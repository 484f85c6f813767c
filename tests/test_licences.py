"""The terms of licences against a table by hand, and how several are combined."""

import pytest

from nonverbal.licences import DUTIES, PERMISSIONS, SPDX, Terms, in_words, spdx, strictest

# commercial, derivatives, redistribution, attribution, share-alike
BY_HAND = {
    "CC0-1.0": (True, True, True, False, False),
    "CC-BY-4.0": (True, True, True, True, False),
    "CC-BY-3.0": (True, True, True, True, False),
    "CC-BY-SA-4.0": (True, True, True, True, True),
    "CC-BY-SA-3.0": (True, True, True, True, True),
    "CC-BY-ND-4.0": (True, False, True, True, False),
    "CC-BY-NC-4.0": (False, True, True, True, False),
    "CC-BY-NC-SA-4.0": (False, True, True, True, True),
    "CC-BY-NC-ND-4.0": (False, False, True, True, False),
    "ODbL-1.0": (True, True, True, True, True),
    "DbCL-1.0": (True, True, True, False, False),
    "Apache-2.0": (True, True, True, True, False),
    "MIT": (True, True, True, True, False),
    "BSD-3-Clause": (True, True, True, True, False),
}
FIELDS = ("commercial", "derivatives", "redistribution", "attribution", "share_alike")


@pytest.mark.parametrize(("identifier", "expected"), BY_HAND.items(), ids=BY_HAND)
def test_terms_are_those_of_the_licences_text(identifier, expected):
    terms = spdx(identifier)
    assert tuple(getattr(terms, name) for name in FIELDS) == expected
    assert terms.models is None
    assert terms.agreement is False


def test_every_licence_was_looked_up_by_hand():
    assert {name.rsplit("-", 1)[0] for name in SPDX} == {name.rsplit("-", 1)[0] for name in BY_HAND}


def test_an_unknown_licence_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'CC-BY-NC-5.0'; those known are .*CC-BY-NC-4.0"):
        spdx("CC-BY-NC-5.0")


@pytest.mark.parametrize(
    ("a", "b", "allowed", "asked"),
    [
        (True, True, True, True),
        (True, False, False, True),
        (True, None, None, True),
        (False, None, False, None),
        (None, None, None, None),
        (False, False, False, False),
    ],
)
def test_the_strictest_of_two_readings_counts(a, b, allowed, asked):
    one, two = (Terms("here", True, **dict.fromkeys((*PERMISSIONS, *DUTIES), value)) for value in (a, b))
    for terms in (strictest(one, two), strictest(two, one)):
        assert {getattr(terms, name) for name in PERMISSIONS} == {allowed}
        assert {getattr(terms, name) for name in DUTIES} == {asked}


def test_combined_terms_keep_sources_and_doubts():
    terms = strictest(spdx("MIT", "here", True), spdx("MIT", "there", False, "half of it"), disputed=True)
    assert (terms.source, terms.verified, terms.disputed, terms.remark) == ("here; there", False, True, "half of it")
    assert strictest(terms, spdx("MIT")).disputed


def test_terms_in_words_leave_nothing_out():
    words = in_words(spdx("CC-BY-NC-SA-4.0"))
    assert words == (
        "allows changed copies, redistribution; forbids commercial use; requires attribution, share-alike; not stated: "
        "publishing models trained on it"
    )
