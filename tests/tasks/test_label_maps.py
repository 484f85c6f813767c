import pytest

from nonverbal.data.corpora import CATALOG
from nonverbal.errors import UserError
from nonverbal.tasks.label_maps import NAMED, OTHERS, label_map

CODES = ["ang", "exc", "hap", "neu", "xxx"]


def test_a_list_keeps_its_classes_and_an_empty_one_all() -> None:
    assert label_map(["hap", "ang"], ["ang", "exc", "hap"], "x") == {"ang": "ang", "exc": None, "hap": "hap"}
    assert label_map([], ["ang", "exc"], "x") == {"ang": "ang", "exc": "exc"}


def test_a_map_merges_and_drops_and_leaves_the_rest() -> None:
    assert label_map({"exc": "hap", "xxx": None}, CODES, "x") == {
        "ang": "ang",
        "exc": "hap",
        "hap": "hap",
        "neu": "neu",
        "xxx": None,
    }


def test_a_star_stands_for_all_that_are_not_named() -> None:
    dropped = label_map({"exc": "hap", "hap": "hap", OTHERS: None}, CODES, "x")
    assert {label: name for label, name in dropped.items() if name} == {"exc": "hap", "hap": "hap"}
    rest = label_map({"hap": "hap", OTHERS: "rest"}, CODES, "x")
    assert rest == {"ang": "rest", "exc": "rest", "hap": "hap", "neu": "rest", "xxx": "rest"}


def test_targets_are_not_mapped_again() -> None:
    assert label_map({"a": "b", "b": "a"}, ["a", "b"], "x") == {"a": "b", "b": "a"}


@pytest.mark.parametrize("labels", ["four-emotions", ["four-emotions"]])
def test_four_emotions_merge_excitement_in_happiness(labels: str | list[str]) -> None:
    iemocap = ["anger", "happiness", "excitement", "sadness", "neutral", "frustration", "other"]
    found = label_map(labels, iemocap, "x")
    assert found["excitement"] == "happiness"
    assert {name for name in found.values() if name} == {"anger", "happiness", "sadness", "neutral"}
    assert found["frustration"] is None
    # MSP-IMPROV has no excitement.
    assert label_map(labels, ["anger", "happiness", "sadness", "neutral", "other"], "x")["other"] is None


@pytest.mark.parametrize(("corpus", "clips"), [("iemocap", 5531), ("msp-improv", 7798)])
def test_four_emotions_are_the_papers_clips(corpus: str, clips: int) -> None:
    classes = CATALOG[corpus].classes
    becomes = label_map("four-emotions", list(classes), corpus)
    assert sum(count for label, count in classes.items() if becomes[label]) == clips


def test_what_no_clip_has_is_refused_with_what_is_near() -> None:
    with pytest.raises(UserError, match="labelled 'hihg'; there are: high, low; did you mean 'high'"):
        label_map(["hihg", "low"], ["high", "low"], "x")
    with pytest.raises(UserError, match="no clip in x is labelled 'exc'; there are: high, low$"):
        label_map({"exc": "high"}, ["high", "low"], "x")
    with pytest.raises(UserError, match="label maps: four-emotions; did you mean 'four-emotions'"):
        label_map(["four-emotion"], ["high", "low"], "x")
    with pytest.raises(UserError, match="no clip in x is of class 'anger' of the label map four-emotions"):
        label_map("four-emotions", ["happiness", "neutral", "sadness"], "x")


def test_a_label_that_is_called_like_a_map_is_a_label() -> None:
    assert label_map(["four-emotions"], ["four-emotions", "b"], "x") == {"four-emotions": "four-emotions", "b": None}


@pytest.mark.parametrize("name", NAMED)
def test_named_maps_say_where_every_label_goes(name: str) -> None:
    assert OTHERS in NAMED[name]
    assert len({target for target in NAMED[name].values() if target}) >= 2
