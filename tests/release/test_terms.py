"""Licence arithmetic, case by case, by hand."""

import pytest

from nonverbal.data.corpora import CATALOG
from nonverbal.errors import UserError
from nonverbal.licences import SPDX, Terms, spdx, strictest
from nonverbal.release.terms import HUB, NAMES, Source, on_data, release_terms, terms_of


def corpus(name, licence, **changes):
    return Source(name, "corpus", licence, changes.pop("terms", None) or spdx(licence))


def checkpoint(name, licence):
    return Source(name, "checkpoint", licence, spdx(licence))


def of(*licences):
    return [corpus(f"c{number}", licence) for number, licence in enumerate(licences)]


# What a model is made of, and the Hub's licence: with license_name where there is none.
CASES = {
    "one": (of("CC-BY-4.0"), "cc-by-4.0"),
    "public domain": (of("CC0-1.0"), "cc0-1.0"),
    "public domain adds nothing": (of("CC0-1.0", "CC-BY-4.0"), "cc-by-4.0"),
    "the strictest counts": (of("CC-BY-4.0", "CC-BY-NC-4.0", "MIT"), "cc-by-nc-4.0"),
    "share-alike is carried": (of("MIT", "CC-BY-SA-4.0"), "cc-by-sa-4.0"),
    "of one family": (of("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"), "cc-by-nc-sa-4.0"),
    "the licence of a checkpoint comes first": ([*of("CC-BY-4.0"), checkpoint("x/y", "Apache-2.0")], "apache-2.0"),
    "a database": (of("ODbL-1.0"), "odbl"),
    "no changed copies of its audio": (of("CC-BY-NC-ND-4.0"), "cc-by-nc-nd-4.0"),
    "not on the Hub's list": (of("CC-BY-SA-2.0"), "other cc-by-sa-2.0"),
    "share-alike against non-commercial": (of("CC-BY-SA-4.0", "CC-BY-NC-4.0"), "other strictest-of-its-sources"),
    "share-alike twice": (of("CC-BY-SA-4.0", "ODbL-1.0"), "other strictest-of-its-sources"),
    "nothing known": ([], "other unknown-in-part"),
    "one that nobody states": ([*of("MIT"), corpus("x", "", terms=Terms("nobody", False))], "other unknown-in-part"),
    "all that is unknown is settled elsewhere": (
        [*of("CC-BY-NC-4.0"), corpus("x", "", terms=Terms("s", True, derivatives=True, share_alike=False))],
        "cc-by-nc-4.0",
    ),
}


@pytest.mark.parametrize(("sources", "expected"), CASES.values(), ids=CASES)
def test_the_licence_of_a_model_follows_from_those_of_its_sources(sources, expected):
    names = [source.name for source in sources if on_data(source)]
    for order in (sources, sources[::-1]):
        found = release_terms(order, names)
        assert f"{found.licence} {found.licence_name}".strip() == expected


@pytest.mark.parametrize(
    ("sources", "commercial", "derivatives", "attribution", "share_alike"),
    [
        (of("MIT", "CC0-1.0"), True, True, True, False),
        (of("CC-BY-NC-SA-4.0", "MIT"), False, True, True, True),
        (of("CC-BY-ND-4.0"), True, False, True, False),
        ([corpus("x", "", terms=Terms("s", True, commercial=False)), *of("MIT")], False, None, True, None),
        ([], None, None, None, None),
    ],
)
def test_terms_on_models_and_on_derivatives_are_carried(sources, commercial, derivatives, attribution, share_alike):
    carried = release_terms(sources, [source.name for source in sources if on_data(source)]).carried
    found = (carried.commercial, carried.derivatives, carried.attribution, carried.share_alike)
    assert found == (commercial, derivatives, attribution, share_alike)
    # Of audio alone.
    assert carried.redistribution is carried.agreement is None


SIGNED = corpus("iemocap", "IEMOCAP release form", terms=CATALOG["iemocap"].terms)


def test_terms_on_data_forbid_no_weights_but_have_to_be_acknowledged():
    with pytest.raises(
        UserError, match="iemocap: access requires an agreement.*audio must not.*--acknowledge iemocap,"
    ):
        release_terms([SIGNED])
    found = release_terms([SIGNED], ["iemocap"])
    assert found.carried.commercial is False
    assert any("iemocap: access requires" in notice and "has acknowledged this" in notice for notice in found.notices)


def test_what_has_no_terms_on_data_cannot_be_acknowledged():
    with pytest.raises(UserError, match="--acknowledge c0: it has no terms on data"):
        release_terms(of("MIT"), ["c0"])
    with pytest.raises(UserError, match="--acknowledge nnime: it is not among the sources: c0; leave it out"):
        release_terms(of("MIT"), ["nnime"])


FORBIDDEN = {
    "models": Source("x", "corpus", "words", Terms("s", True, models=False)),
    "changed weights": checkpoint("x", "CC-BY-NC-ND-4.0"),
    "weights": Source("x", "checkpoint", "words", Terms("s", True, redistribution=False)),
}


@pytest.mark.parametrize("source", FORBIDDEN.values(), ids=FORBIDDEN)
def test_terms_that_forbid_the_model_refuse_it_unless_there_is_permission(source):
    with pytest.raises(UserError, match="terms forbid this model: x: its .*--i-have-permission REASON"):
        release_terms([source, *of("MIT")])
    found = release_terms([source, *of("MIT")], permission="its authors wrote so\non Monday")
    assert any(r"with permission: its authors wrote so\non Monday" in notice for notice in found.notices)


def test_permission_for_what_is_not_forbidden_is_refused():
    with pytest.raises(UserError, match="no terms forbid this model"):
        release_terms(of("MIT"), permission="why not")


@pytest.mark.parametrize("licence", sorted(SPDX))
def test_no_licence_of_audio_in_the_table_forbids_models(licence):
    source = corpus("x", licence)
    assert release_terms([source], ["x"] if on_data(source) else []).licence


def test_the_catalog_forbids_no_model_and_unknown_terms_refuse_nothing():
    for entry in CATALOG.values():
        source = Source(entry.name, "corpus", entry.licence, entry.terms)
        assert release_terms([source], [entry.name] if on_data(source) else []).licence


def test_what_is_open_is_said():
    notices = release_terms([corpus("babies", "in part", terms=terms_of("CC-BY-NC-3.0 in part", "folder"))]).notices
    assert any(notice.startswith('babies ("in part"): no terms are stated for commercial use') for notice in notices)
    assert any("bind models" in notice and "babies" in notice for notice in notices)
    assert any(notice == "Terms that were not verified against a statement of the owner: babies." for notice in notices)
    disputed = corpus("x", "", terms=strictest(spdx("MIT"), spdx("CC-BY-NC-4.0"), disputed=True))
    assert any("terms disagree" in notice for notice in release_terms([disputed]).notices)


def test_no_licence_meets_two_that_ask_for_share_alike():
    notices = release_terms(of("CC-BY-SA-4.0", "ODbL-1.0")).notices
    assert any("required by CC-BY-SA-4.0, ODbL-1.0; no single licence" in notice for notice in notices)
    assert not any("no single licence" in notice for notice in release_terms(of("CC-BY-SA-4.0", "MIT")).notices)


@pytest.mark.parametrize(
    ("licence", "reader", "expected"),
    [
        ("ODbL-1.0 AND DbCL-1.0", "donateacry", CATALOG["donateacry"].terms),
        # Whoever prepared it has said another licence than the catalog.
        ("CC0-1.0", "donateacry", None),
        ("MIT AND CC-BY-NC-4.0", "folder", None),
        ("mine", "folder", Terms("the manifest", False)),
        ("", "folder", Terms("nobody", False)),
        ("MIT OR CC-BY-4.0", None, Terms("the manifest", False)),
    ],
)
def test_terms_of_clips_are_those_that_their_manifest_names(licence, reader, expected):
    found = terms_of(licence, reader)
    if expected is not None:
        assert found == expected
    else:
        assert found.commercial is ("NC" not in licence)
        assert not found.verified


def test_the_hub_knows_every_identifier_by_the_name_here():
    """Of those in the table, the ones that the Hub's page lists; the others are given by name and link."""
    listed = {name for name in SPDX if name.lower() in HUB or name in NAMES}
    # No DbCL, no CC-BY-SA of before 3.0, and of the others the versions that were never put there.
    assert SPDX.keys() - listed == {
        "DbCL-1.0", "CC-BY-SA-2.0", "CC-BY-SA-2.5", "CC-BY-ND-2.0", "CC-BY-ND-2.5", "CC-BY-ND-3.0",
        "CC-BY-NC-2.5", "CC-BY-NC-SA-2.5", "CC-BY-NC-ND-2.0", "CC-BY-NC-ND-2.5",
    }  # fmt: skip
