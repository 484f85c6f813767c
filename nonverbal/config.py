"""Configuration: dataclass defaults < a recipe's base < recipe < command line. An unknown key is an error."""

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import yaml

from nonverbal.errors import UserError
from nonverbal.keys import check, kinds_of, known, tables
from nonverbal.paths import PathOrName, expanded
from nonverbal.recipes import FAULTS, Recipe, read_recipe
from nonverbal.wrong_settings import Given, fault

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

T = TypeVar("T")

RECIPE = (
    "YAML file with the settings that differ from the defaults, or from those of `base: OTHER.yaml` (in the same "
    "folder, otherwise a shipped recipe)."
)


def load(cls: type[T], argv: list[str], prog: str, description: str) -> T:
    """Read ``[RECIPE.yaml] [--key value ...]`` into the dataclass ``cls``.

    A field of a nested dataclass is ``--group.key``, a list ``--key a b`` or ``--key a,b``, a switch ``--key``;
    ``--a-key`` is the same as ``--a_key``. A first argument without ``--`` is the recipe
    (``nonverbal.recipes.read_recipe``). If ``cls.PAST`` (dotted key to value) names a setting in it, the setting is
    ignored if it has that value. ``--help`` prints every field with its docstring and exits. In every path, ``~`` and
    variables are expanded (``nonverbal.paths.expanded``).

    Raises:
        UserError: a key is unknown (the error names the nearest known one), a value has the wrong type or is null where
            one is required, the recipe cannot be read, or a variable in a path is not set.
    """
    from jsonargparse import ArgumentError

    parser = _parser(cls, prog, description)
    name, rest = _split_recipe(argv)
    recipe = None if name is None else read_recipe(name).without(getattr(cls, "PAST", {}))
    if recipe is not None:
        recipe.check(cls)
    arguments = _with_tables(_normalised(rest, cls), cls, recipe)
    try:
        parsed = parser.parse_args([*([] if recipe is None else [f"--recipe={recipe.text}"]), *arguments])
        values = parser.instantiate(parsed).as_dict()
    # OverflowError: floating point is expected, and cannot represent the given integer.
    except (ArgumentError, OverflowError) as error:
        reason = fault(_given(recipe, arguments), cls) or " ".join(str(error).split())
        raise UserError(f"{reason}; see {prog} --help") from error
    values.pop("recipe", None)
    return cls(**{key: _expanded(value, key) for key, value in values.items()})


def _parser(cls: type, prog: str, description: str) -> "ArgumentParser":
    from jsonargparse import ArgumentParser, set_parsing_settings
    from jsonargparse.typing import register_type

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    register_type(PathOrName, str, _path_or_name, ValueError, fail_already_registered=False)
    # As in the help of settings: a terminal does not know the markup of docstrings.
    shown = description.replace("``", "`")
    parser = ArgumentParser(prog=prog, description=shown, exit_on_error=False)
    parser.add_argument("--recipe", action="config", help=RECIPE)
    parser.add_class_arguments(cls)
    return parser


def with_first(argv: list[str], name: str) -> list[str]:
    """Turn a leading argument into ``--NAME=ARGUMENT``, for programs whose first argument is not a recipe."""
    return [f"--{name}={argv[0]}", *argv[1:]] if argv and not argv[0].startswith("-") else argv


def with_paths(argv: list[str]) -> list[str]:
    """Turn leading paths into ``--paths PATHS``, for programs whose first arguments are paths."""
    leading = next((place for place, argument in enumerate(argv) if argument.startswith("-")), len(argv))
    return [*(["--paths", *argv[:leading]] if leading else []), *argv[leading:]]


def dump(config: Any) -> str:
    """Return a configuration as YAML that ``load`` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def differences(before: str, config: Any, free: set[str]) -> str:
    """Name the keys whose values in ``config`` differ from a dumped configuration, apart from those in ``free``.

    A key in ``free`` covers all keys below it. The result is empty if nothing differs.
    """
    old, new = _flat(yaml.safe_load(before)), _flat(to_dict(config))
    changed = [
        key
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not any(key == name or key.startswith(f"{name}.") for name in free)
    ]
    return "; ".join(f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in changed)


def given(value: Any) -> list[str]:
    """Return the keys whose values differ from the defaults, for a dataclass whose fields all have defaults."""
    now, defaults = _flat(to_dict(value)), _flat(to_dict(type(value)()))
    return [key for key in now if now[key] != defaults.get(key)]


def to_dict(value: Any) -> Any:
    """Return a dataclass as plain dictionaries, lists, strings and numbers."""
    if is_dataclass(value):
        return {field.name: to_dict(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: to_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_dict(item) for item in value]
    return str(value) if isinstance(value, Path | PathOrName) else value


def _given(recipe: Recipe | None, arguments: list[str]) -> list[Given]:
    """Return what each file of a recipe and each argument gives, as jsonargparse reads it; later ones win."""
    from jsonargparse import get_loader

    read = get_loader("yaml")
    layers = [] if recipe is None else reversed(recipe.layers)
    words = [argument.removeprefix("--").partition("=") for argument in arguments]
    return [
        *(Given(read(yaml.serialize(layer.node)), after=f" in {layer.where}") for layer in layers),
        *(Given(_content(key, [text]), before="--") for key, _, text in words),
    ]


def _path_or_name(value: Any) -> PathOrName:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return PathOrName(value)


def _expanded(value: Any, key: str) -> Any:
    """Return a value, and everything that it contains, with its paths expanded."""
    if isinstance(value, Path | PathOrName):
        return type(value)(expanded(str(value), f"--{key}"))
    if isinstance(value, list):
        return [_expanded(item, key) for item in value]
    if isinstance(value, dict):
        return {name: _expanded(item, f"{key}.{name}") for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        now = {field.name: getattr(value, field.name) for field in fields(value)}
        changed = {name: new for name, old in now.items() if (new := _expanded(old, f"{key}.{name}")) != old}
        return replace(value, **changed) if changed else value
    return value


def _split_recipe(argv: list[str]) -> tuple[str | None, list[str]]:
    if argv and not argv[0].startswith("-"):
        return argv[0], argv[1:]
    for position, argument in enumerate(argv):
        if argument.startswith("--recipe="):
            return argument.partition("=")[2], argv[:position] + argv[position + 1 :]
        if argument == "--recipe" and position + 1 < len(argv):
            return argv[position + 1], argv[:position] + argv[position + 2 :]
    return None, argv


def _normalised(arguments: list[str], cls: type) -> list[str]:
    """Check the keys, and write lists (``--key a b``, ``--key a,b``) and switches as jsonargparse reads them."""
    hints = known(cls)
    result: list[str] = []
    position = 0
    while position < len(arguments):
        key, equals, value = arguments[position].partition("=")
        position += 1
        if key in ("-h", "--help") or key.startswith("--print_config"):
            result.append(key + equals + value)
            continue
        if not key.startswith("--"):
            raise UserError(f"unexpected argument {key!r}; settings are given as --key value")
        if key == "--recipe":
            raise UserError("--recipe takes one recipe; a recipe that is built on another names it: base: OTHER.yaml")
        values = [value] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        name = key[2:]
        if name not in hints and (spelt := name.replace("-", "_")) in hints:
            name, key = spelt, f"--{spelt}"
        check(_content(name, values), cls, "on the command line")
        result.append(f"{key}={_joined(name, values, hints.get(name))}")
    return result


def _content(name: str, values: list[str]) -> dict[str, Any]:
    """Return ``--name value`` as a recipe would contain it."""
    content: Any = values[0] if len(values) == 1 else {}
    if values[:1] and values[0].startswith("{"):
        content = _as_yaml(values[0])
    for key in reversed(name.split(".")):
        content = {key: content}
    return dict(content)


def _as_yaml(text: str) -> Any:
    """Return the content of a YAML text, or the text itself if YAML cannot read it."""
    try:
        return yaml.safe_load(text)
    except FAULTS:
        return text


def _with_tables(arguments: list[str], cls: type, recipe: Recipe | None) -> list[str]:
    """Replace ``--table.NAME.key=value``, for tables of dataclasses by name, by the recipe's table with these changes.

    jsonargparse supports only tables of plain values.
    """
    entries = tables(cls)
    changed: dict[str, dict[str, Any]] = {}
    rest = []
    for argument in arguments:
        path, _, value = argument.removeprefix("--").partition("=")
        table, _, tail = path.partition(".")
        if table not in entries or not tail:
            rest.append(argument)
            continue
        if table not in changed:
            changed[table] = {} if recipe is None else dict(recipe.content.get(table, {}))
        name, _, key = tail.partition(".")
        # A field that is itself a table of plain values: --table.NAME.field.key=value.
        inner, _, of_inner = key.partition(".")
        if of_inner and get_origin(known(entries[table]).get(inner)) is not dict:
            raise UserError(f"unknown key {path!r} on the command line; {table}.{name}.{inner} takes one value")
        entry = changed[table][name] = dict(changed[table].get(name, {}))
        entry[inner] = {**(entry.get(inner) or {}), of_inner: value} if of_inner else value
    return rest + [f"--{table}={json.dumps(content)}" for table, content in changed.items()]


def _joined(name: str, values: list[str], hint: Any) -> str:
    # If a setting takes a list or something else, a value without braces is a list.
    hint = next((kind for kind in kinds_of(hint) if get_origin(kind) in (list, tuple)), hint)
    if get_origin(hint) in (list, tuple) and not (len(values) == 1 and values[0].startswith(("[", "{"))):
        items = [item for value in values for item in value.split(",")]
        # A label may be called 7.
        is_text = get_args(hint)[0] in (str, Path, PathOrName)
        return json.dumps(items if is_text else [_plain(item) for item in items])
    if hint is bool and not values:
        return "true"
    if len(values) != 1:
        raise UserError(f"--{name} takes one value, but was given {' '.join(values) or 'none'}")
    if values == [""] and hint is Path:
        raise UserError(f"--{name} is empty: give a path; . is the current folder")
    return values[0]


def _plain(item: str) -> str | float | None:
    value = _as_yaml(item)
    return value if value is None or isinstance(value, str | int | float) else item


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {key: value for name, child in tree.items() for key, value in _flat(child, f"{prefix}{name}.").items()}
