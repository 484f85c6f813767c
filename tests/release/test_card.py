"""The card of a release, read back by the Hub's own client: metadata, and what is said and not said."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from labelled_tones import tones
from made_models import CLIPS, relabel, settings, write_pretraining, write_scores_on

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.release.card import card_text
from nonverbal.release.card_tables import padding
from nonverbal.release.facts import read_facts
from nonverbal.release.passport import Measured, Passport
from nonverbal.release.public import command_line, last_part, recipe_text
from nonverbal.release.terms import release_terms

STACK = {"python": "3.11", "torch": "2.9", "transformers": "4.57", "device": "cpu"}


def passport(**figures):
    return Passport({}, "ab" * 32, [Measured(STACK, figures, [1.0], [[[0.0]]])])


PLAIN = passport(batch=1e-7, padded=0.25)


@pytest.fixture
def run(make_shards, tmp_path):
    return write_pretraining(tmp_path / "run", [make_shards(CLIPS)])


def card(source, facts=None, found=PLAIN, **given):
    """Return a card as the Hub's client reads it."""
    asked = settings(source, source.parent / "out", **given)
    known = facts or read_facts(asked.source, asked.scores, asked.data, asked.base_model)
    terms = release_terms(known.trained.sources, asked.acknowledge, asked.i_have_permission)
    return ModelCard(card_text(known, terms, found, asked, "nonverbal release x"))


def test_metadata_of_an_encoder_are_what_the_hub_reads(run):
    data = card(run, language=["en", "zh"]).data
    assert data.license == "cc0-1.0"
    assert data.license_name is data.license_link is data.base_model is data.eval_results is None
    assert (data.library_name, data.pipeline_tag) == ("transformers", "feature-extraction")
    assert data.language == ["en", "zh"]
    assert {"audio", "self-supervised"} <= set(data.tags)
    assert "custom_code" not in data.tags


def test_an_audio_mamba_says_that_it_brings_code(make_shards, tmp_path):
    made = card(write_pretraining(tmp_path / "run", [make_shards(CLIPS)], "audio_mamba"))
    assert "custom_code" in made.data.tags
    assert "trust_remote_code=True" in made.text


def test_a_continued_encoder_names_its_base_and_relation(make_shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [make_shards(CLIPS)], init="facebook/wav2vec2-base")
    made = card(run)
    assert made.data.base_model == ["facebook/wav2vec2-base"]
    assert made.data.to_dict()["base_model_relation"] == "finetune"
    assert made.data.license == "apache-2.0"
    assert "parameters), pretrained from facebook/wav2vec2-base on 0.000833 h of audio (a, b)." in made.text


def test_a_licence_that_the_hub_has_no_name_for_is_linked(run, tmp_path):
    relabel(tmp_path / "shards", licence="CC-BY-SA-2.0")
    data = card(run).data
    assert (data.license, data.license_name) == ("other", "cc-by-sa-2.0")
    assert data.license_link == "https://spdx.org/licenses/CC-BY-SA-2.0.html"
    relabel(tmp_path / "shards", licence="as we agreed")
    made = card(run)
    assert (made.data.license, made.data.license_name) == ("other", "unknown-in-part")
    assert made.data.license_link == "https://huggingface.co/org/tiny/blob/main/README.md#licence"
    assert "\n## Licence\n" in made.text
    assert 'a ("as we agreed"): no terms are stated for commercial use' in made.text


def test_scores_are_in_the_index_of_the_model_with_protocol_status_and_interval(run, labelled_shards, tmp_path):
    sounds = labelled_shards(tones(speakers=6, takes=2), "labelled")
    key = load_frame_encoder(str(run)).key
    write_scores_on(tmp_path / "scores", "run", sounds, key=key, layers=(0.5, 0.6, 0.4))
    made = card(run, scores=[tmp_path / "scores"], data=[sounds.folder])
    assert made.data.model_name == "tiny"
    uar = next(result for result in made.data.eval_results if result.metric_type == "recall")
    assert uar.dataset_config == "speakers apart; logistic head"
    assert uar.dataset_args == {"pretraining": "held out"}
    assert uar.metric_value == round((1 + 11 / 12) / 2, 4)
    assert re.fullmatch(r"UAR \(95% interval \[\.\d{3}, (\.\d{3}|1\.000)\]\)", uar.metric_name)
    assert "It was evaluated on made (held out)." in made.text
    assert "Seeds of folds and heads: 0." in made.text
    assert "- held out: no test clip" in made.text
    assert "- transductive:" not in made.text
    assert "UAR is the unweighted average recall" in made.text
    assert 'In the column "layer", 3×2 means that 3 was chosen in two folds.' in made.text
    assert "24 test clips were compared with 3 clips of pretraining. No overlap was found." in made.text
    assert "### made, speakers apart: layers with a logistic head" in made.text
    assert ": recall by class" in made.text


def test_what_is_known_of_the_training_is_said(run):
    text = card(run).text
    assert "- updates: 30 (the best checkpoint by validation; the run had 40; its recipe asks for 1,000)" in text
    assert "- audio in training: at most 1,440 s (0.4 h) in full batches, repetitions included" in text
    assert "- hardware: Abacus; processes: 2; threads per process: 4" in text
    assert "| a | pretraining | 1 | 0.000278 | 1 | CC0-1.0 |" in text
    assert "| 10 | 4.5 |" in text
    assert "nonverbal pretrain --data shards --out=run --trainer.steps 40" in text
    assert "a machine" not in text
    assert "never" not in re.findall(r"^\| update .*$", text, re.MULTILINE)[0]
    assert "family: wav2vec2" in text
    assert "ssam:" not in text


def test_what_is_not_known_is_said(run, tmp_path):
    (tmp_path / "shards").rename(tmp_path / "gone")
    made = card(run)
    assert "The shards shards of the training data were not available" in made.text
    assert made.data.license_name == "unknown-in-part"
    assert "No scores are available for this model." in made.text


def test_permission_and_acknowledgement_are_printed(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    shards = relabel(shards.folder, licence="CC-BY-ND-4.0")
    run = write_pretraining(tmp_path / "run", [shards], init="x/y")
    facts = read_facts(run, base_model="x/y")
    strict = replace(facts.trained.starts[0].terms, models=False)
    trained = replace(facts.trained, starts=[replace(facts.trained.starts[0], terms=strict)])
    facts = replace(facts, trained=trained)
    with pytest.raises(UserError, match="terms forbid this model: x/y"):
        card(run, facts, acknowledge=["a", "b"])
    text = card(run, facts, acknowledge=["a", "b"], i_have_permission="letter of 1 May").text
    assert "released with permission: letter of 1 May" in text
    assert "a: changed copies of its audio must not be redistributed. The publisher of the model has" in text


def test_what_a_person_knows_is_printed(run, tmp_path):
    (tmp_path / "paper.bib").write_text("@article{key, title = {A}}\n")
    text = card(run, description="Made of *laughs*.", citation=str(tmp_path / "paper.bib")).text
    assert "# tiny\n\nMade of *laughs*.\n" in text
    assert "```bibtex\n@article{key, title = {A}}\n```" in text
    assert "No citation was given." in card(run).text


def test_names_cannot_be_markup(make_shards, tmp_path):
    shards = make_shards(CLIPS)
    shards = relabel(shards.folder, licence="<script>|`x`")
    text = card(write_pretraining(tmp_path / "run", [shards])).text
    assert "<script>" not in text
    assert r"\<script\>\|\`x\`" in text


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            {"batch": 1e-7, "padded": 0.25},
            "2.5e-01 of a layer's RMS in the table below. Process clips one at a time, or in batches of equal length.",
        ),
        ({"batch": 0.1, "padded": 0.25}, "Process clips one at a time."),
        ({"batch": 1e-7, "padded": 2e-7}, "differ only by rounding"),
        ({"batch": None, "padded": None}, "was not measured"),
    ],
)
def test_what_padding_does_is_said_by_what_was_measured(figures, said):
    assert said in padding(passport(**figures))


def test_no_template_is_left_in_a_card(run):
    text = str(card(run).content)
    assert not re.search(r"\{\{|\{%|\bNone\b|\bUndefined|object at 0x", text)
    # One blank line at most between parts, or Markdown would show none of it otherwise.
    assert "\n\n\n" not in text


def test_of_paths_the_last_parts_alone_are_published():
    assert last_part("/home/alice/shards/heard/") == "heard"
    assert last_part("facebook/wav2vec2-base") == "facebook/wav2vec2-base"
    assert last_part("initialised:/home/alice/run") == "initialised:run"
    assert last_part("/opt/site-packages/nonverbal/programs/recipes/pretrain/voc2vec.yaml") == (
        "recipes/pretrain/voc2vec.yaml"
    )
    argv = ["/home/a/finetune/train.py", "r.yaml", "--data=/x/y", "--labels", '{"a/b": null}', '--p=["/a/b", "c"]']
    assert command_line(argv) == """nonverbal finetune r.yaml --data=y --labels '{"a/b": null}' '--p=["b", "c"]'"""
    assert command_line(["release", "/m", "--repo", "org/n"]) == "nonverbal release m --repo org/n"
    recipe = {"family": "ssam", "data": ["/x/y"], "wav2vec2": {"init": "/z"}, "ssam": {"init": "/a/b.pth"}}
    assert recipe_text(recipe) == "family: ssam\ndata:\n- y\nssam:\n  init: b.pth\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"C:\Users\alice\shards", "shards"),
        ("C:/Users/alice/shards", "shards"),
        (r"\\server\alice\shards", "shards"),
        (r"initialised:D:\alice\run", "initialised:run"),
        ("/home/alice/a:b", "a:b"),
        ("/home/alice/a\n/home/alice/b\nword", "a\nb\nword"),
        ("https://host:80/alice/x.tar?token=secret&a=1", "x.tar"),
        ("https://bo:secret@host", "host"),
        ("x.tar?sig=secret", "x.tar"),
        ("data/part-?.tar", "part-?.tar"),
        (r"\d+ of \w", r"\d+ of \w"),
    ],
)
def test_paths_of_every_kind_and_what_an_address_asks_for_are_left_out(text, shown):
    assert last_part(text) == shown
    assert recipe_text({"data": text}) == yaml.safe_dump({"data": shown})


def test_keys_that_are_paths_are_left_out_and_names_with_a_slash_are_not():
    recipe = {"weights": {"/home/alice/x": 1, r"C:\alice\y": 2, "https://h/z?token=secret": 3, "a/b": 4, 5: 6}}
    assert yaml.safe_load(recipe_text(recipe)) == {"weights": {"x": 1, "y": 2, "z": 3, "a/b": 4, 5: 6}}
    recipe_of_two = {"weights": {"/home/alice/x": 1, "/home/bob/x": 2, "/home/eve/x": 3}}
    assert yaml.safe_load(recipe_text(recipe_of_two)) == {"weights": {"x": 1, "x (2)": 2, "x (3)": 3}}
    argv = ["release", "/m", "--weights", json.dumps(recipe["weights"])]
    assert "alice" not in command_line(argv)
