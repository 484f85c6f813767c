"""A model's own rows among those of score files: which are shown, under what name, and what the audit says."""

import numpy as np
import pytest
from labelled_tones import tones
from made_models import write_scores_on

from nonverbal.errors import UserError
from nonverbal.launches import add_launch, launch_of
from nonverbal.release.scored import RANDOM, THIS, scored
from nonverbal.tasks.divisions import ON_TEST

KEY = "abc-normalised-cpu"


@pytest.fixture
def sounds(labelled_shards):
    return labelled_shards(tones(speakers=6, takes=2))


def read(path, sounds, heard=(), data=(), own=()):
    return scored(KEY, "run", own, [path], heard, data)


def column(table, name):
    return [row[table.columns.index(name)] for row in table.rows]


def test_rows_of_the_same_weights_are_the_models_whatever_they_were_called(sounds, tmp_path):
    write_scores_on(tmp_path, "/home/alice/run/encoder", sounds, key="abc-normalised-cuda")
    found = read(tmp_path, sounds)
    (table,), (recalls,) = found.tables, found.recalls
    assert column(table, "model") == [THIS]
    # One clip of low is taken for high.
    assert list(zip(column(recalls, "class"), column(recalls, "recall"), strict=True)) == [
        ("high", "1.000"),
        ("low", ".917"),
    ]
    assert "alice" not in str(found)


def test_others_are_shown_where_their_names_are_public(sounds, tmp_path):
    for model, key in (
        ("mine", KEY),
        ("initialised:mine", "k1-as it is-cpu"),
        ("initialised:other", "k2-as it is-cpu"),
        ("logmel", "logmel-80"),
        ("facebook/wav2vec2-base", "k3-as it is-cpu"),
        ("secret/model", "k4-as it is-cpu"),
    ):
        write_scores_on(tmp_path, model, sounds, key=key)
    found = read(tmp_path, sounds)
    assert set(column(found.tables[0], "model")) == {THIS, RANDOM, "logmel", "facebook/wav2vec2-base"}
    assert found.left_out == 2
    assert {result.name for result in found.results} == {"UAR", "accuracy", "macro F1"}


def test_scores_without_a_row_of_the_model_are_refused(sounds, tmp_path):
    write_scores_on(tmp_path, "other", sounds, key="xyz-normalised-cpu")
    with pytest.raises(UserError, match="--scores: no row is for run; the rows are for other, with other weights"):
        read(tmp_path, sounds)
    # Read otherwise, it is another encoder.
    write_scores_on(tmp_path, "same", sounds, key="abc-as it is-cpu")
    with pytest.raises(UserError, match="or read differently"):
        read(tmp_path, sounds)


def test_one_measurement_under_two_names_counts_once(sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY)
    once = read(tmp_path, sounds)
    write_scores_on(tmp_path, "run/encoder", sounds, key=KEY)
    assert read(tmp_path, sounds).tables == once.tables


def test_numbers_are_those_of_the_tables(sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY)
    found = read(tmp_path, sounds)
    by_name = {result.metric: result for result in found.results}
    # One of 24 clips is wrong, and its class has 12.
    assert by_name["accuracy"].value == pytest.approx(23 / 24)
    assert by_name["uar"].value == pytest.approx((1 + 11 / 12) / 2)
    assert by_name["uar"].how == "speakers apart; logistic head"
    assert by_name["uar"].status == "held out"
    assert by_name["uar"].interval.startswith("[")


def test_each_layer_has_its_mean_and_how_often_it_was_chosen_inside(sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY, layers=(0.5, 0.6, 0.4))
    (table,) = read(tmp_path, sounds).layers
    assert column(table, "layer") == ["0", "1", "2"]
    # Three folds, each .1 above the one before.
    assert column(table, "UAR") == [".600", ".700", ".500"]
    assert column(table, "range") == [".500 to .700", ".600 to .800", ".400 to .600"]
    assert column(table, "chosen") == ["0", "2", "1"]


def test_what_was_chosen_on_the_test_side_stands_in_tables_alone(sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY, layers=(0.5, 0.6, 0.4), lets_through=[ON_TEST])
    found = read(tmp_path, sounds)
    assert len(found.tables) == 1
    assert found.results == found.layers == found.recalls == []


def test_labels_that_were_seen_make_no_result(sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY, pretraining="labels seen")
    found = read(tmp_path, sounds, heard=sounds.clips())
    assert found.results == []
    assert found.heard == {"labels seen": ["made"]}


def test_the_audit_finds_what_scores_do_not_know(sounds, tmp_path):
    """Scores that were taken without the manifests of pretraining say ``held out`` wrongly."""
    write_scores_on(tmp_path, "run", sounds, key=KEY)
    found = read(tmp_path, sounds, sounds.clips(), [sounds.folder])
    assert found.heard == {"transductive": ["made"]}
    assert column(found.tables[0], "pretraining") == ["transductive"]
    (said,) = found.audits
    assert said.startswith(
        "made, speakers apart: transductive. 24 test clips were compared with 25 clips of pretraining. Overlap: 24 "
        "with the same audio, 24 from the same recording, 24 from the same speaker, 24 with the same clip id."
    )


def test_what_was_heard_of_others_is_no_leak(sounds, labelled_shards, tmp_path):
    random = np.random.default_rng(1)
    other = labelled_shards([(None, "x", "r", [random.normal(size=800).astype(np.float32) / 9])], "other", "other")
    write_scores_on(tmp_path, "run", sounds, key=KEY)
    (said,) = read(tmp_path, sounds, other.clips(), [other.folder, sounds.folder]).audits
    compared = "made, speakers apart: held out. 24 test clips were compared with 1 clips of pretraining. "
    assert said == f"{compared}No overlap was found."
    (said,) = read(tmp_path, sounds, other.clips()).audits
    assert said == f"{compared}No overlap was found. Their audio was not available for this comparison."


def test_a_shared_speaker_is_said_and_is_no_transduction(sounds, labelled_shards, tmp_path):
    sound = [np.full(800, 0.1, dtype=np.float32)]
    other = labelled_shards([(None, "s0", "r", sound)], "other", "other")
    write_scores_on(tmp_path, "run", sounds, key=KEY)
    (said,) = read(tmp_path, sounds, other.clips(), [sounds.folder]).audits
    assert "made, speakers apart: held out" in said
    assert said.endswith("Overlap: 4 from the same speaker.")


def test_without_manifests_the_audit_says_so(sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY, pretraining="unknown")
    (said,) = read(tmp_path, sounds).audits
    assert said == ("made, speakers apart: unknown, according to the scores; no manifest of pretraining was available.")


@pytest.mark.parametrize("status", ["unknown", "transductive", "labels seen", "transductive (by its authors)"])
def test_without_manifests_the_status_of_scores_stays(status, sounds, tmp_path):
    write_scores_on(tmp_path, "run", sounds, key=KEY, pretraining=status)
    found = read(tmp_path, sounds)
    assert found.heard == {status: ["made"]}
    assert column(found.tables[0], "pretraining") == [status]
    assert {result.status for result in found.results} <= {status}


@pytest.mark.parametrize("first", ["held out", "labels seen"])
def test_each_row_keeps_its_own_status(first, sounds, tmp_path):
    """What was taken without manifests stands beside what was taken with them, in whichever order they are read."""
    other = {"held out": "labels seen", "labels seen": "held out"}[first]
    write_scores_on(tmp_path / "one", "run", sounds, key=KEY, pretraining=first)
    write_scores_on(tmp_path / "two", "run", sounds, key=KEY, pretraining=other, wrong=2)
    found = read(tmp_path, sounds, sounds.clips()[:0])
    assert sorted(column(found.tables[0], "pretraining")) == ["held out", "labels seen"]
    assert {result.status for result in found.results} == {"held out"}


def test_without_scores_nothing_is_said():
    found = scored(KEY, "run", [], [], [], [])
    assert (found.tables, found.results, found.audits, found.left_out, found.seeds) == ([], [], [], 0, [])


def test_commands_of_scores_are_those_of_their_launches(sounds, tmp_path):
    launch = launch_of(["nonverbal", "probe", "--data", "/home/alice/shards", "--out", "x"])
    path = write_scores_on(tmp_path, "run", sounds, key=KEY, launch=add_launch(tmp_path, launch))
    add_launch(tmp_path, launch_of(["nonverbal", "probe", "--data", "elsewhere"]))
    assert read(path, sounds).commands == ["nonverbal probe --data shards --out x"]


def test_one_model_that_came_out_in_two_ways_is_shown_in_two_rows_or_refused(sounds, tmp_path):
    """Two files may hold different scores of the same weights: of another head setting, say, that nobody named."""
    write_scores_on(tmp_path / "alice" / "one", "run", sounds, key=KEY)
    write_scores_on(tmp_path / "alice" / "two", "run", sounds, key=KEY, wrong=2)
    (table,) = scored(KEY, "run", [], [tmp_path / "alice"], [], []).tables
    assert column(table, "head") == ["logistic, in one", "logistic, in two"]
    # Under two names nothing tells them apart.
    write_scores_on(tmp_path / "bob" / "one", "run", sounds, key=KEY)
    write_scores_on(tmp_path / "bob" / "two", "other", sounds, key=KEY, wrong=2)
    with pytest.raises(UserError, match="have different scores of one model"):
        scored(KEY, "run", [], [tmp_path / "bob"], [], [])


def test_what_scores_do_not_know_is_settled_where_all_that_was_heard_is_here(sounds, labelled_shards, tmp_path):
    other = labelled_shards([(None, "x", "r", [np.full(800, 0.1, dtype=np.float32)])], "other", "other")
    path = write_scores_on(tmp_path, "run", sounds, key=KEY, pretraining="unknown")
    given = (KEY, "run", [], [path], other.clips())
    assert scored(*given, [sounds.folder], complete=True).heard == {"held out": ["made"]}
    # Something else was heard, or the samples cannot be compared.
    assert scored(*given, [sounds.folder]).heard == {"unknown": ["made"]}
    assert scored(*given, [], complete=True).heard == {"unknown": ["made"]}
    assert scored(KEY, "run", [], [path], sounds.clips(), [], complete=True).heard == {"transductive": ["made"]}
