from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.paths import PathOrName
from nonverbal.recipes import read_recipe


@dataclass(frozen=True)
class Inner:
    """Inner settings."""

    lr: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Decay."""


@dataclass(frozen=True)
class Place:
    """A place."""

    folder: Path
    """Where it is."""
    pattern: str | None = None
    """What is there."""
    init: PathOrName | None = None
    """Where it begins."""


@dataclass
class Settings:
    """Settings."""

    out: Path
    """Where it goes."""
    data: list[Path] = field(default_factory=list)
    """Folders of shards."""
    weights: dict[str, float] = field(default_factory=dict)
    """Weights by corpus."""
    inner: Inner = field(default_factory=Inner)
    """The inner ones."""
    strict: bool = False
    """Fail early."""
    limit: float | None = None
    """At most."""
    folds: int | Literal["all"] = 5
    """How many."""
    labels: list[str] = field(default_factory=list)
    """Classes."""
    places: dict[str, Place] = field(default_factory=dict)
    """Places by name."""
    init: PathOrName | None = None
    """What it starts from."""
    encoders: list[PathOrName] = field(default_factory=list)
    """What is compared."""
    inside: Place | None = None
    """Another place."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Two numbers."""


def load(*argv):
    return config.load(Settings, list(argv), prog="nonverbal test", description="Tests ``settings``.")


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("out: from-recipe\ninner: {lr: 2e-4, schedule: cosine}\nweights: {a: 2}\nlimit: 3\n")
    return str(path)


def test_command_line_over_recipe_over_defaults(recipe):
    loaded = load(recipe, "--inner.lr", "5e-4", "--data", "x", "y", "--strict")
    assert loaded == Settings(
        out=Path("from-recipe"),
        data=[Path("x"), Path("y")],
        weights={"a": 2.0},
        inner=Inner(lr=5e-4, schedule="cosine"),
        strict=True,
        limit=3.0,
    )
    assert load("--out", "x") == Settings(out=Path("x"))


def test_lists_dictionaries_and_nothing():
    assert load("--out=x", "--data=x,y").data == load("--out=x", '--data=["x", "y"]').data == [Path("x"), Path("y")]
    assert load("--out=x", "--weights.a", "2", "--weights.b=3").weights == {"a": 2.0, "b": 3.0}
    assert load("--out=x", "--limit", "null").limit is None


def test_hyphens_in_a_key_are_underscores():
    @dataclass
    class Sizes:
        per_class: list[int] = field(default_factory=list)
        labels: dict[str, str] = field(default_factory=dict)

    loaded = config.load(Sizes, ["--per-class", "1,2", "--labels.a-b", "c-d"], "prog", "")
    assert loaded == Sizes([1, 2], {"a-b": "c-d"})


def test_texts_in_a_list_may_look_like_numbers():
    assert load("--out", "x", "--labels", "7,no", "0x1f").labels == ["7", "no", "0x1f"]
    assert load("--out", "x", "--data", "1,2").data == [Path("1"), Path("2")]


def test_a_table_of_dataclasses_is_changed_key_by_key(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("out: x\nplaces:\n  a: {folder: there, pattern: p}\n  b: {folder: elsewhere}\n")
    loaded = load(str(recipe), "--places.a.folder", "here", "--places.c.folder=new")
    assert loaded.places == {
        "a": Place(Path("here"), "p"),
        "b": Place(Path("elsewhere")),
        "c": Place(Path("new")),
    }
    with pytest.raises(
        UserError, match="unknown key 'places.a.foldr' on the command line; did you mean .places.a.folder."
    ):
        load("--out", "x", "--places.a.foldr", "here")
    with pytest.raises(UserError, match="missing: --places.a.folder"):
        load("--out", "x", "--places.a.pattern", "here")


def test_what_is_dumped_loads_again(tmp_path, recipe):
    loaded = load(recipe, "--data", "x")
    (tmp_path / "dumped.yaml").write_text(config.dump(loaded))
    assert load(str(tmp_path / "dumped.yaml")) == loaded


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home folder and a variable."""
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("CORPORA", "/data/corpora")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.chdir(tmp_path)


EXPANDED = Settings(
    out=Path("/home/ann/x"),
    data=[Path("a"), Path("/home/ann/b"), Path("/data/corpora/c")],
    places={"p": Place(Path("/data/corpora/p"), "~$", PathOrName("/home/ann/e"))},
    init=PathOrName("/home/ann/i"),
    encoders=[PathOrName("owner/name"), PathOrName("/home/ann/e"), PathOrName("initialised:/home/ann/e")],
    inside=Place(Path("/data/corpora")),
    labels=["~", "$CORPORA"],
)


def test_home_and_variables_are_expanded_in_every_path_and_nothing_else(home):
    loaded = load(
        "--out=~/x", "--data", "a,~/b", "${CORPORA}/c", "--places.p.folder=$CORPORA/p", "--places.p.pattern=~$",
        "--places.p.init=~/e", "--init", "~/i", "--encoders", "owner/name,~/e", "initialised:~/e",
        "--labels", "~,$CORPORA", '--inside={"folder": "$CORPORA"}',
    )  # fmt: skip
    assert loaded == EXPANDED


def test_home_and_variables_are_expanded_in_recipes_and_their_names(home, monkeypatch, tmp_path):
    text = (
        "out: ~/x\ndata: [a, ~/b, '${CORPORA}/c']\ninit: ~/i\nencoders: [owner/name, ~/e, 'initialised:~/e']\n"
        "places: {p: {folder: $CORPORA/p, pattern: ~$, init: ~/e}}\ninside: {folder: $CORPORA}\n"
        "labels: ['~', $CORPORA]\n"
    )
    (tmp_path / "corpora.yaml").write_text(text)
    assert load("corpora.yaml") == load("--recipe=corpora.yaml") == load("--recipe", "corpora.yaml") == EXPANDED
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/corpora.yaml", "--out=y").out == load("$HOME/corpora.yaml", "--out=y").out == Path("y")


def test_what_is_dumped_holds_expanded_paths_and_loads_again(home, monkeypatch):
    dumped = config.dump(EXPANDED)
    assert yaml.safe_load(dumped)["encoders"] == ["owner/name", "/home/ann/e", "initialised:/home/ann/e"]
    Path("dumped.yaml").write_text(dumped)
    monkeypatch.setenv("HOME", "/home/bob")
    assert load("dumped.yaml") == EXPANDED
    assert config.differences(dumped, EXPANDED, set()) == ""


def test_a_variable_that_is_not_set_is_named_unless_a_file_has_the_name(home, tmp_path):
    for argument, key in (("--out=$UNSET/x", "out"), ("--places.p.folder=/${UNSET}", "places.p.folder")):
        with pytest.raises(UserError, match=rf"--{key}: .* names the variable UNSET, which is not set; set it, or"):
            load("--out=x", argument)
    with pytest.raises(UserError, match="--out: '~nobody-here/x' names the home folder of 'nobody-here', but there is"):
        load("--out=~nobody-here/x")
    folder = tmp_path / "a$UNSET b"
    folder.mkdir()
    assert load(f"--out={folder}/new").out == folder / "new"
    assert load("--out=a$UNSET b/$(new) $1 $").out == Path("a$UNSET b/$(new) $1 $")


def test_paths_stay_as_they_are_where_nothing_is_to_be_expanded(home):
    for path in ("x", "../x", "/x/y", "x~", "a/~b"):
        assert load(f"--out={path}").out == Path(path)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--out", "x", "--inner.lrr", "1"], "unknown key 'inner.lrr' on the command line; did you mean 'inner.lr'"),
        (["--out", "x", "--lr", "1"], "unknown key 'lr' on the command line; did you mean 'inner.lr'"),
        (["--out", "x", "--colour", "1"], "unknown key 'colour' on the command line; see --help"),
        (["--out", "x", "--inner.lr", "fast"], "--inner.lr must be a finite number, but is 'fast'; see non"),
        (["--out", "x", "--inner.schedule", "lin"], "--inner.schedule must be 'linear' or 'cosine', but is 'lin'"),
        (["--out", "x", "--limit", "many"], "--limit must be a finite number or null, but is 'many'"),
        (["--out", "x", "--folds", "five"], "--folds must be a whole number or 'all', but is 'five'"),
        (["--out", "x", "stray"], "--out takes one value, but was given x stray"),
        (["--strict"], "missing: --out"),
        (["--out", ""], "--out is empty: give a path; . is the current folder"),
        (["--out", "x", "--inner", "null"], "inner is 'null' on the command line, but must hold `key: value` lines"),
        (["--out", "x", "--places.a", "there"], "places.a is 'there' on the command line, but must hold"),
        (["--out", "x", "--places.a.folder.b", "c"], "'places.a.folder.b' .*; places.a.folder takes one value"),
        (["--out", "x", "--weights", "{a: !!int b}"], "weights is '{a: !!int b}' on the command line, but must hold"),
        (["--out", "x", "--betas", "[0.9", "1"], r"--betas\[0\] must be a finite number, but is '\[0.9'"),
        (["--out", "x", "--betas", "!!int b", "1"], r"--betas\[0\] must be a finite number, but is '!!int b'"),
        (["--out", "x", "--betas", "2001-01-01", "1"], r"--betas\[0\] must be a finite number, but is '2001-01-01'"),
        (["--out", "x", "--betas", "1"], r"--betas must be a list of 2, but is '\[1\]'"),
        (["--out", "x", "--betas", "1", "2", "3"], r"--betas must be a list of 2, but is '\[1, 2, 3\]'"),
        (["--out", "x", "--weights.a", "1", "--weights.b", "much"], "--weights.b must be a finite number, but is 'mu"),
        (["--out", "x", "--strict", "maybe"], "--strict must be true or false, but is 'maybe'"),
        (["--out", "x", "--inside", "there"], "--inside must be `key: value` pairs or null, but is 'there'"),
        (["--out", "x", '--inside={"pattern": "p"}'], "missing: --inside.folder; see"),
        (["--strict", "--places.a.pattern=p"], "missing: --out, --places.a.folder; see"),
        (["--out", "x", "--data=[a"], r"--data must be a list, but is '\[a'"),
        (["a.yaml", "--recipe", "b.yaml"], "no file 'a.yaml'"),
        (["--out", "x", "--recipe"], "--recipe takes one recipe; a recipe that is built on another names it: base:"),
        (["nowhere.yaml"], "no file 'nowhere.yaml' here or among the shipped ones"),
    ],
)
def test_mistakes_on_the_command_line_are_named(argv, message):
    with pytest.raises(UserError, match=message):
        load(*argv)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("out: x\ninner: {lrate: 1}\n", "unknown key 'inner.lrate' in .*recipe.yaml"),
        ("out: x\nwieghts: {a: 1}\n", "unknown key 'wieghts' in .*recipe.yaml; did you mean 'weights'"),
        ("out: [x\n", "recipe.yaml is not valid YAML"),
        ("- out\n", "recipe.yaml must hold `key: value` lines, but holds a list"),
        ("out: x\ninner: {lr: fast}\n", "^inner.lr must be a finite number, but is 'fast' in the recipe .*.yaml; see"),
        ("out: x\ninit: 7\n", "^init must be a path or a name or null, but is 7 in the recipe"),
        ("out: x\nweights: {a: 1, a: 2}\n", "recipe.yaml, line 2: the key 'a' occurs twice"),
        ("out: x\ninit: a\nout: y\n", "recipe.yaml, line 3: the key 'out' occurs twice"),
        ("out: x\nweights: {no: 1}\n", "line 2: YAML does not read the key 'no' as a string; write it in quotes"),
        ("out: x\nweights: ~\n", "weights is null in .*yaml, but must hold `key: value` lines; leave it out"),
        ("out: x\nweights: {a: ~}\n", "weights.a is null in .*recipe.yaml: give it a value, or leave it out"),
        ("out: x\ninner:\n", "inner is null in the recipe .*recipe.yaml, but must hold `key: value` lines"),
        ("out: x\ninner: 5\n", "inner is 5 in the recipe .*recipe.yaml, but must hold `key: value` lines"),
        ("out: x\ninner: {lr: ~}\n", "inner.lr is null in .*recipe.yaml: give it a value, or leave it out for its"),
        ("out: x\nfolds: ~\n", "folds is null in .*recipe.yaml: give it a value"),
        ("out: x\ndata: ~\n", "data is null in .*recipe.yaml: give it a value"),
        ("out: x\ndata: [a, ~]\n", "data holds null in .*recipe.yaml: give it a value"),
        ("out: x\nplaces: {a: ~}\n", "places.a is null in .*recipe.yaml, but must hold `key: value` lines"),
        ("out: x\nplaces: {a: {folder: ~}}\n", "places.a.folder is null in .*recipe.yaml: give it a value"),
        ("out: x\nplaces: {a: {foldr: y}}\n", "'places.a.foldr' in .*recipe.yaml; did you mean 'places.a.folder'"),
        ("out: x\nlabels: [a, 1e5]\n", r"labels\[1\] must be a text, but is 100000.0 in the recipe"),
        ("out: x\nweights: {a: 1, b: [2]}\n", r"weights.b must be a finite number, but is \[2\] in the recipe"),
        ("out: x\ninside: {folder: 3}\n", "inside.folder must be a path, but is 3 in the recipe"),
        ("out: x\nplaces: {a: {folder: y}, b: {folder: y, pattern: [z]}}\n", "places.b.pattern must be a text or null"),
        ("out: x\nplaces: {a: {pattern: y}}\n", "missing: --places.a.folder; see"),
        ("inside: {pattern: y}\n", "missing: --out, --inside.folder; see"),
        ("out: x\nrecipe: other.yaml\n", "unknown key 'recipe' in .*recipe.yaml"),
        ("out: x\nweights: {007: 1}\n", "line 2: YAML does not read the key '007' as a string; write it in quotes"),
    ],
)
def test_mistakes_in_a_recipe_are_named(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load(str(path))


UNREADABLE = [
    ("weights:\n  <<: 3\n", "is not valid YAML: .*expected a mapping or list of mappings for merging"),
    ("init: !!python/name:os.system x\n", "is not valid YAML: .*could not determine a constructor for the tag"),
    ("limit: !!int 'abc'\n", "is not valid YAML: invalid literal for int"),
    ("limit: !!int ''\n", "is not valid YAML"),
    ("strict: !!bool perhaps\n", "is not valid YAML: 'perhaps'"),
    ("init: !!timestamp never\n", "is not valid YAML"),
    (f"limit: {'1:' * 200}1.5\n", "is not valid YAML: .*too large to convert to float"),
    (f"limit: {'1' * 5000}\n", "is not valid YAML: Exceeds the limit"),
    ("weights: &b {a: *b}\n", "line 1: this is nested more than 32 levels deep, or an alias"),
    ("data: &b [*b, *b]\n", "line 1: this is nested more than 32 levels deep, or an alias"),
    ("weights: &b\n  <<: *b\n", "line 1: this is nested more than 32 levels deep, or an alias"),
    (f"data: {'[' * 40}{']' * 40}\n", "line 1: this is nested more than 32 levels deep, or an alias"),
    (f"data: {'[' * 3000}{']' * 3000}\n", "is not valid YAML: it is nested more than 32 levels deep, or an alias"),
    ("!!set {out, data}\n", "must hold `key: value` lines, but holds one value"),
]


@pytest.mark.parametrize(("text", "message"), UNREADABLE)
def test_what_yaml_cannot_read_names_the_recipe_or_its_base(tmp_path, text, message):
    for name, content in (("top", "base: wrong.yaml\nout: y\n"), ("wrong", text)):
        (tmp_path / f"{name}.yaml").write_text(content)
    for name, where in (("wrong", "^the recipe .*wrong.yaml"), ("top", r"wrong.yaml \(the base of .*top.yaml\)")):
        with pytest.raises(UserError, match=f"{where}.*{message}"):
            load(str(tmp_path / f"{name}.yaml"))


def test_what_is_nested_as_deeply_as_may_be_is_named_where_it_does_not_belong(tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"out: x\ndata: {'[' * 32}{']' * 32}\n")
    with pytest.raises(UserError, match=r"^data\[0\] must be a path, but is \[\["):
        load(str(tmp_path / "recipe.yaml"))


@pytest.fixture
def written(tmp_path):
    """Return ``write(name=text, ...)``, which writes recipes in a folder and returns that folder."""

    def write(**recipes):
        for name, text in recipes.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


BASE = """\
out: from-base
data: [a, b]
weights: {a: 1, b: 2}
inner: {lr: 2e-4, schedule: cosine}
labels: ['1e5', '7']
places: {p: {folder: there, pattern: x}, q: {folder: elsewhere}}
inside: {folder: in, pattern: y}
limit: 3
"""


def test_mappings_of_a_base_are_merged_and_lists_replaced(written):
    folder = written(
        base=BASE,
        middle="base: base.yaml\ninner: {lr: 5e-4}\nweights: {b: 3, c: 4}\nlimit: ~\nplaces: {p: {pattern: z}}\n",
        top="data: [c]\nbase: middle.yaml\ninside: {pattern: ~}\nstrict: true\n",
    )
    loaded = load(str(folder / "top.yaml"), "--weights.c=5", "--places.q.pattern", "w")
    assert loaded == Settings(
        out=Path("from-base"),
        data=[Path("c")],
        weights={"a": 1.0, "b": 3.0, "c": 5.0},
        inner=Inner(lr=5e-4, schedule="cosine"),
        strict=True,
        labels=["1e5", "7"],
        places={"p": Place(Path("there"), "z"), "q": Place(Path("elsewhere"), "w")},
        inside=Place(Path("in")),
    )
    assert load(str(folder / "middle.yaml")).data == [Path("a"), Path("b")]
    assert "base" not in yaml.safe_load(config.dump(loaded))


def test_a_table_of_a_base_can_only_grow(written):
    """As docs/pretrain.md says."""
    folder = written(
        base=BASE, empty="base: base.yaml\nweights: {}\nplaces: {}\n", null="base: base.yaml\nplaces: {p: ~}\n"
    )
    loaded = load(str(folder / "empty.yaml"))
    assert (loaded.weights, list(loaded.places)) == ({"a": 1.0, "b": 2.0}, ["p", "q"])
    with pytest.raises(UserError, match="places.p is null in .*null.yaml, but must hold"):
        load(str(folder / "null.yaml"))


def test_a_recipe_merges_as_its_own_text_reads(written):
    folder = written(
        base="out: x\nplaces:\n  a: &a {folder: here, pattern: p}\n  b: {<<: *a, pattern: q}\n",
        top="base: base.yaml\nplaces: {b: {init: i}}\n",
    )
    loaded = load(str(folder / "top.yaml"))
    assert loaded.places == {"a": Place(Path("here"), "p"), "b": Place(Path("here"), "q", PathOrName("i"))}


def test_a_base_is_found_beside_the_recipe_then_among_the_shipped(written, monkeypatch, tmp_path):
    folder = written(base="seed: 7\n", near="base: base.yaml\n", far="base: recipes/pretrain/voc2vec.yaml\nseed: 5\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_recipe(str(folder / "near.yaml")).content == {"seed": 7}
    assert read_recipe("../near.yaml").content == {"seed": 7}
    assert read_recipe("../far.yaml").content == {"data": ["shards/voc125"], "seed": 5}
    monkeypatch.setenv("MINE", str(folder))
    written(near="base: $MINE/base.yaml\n")
    assert read_recipe("../near.yaml").content == {"seed": 7}


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("out: x\nlimits: 3\n", r"unknown key 'limits' in .*base.yaml \(the base of .*top.yaml\), which must be a"),
        ("out: x\ninner: ~\n", r"inner is null in .*base.yaml \(the base of .*top.yaml\), which must be"),
        ("base: top.yaml\n", "base.yaml names .*top.yaml as its base, which is itself based on .*base.yaml; remove"),
        ("base: base.yaml\n", "base.yaml names .*base.yaml as its base"),
        (
            "base: nowhere.yaml\n",
            "the base of .*base.yaml: there is no file 'nowhere.yaml' in .* or among the shipped ones",
        ),
        ("base: [a]\n", r"base.yaml \(the base of .*top.yaml\): base must be the path or name of one recipe, but is"),
        ("base: ~\n", "base must be the path or name of one recipe, but is None"),
        ("- a\n", r"base.yaml \(the base of .*top.yaml\) must hold `key: value` lines, but holds a list"),
        ("a: [\n", r"base.yaml \(the base of .*top.yaml\) is not valid YAML"),
        ("out: x\nout: y\n", r"base.yaml \(the base of .*top.yaml\), line 2: the key 'out' occurs twice"),
    ],
)
def test_mistakes_in_a_base_name_both_files(written, base, message):
    folder = written(base=base, top="base: base.yaml\nout: y\n")
    with pytest.raises(UserError, match=message):
        load(str(folder / "top.yaml"))


def test_a_mistake_above_a_base_names_the_file_it_stands_in(written):
    folder = written(base="out: x\n", top="base: base.yaml\nouts: y\n")
    with pytest.raises(UserError, match="unknown key 'outs' in the recipe .*top.yaml; did you mean 'out'"):
        load(str(folder / "top.yaml"))


def test_a_wrong_value_names_the_file_it_stands_in(written):
    folder = written(base="folds: five\n", top="base: base.yaml\nplaces: {a: {pattern: p}}\nout: y\n")
    message = r"folds must be a whole number or 'all', but is 'five' in .*base.yaml \(the base of .*top.yaml\); see"
    with pytest.raises(UserError, match=message):
        load(str(folder / "top.yaml"), "--places.a.folder", "z")
    with pytest.raises(UserError, match="missing: --places.a.folder; see"):
        load(str(folder / "top.yaml"), "--folds", "5")


def test_help_says_what_a_base_is(capsys):
    with pytest.raises(SystemExit):
        load("--help")
    assert "`base: OTHER.yaml`" in " ".join(capsys.readouterr().out.split())


def test_help_prints_the_docstrings(capsys):
    with pytest.raises(SystemExit) as raised:
        load("--help")
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert "Peak learning rate." in shown
    assert "Tests `settings`." in shown


@dataclass
class Mixed:
    """Settings that take a list, a table or a text."""

    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes, a map of labels to them, or its name."""


@pytest.mark.parametrize(
    ("argv", "labels"),
    [
        ([], []),
        (["--labels", "a,b"], ["a", "b"]),
        (["--labels", "a", "7"], ["a", "7"]),
        (["--labels", "a"], ["a"]),
        (["--labels.a", "b", "--labels.c", "null"], {"a": "b", "c": None}),
        (['--labels={"a": "b", "*": null}'], {"a": "b", "*": None}),
    ],
)
def test_a_setting_may_take_a_list_or_a_table(argv, labels):
    assert config.load(Mixed, argv, "program", "what it does").labels == labels


@pytest.mark.parametrize(
    ("recipe", "labels"),
    [("[a, b]", ["a", "b"]), ("{a: b, c: null}", {"a": "b", "c": None}), ("four-emotions", "four-emotions")],
)
def test_a_recipe_may_hold_a_list_or_a_table(tmp_path, recipe, labels):
    (tmp_path / "r.yaml").write_text(f"labels: {recipe}\n")
    loaded = config.load(Mixed, [str(tmp_path / "r.yaml")], "program", "what it does")
    assert loaded.labels == labels
    (tmp_path / "again.yaml").write_text(config.dump(loaded))
    assert config.load(Mixed, [str(tmp_path / "again.yaml")], "program", "what it does") == loaded
