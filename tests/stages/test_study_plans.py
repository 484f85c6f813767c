import re
from pathlib import Path

import pytest
import yaml
from studies import STUDY, planned, shards, sounds

from nonverbal.errors import UserError
from nonverbal.stages.studying.arguments import arguments, flat
from nonverbal.stages.studying.standing import command_of, models_of
from nonverbal.stages.studying.words import DROPPED, LeftOut, resolved


@pytest.fixture
def data(tmp_path):
    given = {name: sounds(tmp_path / "corpora" / name) for name in ("heard", "cries", "laughs")}
    return [f"{name}={path}" for name, path in given.items()]


def commands(plan):
    return {step.name: " ".join(command_of(step)).replace(f"{plan.out.parent}/", "") for step in plan.steps}


def left_out(plan):
    return {step.name: step.why for step in plan.steps if step.why is not None}


def test_a_study_is_the_commands_that_a_user_would_type(tmp_path, data):
    plan, _ = planned(tmp_path, data=data)
    manifests = "out/shards/cries/manifest.jsonl out/shards/laughs/manifest.jsonl"
    heard = "out/shards/heard/manifest.jsonl"
    assert commands(plan) == {
        "prepare.cries": "prepare cries=corpora/cries --corpora.cries.reader donateacry --out out/shards/cries",
        "prepare.laughs": "prepare laughs=corpora/laughs --out out/shards/laughs",
        "prepare.heard": f"prepare heard=corpora/heard --exclude {manifests} --out out/shards/heard",
        "pretrain": "pretrain --data out/shards/heard --trainer.steps 3 --out out/pretrain",
        **{
            f"finetune.{name}.ours": f"finetune --data out/shards/{name} --init out/pretrain/encoder "
            f"--pretraining {heard} --epochs 2 --out out/finetune.{name}.ours"
            for name in ("cries", "laughs")
        },
        **{
            f"probe.{name}": f"probe --data out/shards/{name} --encoders logmel out/pretrain/encoder "
            f"--out out/probe.{name}"
            for name in ("heard", "cries", "laughs")
        },
        "scores": "scores --paths out/finetune.cries.ours out/finetune.laughs.ours --json out/scores.json",
    }


def test_what_a_recipe_keeps_out_of_pretraining_comes_beside_what_is_scored(tmp_path, data):
    manifests = "out/shards/cries/manifest.jsonl out/shards/laughs/manifest.jsonl"
    for asked in ("mine.jsonl", ["mine.jsonl"]):
        plan, _ = planned(tmp_path, data=data, change={"corpora/heard/prepare": {"exclude": asked}})
        assert f" --exclude {manifests} mine.jsonl --out" in commands(plan)["prepare.heard"]


def test_each_step_comes_after_what_it_needs_whatever_the_order_in_the_recipe(tmp_path, data):
    content = yaml.safe_load(STUDY)
    content["steps"] = dict(reversed(content["steps"].items()))
    plan, _ = planned(tmp_path, yaml.safe_dump(content, sort_keys=False), data)
    names = [step.name for step in plan.steps]
    for step in plan.steps:
        assert all(names.index(name) < names.index(step.name) for name in step.needs)
    assert set(plan.step("finetune.cries.ours").needs) == {"prepare.cries", "pretrain", "prepare.heard"}
    assert plan.step("scores").needs == ("finetune.cries.ours", "finetune.laughs.ours")


def test_shards_are_taken_as_they_are(tmp_path):
    plan, _ = planned(tmp_path, data=[f"cries={shards(tmp_path / 'cries')}"])
    assert "prepare.cries" not in commands(plan)
    assert "--data cries " in commands(plan)["probe.cries"]


def test_what_needs_an_absent_corpus_is_left_out_and_said(tmp_path, data):
    plan, _ = planned(tmp_path, data=data[1:2])
    no_heard, no_laughs = "no --data heard=PATH is given", "no --data laughs=PATH is given"
    assert left_out(plan) == {
        "pretrain": no_heard,
        "finetune.cries.ours": f"pretrain is left out: {no_heard}",
        "finetune.laughs.ours": no_laughs,
        "probe.heard": no_heard,
        "probe.laughs": no_laughs,
        "scores": f"finetune.cries.ours is left out: pretrain is left out: {no_heard}",
    }
    assert "--encoders logmel --out" in commands(plan)["probe.cries"]
    assert {model.name: model.why for model in models_of(plan)} == {
        "logmel": None,
        "ours": f"pretrain is left out: {no_heard}",
    }


def test_a_model_from_elsewhere_takes_the_place_of_the_studys(tmp_path, data):
    encoder = sounds(tmp_path / "encoder")
    plan, _ = planned(tmp_path, data=data[1:2], models=[f"ours={encoder}"])
    assert "finetune --data out/shards/cries --init encoder --epochs 2" in commands(plan)["finetune.cries.ours"]
    assert "laughs" not in commands(plan)["scores"]
    with pytest.raises(UserError, match="the model ours: there is no /no/where; give another with --models ours="):
        planned(tmp_path, models=["ours=/no/where"])


def test_corpora_that_the_study_does_not_name_are_as_it_says_of_others(tmp_path):
    given = [f"mine={sounds(tmp_path / 'mine')}"]
    plan, _ = planned(tmp_path, data=given, change={"corpora": {"*": {}}, "steps/pretrain/with": {"data": "x"}})
    assert "prepare.mine" in commands(plan)
    assert "probe.mine" in commands(plan)
    with pytest.raises(UserError, match="--data mine: the study has no corpus of this name; there are heard, cries"):
        planned(tmp_path, data=given)


LOOP = {"corpus": "cries", "layer": "3"}


class Lookup:
    def texts(self, kind, name):
        if name == "absent":
            raise LeftOut("absent")
        return {"many": [f"{kind}1", f"{kind}2"], "none": []}.get(name, [f"{kind}:{name}"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{corpus}-{layer}", "cries-3"),
        ("{data}", "data:cries"),
        ("{step:probe.{corpus}}/x", "step:probe.cries/x"),
        ("{source:many}", ["source1", "source2"]),
        (["a", "b/{source:many}/c"], ["a", "b/source1/c", "b/source2/c"]),
        ("{source:many}{data:many}", ["source1data1", "source1data2", "source2data1", "source2data2"]),
        ("{manifests:none}", DROPPED),
        (["{manifests:none}"], DROPPED),
        (["{manifests:none}", "x"], ["x"]),
        ({"a": "{manifests:none}", "b": ["{layer}", 2, None]}, {"b": ["3", 2, None]}),
        ([["{source:many}"], []], [["source1", "source2"], []]),
        (r"a{3}{000..127}{}", r"a{3}{000..127}{}"),
        (7, 7),
    ],
)
def test_words_in_braces_are_replaced(value, expected):
    assert resolved(value, LOOP, Lookup(), "with") == expected


def test_what_is_put_in_is_not_read_again():
    class Braces(Lookup):
        def texts(self, kind, name):
            return ["{corpus}"]

    assert resolved("{path:x}", LOOP, Braces(), "with") == "{corpus}"


@pytest.mark.parametrize(
    ("value", "loop", "message"),
    [
        ("{lair}", LOOP, "with: {lair} is unknown; did you mean {layer}?"),
        ("{manifest:x}", LOOP, "did you mean {manifests:NAME}?"),
        ("{data}", {}, "with: {data} needs a loop over corpus; or give a name: {data:NAME}"),
    ],
)
def test_words_that_stand_for_nothing_known_are_errors(value, loop, message):
    with pytest.raises(UserError, match=message):
        resolved(value, loop, Lookup(), "with")


def test_settings_are_arguments():
    settings = {"a": {"b": 1.5, "c": [1, 2]}, "labels": {"*": None, "x y": "z"}, "none": None, "yes": True, "empty": []}
    settings |= {"comma": ["a,b"], "text": "--x", "words": ["a", "b"], "deep": {}}
    assert arguments("finetune", "r.yaml", flat(settings)) == [
        "finetune",
        "r.yaml",
        *("--a.b", "1.5", "--a.c", "1", "2"),
        *("--labels", '{"*": null, "x y": "z"}', "--none", "null", "--yes", "true", "--empty", "[]"),
        *("--comma", '["a,b"]', "--text=--x", "--words", "a", "b", "--deep", "{}"),
    ]
    assert arguments("analyze", None, {"data": "x", "name": "map"}) == ["analyze", "map", "--data", "x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps/probe/wiht": {}}, "unknown key 'steps.probe.wiht' in the recipe .*study.yaml; did you mean"),
        ({"steps/probe/run": 1}, "steps.probe.run must be a text, but is 1 in the recipe"),
        ({"corpora/cries/use": "test"}, "corpora.cries.use must be 'pretrain' or 'score', but is 'test'"),
        ({"steps/probe/each": {"corpus": "some"}}, "each.corpus in .* must be all, pretrain, score or a list of names"),
        ({"steps/probe/each": {"corpus": ["cires"]}}, "names 'cires', but the study has no such corpus; did you mean"),
        ({"steps/probe/each": {"layer": "all"}}, "steps.probe.each.layer in .* must be a list, but is 'all'"),
        ({"steps/probe/each": {"layer": ["a b", "a-b"]}}, "two combinations would be called probe.a-b"),
        ({"steps/probe/with": {"data": "{data:cires}"}}, "the study has no corpus 'cires'; did you mean 'cries'?"),
        ({"steps/probe/with": {"encoders": "{source:our}"}}, "the study has no model 'our'; did you mean 'ours'?"),
        ({"steps/scores/with": {"paths": "{step:finetine}"}}, "has no step 'finetine'; did you mean 'finetune'?"),
        ({"steps/scores/with": {"paths": "{step:finetune.x}"}}, "the study has no step 'finetune.x'"),
        (
            {"steps/scores/with": {"paths": "{step:prepare.cires}"}},
            "has no step 'prepare.cires'; did you mean 'prepare.cries'?",
        ),
        ({"tables/Table II/steps": ["prepare.cries.x"]}, "the study has no step 'prepare.cries.x'"),
        ({"steps/scores/with": {"paths": "{step:scores}"}}, "depend on each other: scores -> scores"),
        (
            {"models/logmel/source": "{source:ours}", "models/ours/source": "{source:logmel}"},
            "depend on each other: .*model",
        ),
        ({"tables/Table II/steps": ["fintune"]}, "the study has no step 'fintune'; did you mean 'finetune'?"),
        ({"steps/report": {"run": "report"}}, "the step 'report' in .* has a reserved name"),
        ({"steps/a.b": {"run": "probe"}}, "the step 'a.b' in .* must be named in letters, digits"),
        (
            {"steps/scores/file": "../../x.json"},
            "steps.scores.file in .* must be the end of a file's name, such as map.json",
        ),
        ({"corpora/Cries": {}}, "the corpus 'Cries' in .* must be named in lower-case letters"),
        ({"steps/probe/recipe": "nowhere.yaml"}, "no file 'nowhere.yaml' here or among the shipped ones"),
    ],
)
def test_what_cannot_be_meant_is_named(tmp_path, data, change, message):
    with pytest.raises(UserError, match=message):
        planned(tmp_path, data=data, change=change)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cries", "--data takes NAME=PATH, but was given 'cries'"),
        ("cires=x", "--data cires: the study has no corpus of this name; did you mean 'cries'?"),
        ("cries=nowhere", "--data cries: there is no nowhere"),
    ],
)
def test_what_is_given_must_be_there(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        planned(tmp_path, data=[given])


def test_tables_and_figures_say_which_steps_show_them(tmp_path, data):
    plan, _ = planned(tmp_path, data=data, change={"figures": {"Figure 1": {"caption": "x", "steps": ["probe.cries"]}}})
    shown = {step.name: plan.shows(step) for step in plan.steps}
    assert shown["pretrain"] == ["Table I"]
    assert shown["finetune.cries.ours"] == ["Table II"]
    assert shown["probe.cries"] == ["Figure 1"]
    assert shown["probe.laughs"] == []


def test_a_step_that_prepares_may_be_named_whether_or_not_its_corpus_is_given(tmp_path, data):
    change = {"steps/scores/with": {"paths": "{step:prepare.cries}"}}
    assert "--paths out/shards/cries " in commands(planned(tmp_path, data=data, change=change)[0])["scores"]
    for given in ([], [f"cries={shards(tmp_path / 'shards')}"]):
        plan, _ = planned(tmp_path, data=given, change=change)
        assert left_out(plan)["scores"] == "there is no step prepare.cries"


def test_a_loop_over_nothing_is_left_out_and_said(tmp_path):
    plan, _ = planned(tmp_path, data=[], change={"corpora": {"*": {}}, "steps/pretrain/with": {}})
    assert left_out(plan)["probe"] == "its loop over corpus has no values"


def test_the_study_that_the_page_shows_is_one(tmp_path):
    page = Path(__file__).parents[2] / "docs/studies.md"
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    plan, _ = planned(tmp_path, text, [f"laughs={sounds(tmp_path / 'laughs')}"])
    assert commands(plan)["probe.laughs.svm"] == (
        "probe --data out/shards/laughs --encoders logmel facebook/wav2vec2-base --head svm --protocol nonverbal "
        "--out out/probe.laughs.svm"
    )
    assert set(left_out(plan)) == {"probe.vivae.logistic", "probe.vivae.svm"}
