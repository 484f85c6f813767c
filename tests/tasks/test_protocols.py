from dataclasses import fields, replace
from pathlib import Path

import pytest

from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.tasks.protocol_settings import ProtocolSettings
from nonverbal.tasks.protocols import NAMED, Protocol

PAGE = (Path(__file__).parents[2] / "docs/protocols.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (Protocol(), "speaker-disjoint 5-fold, stratified"),
        (Protocol(10, "recording", stratified=False), "recording-disjoint 10-fold"),
        (Protocol("leave-one-out", "session"), "leave one session out"),
        (Protocol("leave-one-out", "none"), "leave one clip out"),
        (Protocol(5, "none", "test"), "random 5-fold, stratified, chosen on the test fold"),
        (NAMED["voc2vec"].protocol, "random 10-fold, chosen on the test fold, counted as voc2vec does"),
        (NAMED["cross_lingual"].protocol, "speaker-disjoint 80/10/10 hold-out, not refitted"),
        (Protocol("official"), "official splits, chosen speaker-disjoint"),
        (Protocol("official", "none", "test"), "official splits, chosen on the test fold"),
        (Protocol("transfer", train_on=("a", "b"), test_on=("c",)), "from a+b to c, chosen speaker-disjoint"),
        (Protocol(per_class=1), "speaker-disjoint 5-fold, stratified, 1 training clip a class"),
    ],
)
def test_protocols_have_names(protocol: Protocol, name: str) -> None:
    assert protocol.name == name


def test_protocols_that_differ_have_different_names() -> None:
    """So that their numbers share no column; seeds are of one protocol."""
    changes = {
        "folds": 7,
        "group": "recording",
        "select": "test",
        "refit": False,
        "stratified": False,
        "per_class": 5,
    }
    assert {field.name for field in fields(Protocol)} == {
        *changes,
        *("seeds", "shares", "train_on", "test_on", "counting"),
    }
    names = [replace(Protocol(), **{key: value}).name for key, value in changes.items()]  # type: ignore[arg-type]
    names += [Protocol().name, Protocol("hold-out").name, Protocol("hold-out", shares=(60, 20, 20)).name]
    names += [Protocol("hold-out", stratified=False).name]
    assert len(set(names)) == len(names)
    shipped = [named.protocol.name for named in NAMED.values()]
    assert len(set(shipped)) == len(shipped)


def test_few_groups_are_left_out_in_turn() -> None:
    protocol = NAMED["nonverbal"].protocol
    assert protocol.among(9).name == "leave one speaker out"
    assert protocol.among(10).name == "speaker-disjoint 5-fold, stratified"
    assert protocol.name == "speaker-disjoint 5-fold, or leave-one-out"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seeds": ()}, "seeds must be one or more, each once"),
        ({"seeds": (1, 1)}, "seeds must be one or more, each once"),
        ({"shares": (80, 10, 20)}, "that sum to 100"),
        ({"shares": (90, 10, 0)}, "that sum to 100"),
        ({"train_on": ("a",)}, "only a transfer takes corpora"),
        ({"folds": "transfer", "train_on": ("a",), "test_on": ("a", "b")}, "cannot be trained on and tested on: a"),
        ({"folds": 1}, "folds must be at least 2, but is 1"),
        ({"per_class": 0}, "clips per class must be at least 1"),
        ({"counting": "voc2vec"}, "only random folds can count classes"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Protocol(**settings)  # type: ignore[arg-type]


def _resolved(*argv: str) -> Protocol:
    return config.load(ProtocolSettings, list(argv), "nonverbal probe", "").resolved()


def test_settings_change_a_named_protocol() -> None:
    assert _resolved() == Protocol()
    assert _resolved("--folds", "leave-one-out", "--group", "recording") == Protocol("leave-one-out", "recording")
    assert _resolved("--seeds", "0,1") == Protocol(seeds=(0, 1))
    assert _resolved("--protocol", "reno", "--select", "inner") == Protocol(5, "none")
    assert _resolved("--protocol", "cross_lingual", "--shares", "60,20,20", "--refit", "true").name == (
        "speaker-disjoint 60/20/20 hold-out"
    )
    assert _resolved("--protocol", "transfer", "--train_on", "a", "b", "--test_on", "c").test_on == ("c",)
    assert _resolved("--protocol", "voc2vec", "--seeds", "3").counting == "voc2vec"
    # Its way to count is of random folds.
    assert _resolved("--protocol", "voc2vec", "--group", "speaker").name == (
        "speaker-disjoint 10-fold, chosen on the test fold"
    )


def test_a_recipe_holds_a_protocol(tmp_path: Path) -> None:
    recipe = tmp_path / "probe.yaml"
    recipe.write_text("protocol: reno\nfolds: 10\nseeds: [1, 2]\n")
    assert _resolved(str(recipe)) == Protocol(10, "none", "test", seeds=(1, 2))


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="there is no protocol 'voc2vek'; there are: .* did you mean 'voc2vec'"):
        _resolved("--protocol", "voc2vek")
    with pytest.raises(UserError, match="--shares takes three percentages"):
        _resolved("--protocol", "cross_lingual", "--shares", "80,20")


def test_help_and_page_name_every_protocol() -> None:
    from nonverbal.tasks import protocol_settings

    said = Path(protocol_settings.__file__).read_text(encoding="utf-8")
    for name in NAMED:
        assert name in said
        assert f"`{name}`" in PAGE
