"""Each entry of the catalog agrees with the docstring of its module, and the entries of Voc125 with the paper."""

import re

import pytest

from nonverbal.data.corpora import CATALOG, MODULES, VOC125

SPDX = r"\bMIT\b|\b[A-Za-z]+(?:-[A-Za-z]+)*-\d\.\d\b"


def words(text):
    """Licences are written with dashes in one place and with spaces in another."""
    return re.sub(r"[\s-]+", " ", text)


def says(text, number):
    return re.search(rf"\b({number}|{number:,})\b", text) is not None


def test_names_are_unique_and_lower_case():
    names = [corpus.name for module in MODULES for corpus in module.CORPORA]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in names)


@pytest.mark.parametrize("corpus", CATALOG.values(), ids=CATALOG)
def test_the_docstring_states_doi_licence_and_expected_clips(corpus):
    assert "Licence" in corpus.notes
    assert "Expected" in corpus.notes
    assert "Verified" in corpus.notes
    assert corpus.doi is None or corpus.doi in corpus.notes
    for licence in re.findall(SPDX, corpus.licence):
        assert words(licence) in words(corpus.notes)
    counts = corpus.clips if isinstance(corpus.clips, tuple) else (corpus.clips,)
    assert all(count is None or says(corpus.notes, count) for count in counts)
    assert corpus.voc125 is None or says(corpus.notes, corpus.voc125[0])


@pytest.mark.parametrize("corpus", CATALOG.values(), ids=CATALOG)
def test_classes_sum_to_the_clips_or_the_docstring_has_their_sum(corpus):
    total = sum(corpus.classes.values())
    assert not corpus.classes or total == corpus.clips or says(corpus.notes, total)


def test_voc125_is_that_of_the_paper():
    assert len(VOC125) == 10
    assert sum(clips for clips, _ in VOC125.values()) == 68_067
    assert sum(hours for _, hours in VOC125.values()) == pytest.approx(125.19, abs=0.001)
    assert all("pretraining" in CATALOG[name].purposes for name in VOC125)


@pytest.mark.parametrize("corpus", CATALOG.values(), ids=CATALOG)
def test_terms_have_a_source_and_are_not_wider_than_the_licence(corpus):
    assert corpus.terms.source
    assert corpus.terms.disputed == ("disputed" in corpus.licence or corpus.name == "vocalsketch")
    assert "memory" not in corpus.terms.source or not corpus.terms.verified
    if "-NC" in corpus.licence and "per clip" not in corpus.licence:
        assert corpus.terms.commercial is False
    if "agreement" in corpus.licence or "form" in corpus.licence:
        assert (corpus.terms.agreement, corpus.terms.redistribution) == (True, False)


def test_products_may_be_trained_on_what_was_known_before():
    allowed = {name for name, corpus in CATALOG.items() if corpus.terms.commercial}
    refused = {name for name, corpus in CATALOG.items() if corpus.terms.commercial is False}
    assert allowed == {
        "human-voice", "recanvo", "vocalsound", "donateacry", "donateacry-uploads", "jnv", "oreau", "librispeech",
        "librilight-limited",
    }  # fmt: skip
    assert refused == {"nonspeech7k", "nonverbal-vocalization", "vivae", "iemocap", "cafe", "emovo"}
