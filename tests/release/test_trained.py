"""What a model was trained on: corpora with hours and licences, the runs before, and what is not known."""

import json
import shutil

import pytest
import yaml
from made_models import CLIPS, relabel, write_finetuning, write_pretraining
from made_shards import relisted

from nonverbal.errors import UserError
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.release.trained import data_sha256, start_named, trained


def test_corpora_have_the_clips_hours_and_licences_of_their_shards(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    found = trained(write_pretraining(tmp_path / "run", [shards]))
    a, b = found.corpora
    assert (a.name, a.clips, a.validation_clips, b.clips, b.validation_clips) == ("a", 1, 1, 1, 0)
    assert [one.hours * 3600 for one in (a, b)] == pytest.approx([1.0, 2.0])
    assert a.validation_hours * 3600 == pytest.approx(0.5)
    assert (a.licence, a.terms.commercial, a.terms.attribution) == ("CC0-1.0", True, False)
    assert found.data_sha256 == [shards.sha256]
    assert found.missing == found.starts == []
    assert found.names == {clip.speaker for clip in shards.clips()}


def test_the_catalogs_terms_count_where_its_reader_read_the_corpus(make_shards, tmp_path):
    shards = make_shards([("cries", 1.0, "train")])
    shards = relabel(shards.folder, licence="ODbL-1.0 AND DbCL-1.0")
    (shards.folder / "ledger.json").write_text(json.dumps({"cries": {"reader": "donateacry"}}))
    (corpus,) = trained(write_pretraining(tmp_path / "run", [shards])).corpora
    assert corpus.terms.verified
    assert corpus.terms.share_alike
    assert "donateacry" in corpus.home


def test_clips_of_several_licences_have_the_strictest(make_shards, tmp_path):
    shards = make_shards([("a", 1.0, "train"), ("a", 1.0, "train")])
    rows = [json.loads(line) for line in (shards.folder / "manifest.jsonl").read_text().splitlines()]
    rows[1]["licence"] = "CC-BY-NC-4.0"
    (shards.folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shards = relisted(shards.folder)
    (corpus,) = trained(write_pretraining(tmp_path / "run", [shards])).corpora
    assert (corpus.terms.commercial, corpus.terms.identifier) == (False, "")
    assert corpus.licence == "CC0-1.0, CC-BY-NC-4.0"


def test_a_corpus_that_is_never_drawn_from_is_no_source(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    found = trained(write_pretraining(tmp_path / "run", [shards], weights={"b": 0}))
    assert [corpus.weight for corpus in found.corpora] == [None, 0]
    assert [source.name for source in found.sources] == ["a"]


def test_a_run_that_continues_another_has_heard_what_that_heard(make_shards, tmp_path):
    first, second = make_shards(CLIPS), make_shards([("c", 1.0, "train")], "more")
    before = write_pretraining(tmp_path / "before", [first], init="facebook/wav2vec2-base")
    for init in (before, before / "encoder"):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        found = trained(write_pretraining(tmp_path / "run", [second], init=str(init)))
        assert [corpus.name for corpus in found.corpora] == ["a", "b", "c"]
        assert [start.name for start in found.starts] == ["facebook/wav2vec2-base"]
        assert [source.kind for source in found.sources] == ["checkpoint", "corpus", "corpus", "corpus"]
        assert len(found.clips) == 4


def test_a_fine_tuning_has_heard_what_its_start_heard_and_its_own_clips_with_labels(make_shards, tmp_path):
    before = write_pretraining(tmp_path / "before", [make_shards(CLIPS)])
    labelled = make_shards([("c", 1.0, "train"), ("c", 1.0, "validation")], "labelled")
    labelled = relabel(labelled.folder, label="a")
    found = trained(write_finetuning(tmp_path / "tuned", labelled, before))
    assert [(corpus.name, corpus.use) for corpus in found.corpora] == [
        ("a", "pretraining"),
        ("b", "pretraining"),
        ("c", "fine-tuning"),
    ]
    # Its folds divide the clips of both splits anew.
    assert (found.corpora[2].clips, found.corpora[2].validation_clips) == (2, 0)


def test_a_fine_tuning_has_heard_the_clips_of_its_classes_alone(make_shards, tmp_path):
    before = write_pretraining(tmp_path / "before", [make_shards(CLIPS)])
    shards = make_shards([("c", 1.0, "train"), ("c", 2.0, "train"), ("d", 1.0, "train")], "labelled")
    path = shards.folder / "manifest.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["label"], rows[2]["licence"] = "a", "CC-BY-NC-4.0"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = trained(write_finetuning(tmp_path / "tuned", relisted(shards.folder), before))
    assert [corpus.name for corpus in found.corpora] == ["a", "b", "c"]
    assert (found.corpora[2].clips, found.corpora[2].hours * 3600) == (1, pytest.approx(1.0))
    assert all(source.terms.commercial for source in found.sources)


def test_corpora_of_one_name_have_the_strictest_of_their_terms(make_shards, tmp_path):
    before = write_pretraining(tmp_path / "before", [make_shards(CLIPS)])
    second = make_shards([("a", 1.0, "train")], "second")
    second = relabel(second.folder, licence="CC-BY-NC-SA-4.0")
    run = write_pretraining(tmp_path / "run", [second], init=str(before / "encoder"))
    found = {source.name: source for source in trained(run).sources}
    assert found.keys() == {"a", "b"}
    assert (found["a"].licence, found["a"].terms.identifier) == ("CC0-1.0, CC-BY-NC-SA-4.0", "")
    assert (found["a"].terms.commercial, found["a"].terms.share_alike) == (False, True)
    assert found["b"].terms.commercial is True


def test_runs_that_name_each_other_end(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    for name, other in (("x", "y"), ("y", "x")):
        write_pretraining(tmp_path / name, [shards], init=str(tmp_path / other))
    assert [corpus.name for corpus in trained(tmp_path / "x").corpora] == ["a", "b", "a", "b"]


def test_random_weights_start_from_nothing(make_shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [make_shards(CLIPS)], init=f"initialised:{tmp_path}/encoder")
    assert trained(run).starts == []
    with pytest.raises(UserError, match="--base_model is x/y, but .* started from random weights"):
        trained(run, base_model="x/y")


def test_shards_that_have_moved_are_found_by_their_content(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    run = write_pretraining(tmp_path / "run", [shards])
    other = make_shards([("a", 1.0, "train")], "shards2")
    moved = shards.folder.rename(tmp_path / "elsewhere")
    lost = trained(run, [other.folder])
    assert lost.corpora == []
    assert lost.missing == [
        "The shards shards of the training data were not available for this release, so their corpora, hours and "
        "licences are not known, and this release could not be searched for the names of their speakers."
    ]
    assert lost.names == frozenset()
    assert lost.data_sha256 == [shards.sha256]
    found = trained(run, [other.folder, moved])
    assert [corpus.name for corpus in found.corpora] == ["a", "b"]
    assert found.missing == []


def test_other_shards_in_the_old_place_are_not_taken_for_the_runs(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    run = write_pretraining(tmp_path / "run", [shards])
    shutil.rmtree(shards.folder)
    make_shards([("secret", 1.0, "train")])
    assert trained(run).corpora == []


def test_a_folder_that_a_run_started_from_is_named_and_its_terms_are_unknown(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    run = write_pretraining(tmp_path / "run", [shards], init=str(tmp_path / "converted"))
    (start,) = trained(run).starts
    assert (start.name, start.on_hub, start.terms.commercial) == ("converted", False, None)
    (start,) = trained(run, base_model="facebook/wav2vec2-base").starts
    assert (start.on_hub, start.terms) == (True, CHECKPOINTS["facebook/wav2vec2-base"].terms)
    given = start_named("somebody/else", True)
    assert (given.name, given.on_hub, given.terms.commercial) == ("somebody/else", True, None)


def test_a_relative_path_that_is_not_here_any_more_is_no_id_of_the_hub(make_shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [make_shards(CLIPS)], init="runs/first")
    found = trained(run)
    (start,) = found.starts
    assert (start.name, start.on_hub, start.terms.commercial) == ("first", False, None)
    assert start.terms.remark == "a folder or file that is not available"
    (said,) = found.missing
    assert said.startswith("The training started from first, which was not available for this release, so the training")
    found = trained(run, base_model="somebody/else")
    assert ([start.name for start in found.starts], found.starts[0].on_hub) == (["somebody/else"], True)
    assert found.missing == []


def test_an_earlier_fine_tuning_counts_as_its_run_does(make_shards, tmp_path):
    before = write_pretraining(tmp_path / "before", [make_shards(CLIPS)])
    labelled = make_shards([("c", 1.0, "train")], "labelled")
    labelled = relabel(labelled.folder, label="a")
    tuned = write_finetuning(tmp_path / "tuned", labelled, before)
    last = write_pretraining(tmp_path / "run", [labelled], init=str(tuned / "model"))
    assert [corpus.use for corpus in trained(last).corpora] == ["pretraining"] * 2 + ["fine-tuning", "pretraining"]


def test_a_dataset_of_the_hub_keeps_its_id(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    corpora = {"a": {"dataset": "org/sounds"}, "b": {"dataset": "/data/private/set"}}
    (shards.folder / "recipe.yaml").write_text(yaml.safe_dump({"corpora": corpora}))
    a, b = trained(write_pretraining(tmp_path / "run", [shards])).corpora
    assert (a.dataset, b.dataset) == ("org/sounds", "")


def test_one_hash_stands_for_all_folders_of_shards():
    assert data_sha256([]) is None
    assert data_sha256(["ab"]) == "ab"
    assert len(str(data_sha256(["ab", "cd"]))) == 64
    assert data_sha256(["ab", "cd"]) != data_sha256(["cd", "ab"])
