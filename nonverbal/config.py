"""Configuration: dataclass defaults < recipe YAML < command line. An unknown key is an error."""

import difflib
import json
import re
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from nonverbal.errors import UserError
from nonverbal.paths import PathOrName, expanded

T = TypeVar("T")

KIND = r"<class '[^']+'>|typing\.Literal\[.+?\]"
"""A type in a parser's complaint."""


def load(cls: type[T], argv: list[str], prog: str, description: str) -> T:
    """Read ``[RECIPE.yaml] [--key value ...]`` into the dataclass ``cls``.

    Nested dataclasses are ``--group.key``, lists ``--key a b`` or ``--key a,b``, switches ``--key``. A first
    argument without ``--`` is the recipe: a path, or the name of one that is shipped (``nonverbal.cli.find_file``).
    ``--help`` prints every field with its docstring and exits. In every path ``~`` and variables are replaced
    (``nonverbal.paths.expanded``).

    Raises:
        UserError: an unknown key (with the nearest known one), a value of the wrong type, an unreadable recipe, a
            variable in a path that is not set.
    """
    from jsonargparse import ArgumentError, ArgumentParser, set_parsing_settings
    from jsonargparse.typing import register_type

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    register_type(PathOrName, str, _path_or_name, ValueError, fail_already_registered=False)
    parser = ArgumentParser(prog=prog, description=description, exit_on_error=False)
    parser.add_argument("--recipe", action="config", help="A recipe: YAML that holds what differs from the defaults.")
    parser.add_class_arguments(cls)
    recipe, rest = _split_recipe(argv)
    path = None if recipe is None else _checked_recipe(recipe, cls)
    arguments = [] if path is None else [f"--recipe={path}"]
    try:
        parsed = parser.parse_args([*arguments, *_with_tables(_normalised(rest, cls), cls, path)])
        values = parser.instantiate(parsed).as_dict()
    except ArgumentError as error:
        raise UserError(f"{_reworded(str(error))}; see {prog} --help") from error
    values.pop("recipe", None)
    return cls(**{key: _expanded(value, key) for key, value in values.items()})


def dump(config: Any) -> str:
    """Return a configuration as YAML that ``load`` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def differences(before: str, config: Any, free: set[str]) -> str:
    """Say which keys of a dumped configuration have another value in ``config``, apart from those in ``free``.

    A key of ``free`` stands for all that is below it. Empty where nothing differs.
    """
    old, new = _flat(yaml.safe_load(before)), _flat(to_dict(config))
    changed = [
        key
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not any(key == name or key.startswith(f"{name}.") for name in free)
    ]
    return "; ".join(f"{key}: {old.get(key)!r} then, {new.get(key)!r} now" for key in changed)


def given(value: Any) -> list[str]:
    """Return the keys under which a dataclass whose fields all have defaults differs from them."""
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


def _path_or_name(value: Any) -> PathOrName:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return PathOrName(value)


def _expanded(value: Any, key: str) -> Any:
    """A value, and all that it holds, with its paths expanded."""
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
    known = _known(cls)
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
        values = [value] if equals else []
        while not equals and position < len(arguments) and not arguments[position].startswith("--"):
            values.append(arguments[position])
            position += 1
        name = key[2:]
        _check_keys([name], cls, "the command line")
        result.append(f"{key}={_joined(name, values, known.get(name))}")
    return result


def _with_tables(arguments: list[str], cls: type, recipe: Path | None) -> list[str]:
    """Replace ``--table.NAME.key=value``, for tables of dataclasses by name, by the recipe's table with these changes.

    jsonargparse knows tables of plain values only.
    """
    tables = {key: get_args(hint)[1] for key, hint in get_type_hints(cls).items() if _is_table(hint)}
    changed: dict[str, dict[str, Any]] = {}
    rest = []
    for argument in arguments:
        path, _, value = argument.removeprefix("--").partition("=")
        table, _, tail = path.partition(".")
        if table not in tables or not tail:
            rest.append(argument)
            continue
        if table not in changed:
            content = {} if recipe is None else yaml.safe_load(recipe.read_text(encoding="utf-8"))
            changed[table] = _table(content.get(table), table)
        name, _, key = tail.partition(".")
        # A field that is itself a table of plain values: --table.NAME.field.key=value.
        inner, _, of_inner = key.partition(".")
        if of_inner and get_origin(_known(tables[table]).get(inner)) is dict:
            entry = changed[table][name] = dict(changed[table].get(name) or {})
            entry[inner] = {**(entry.get(inner) or {}), of_inner: value}
            continue
        if key not in _known(tables[table]):
            keys = ", ".join(_known(tables[table]))
            raise UserError(f"unknown key {path!r} in the command line; {table}.{name} has the keys {keys}")
        changed[table][name] = {**(changed[table].get(name) or {}), key: value}
    for table, content in changed.items():
        _check_complete(table, content, tables[table])
    return rest + [f"--{table}={json.dumps(content)}" for table, content in changed.items()]


def _table(content: Any, key: str) -> dict[str, Any]:
    if content is not None and not isinstance(content, dict):
        raise UserError(f"{key} must hold `name: ...` lines, but is {content!r}")
    return dict(content or {})


def _check_complete(table: str, content: dict[str, Any], cls: Any) -> None:
    required = [field.name for field in fields(cls) if field.default is MISSING and field.default_factory is MISSING]
    for name, values in content.items():
        for key in required:
            if key not in (values or {}):
                raise UserError(f"missing: --{table}.{name}.{key}")


def _is_table(hint: Any) -> bool:
    return get_origin(hint) is dict and is_dataclass(get_args(hint)[1])


def _joined(name: str, values: list[str], hint: Any) -> str:
    # Of a setting that takes a list or something else, what is written without braces is a list.
    if isinstance(hint, UnionType):
        hint = next((kind for kind in get_args(hint) if get_origin(kind) is list), hint)
    if get_origin(hint) in (list, tuple) and not (len(values) == 1 and values[0].startswith(("[", "{"))):
        items = [item for value in values for item in value.split(",")]
        # A label may be called 7.
        is_text = get_args(hint)[0] in (str, Path, PathOrName)
        return json.dumps(items if is_text else [yaml.safe_load(item) for item in items])
    if hint is bool and not values:
        return "true"
    if len(values) != 1:
        raise UserError(f"--{name} takes one value, but was given {' '.join(values) or 'none'}")
    if values == [""] and hint is Path:
        raise UserError(f"--{name} is empty: give a path; . is the current folder")
    return values[0]


def _checked_recipe(name: str, cls: type) -> Path:
    from nonverbal.cli import find_file

    path = find_file(expanded(name, "the recipe"))
    try:
        text = path.read_text(encoding="utf-8")
        _check_names(yaml.compose(text, yaml.SafeLoader), path)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the recipe {name}: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"the recipe {path} is not valid YAML: {_one_line(str(error))}") from error
    if not isinstance(content, dict):
        raise UserError(f"the recipe {path} must hold `key: value` lines, but holds {type(content).__name__}")
    _check_keys(_paths(content, cls), cls, str(path))
    return path


def _check_names(node: yaml.Node | None, path: Path) -> None:
    """Refuse a key that is there twice, of which YAML takes the last, or that YAML does not read as a text."""
    names = set()
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        where = f"the recipe {path}, line {key.start_mark.line + 1}"
        if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
            raise UserError(f"{where}: the key {key.value!r} is no text to YAML: write it in quotes")
        if key.value in names:
            raise UserError(f"{where}: the key {key.value!r} is there twice: remove one, or give it another name")
        names.add(key.value)
        _check_names(value, path)
    for item in node.value if isinstance(node, yaml.SequenceNode) else []:
        _check_names(item, path)


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix.rstrip("."): tree}
    return {key: value for name, child in tree.items() for key, value in _flat(child, f"{prefix}{name}.").items()}


def _nested(hint: Any) -> type | None:
    """The dataclass of a field whose keys are known by name, or None."""
    return hint if isinstance(hint, type) and is_dataclass(hint) else None


def _paths(content: dict[str, Any], cls: type, prefix: str = "") -> list[str]:
    """Dotted keys of a recipe, down to where a field is no dataclass of its own."""
    hints = get_type_hints(cls)
    paths = []
    for key, value in content.items():
        nested = _nested(hints.get(key))
        if nested is not None and isinstance(value, dict):
            paths += _paths(value, nested, f"{prefix}{key}.")
        else:
            paths.append(f"{prefix}{key}")
    return paths


def _known(cls: type, prefix: str = "") -> dict[str, Any]:
    """Dotted key to type, for every field of a dataclass and of the dataclasses in it."""
    known: dict[str, Any] = {}
    for key, hint in get_type_hints(cls).items():
        known[prefix + key] = hint
        nested = _nested(hint)
        if nested is not None:
            known |= _known(nested, f"{prefix}{key}.")
    return known


def _check_keys(paths: list[str], cls: type, where: str) -> None:
    known = _known(cls)
    for path in paths:
        # A field that is a dictionary takes keys of its own: --corpora.NAME.
        prefixes = [path[: match.start()] for match in re.finditer(r"\.", path)]
        takes_keys = any(prefix in known and _nested(known[prefix]) is None for prefix in prefixes)
        if path in known or takes_keys or path in ("help", "recipe"):
            continue
        tails = {key: key.rsplit(".", 1)[-1] for key in known}
        tail = path.rsplit(".", 1)[-1]
        near = difflib.get_close_matches(path, known, 1, 0.7) or [
            key for key in tails if tails[key] in difflib.get_close_matches(tail, tails.values(), 1, 0.7)
        ]
        hint = f"did you mean {near[0]!r}?" if near else "see --help for the keys there are"
        raise UserError(f"unknown key {path!r} in {where}; {hint}")


def _reworded(message: str) -> str:
    """Say a parser's complaint in the words of the command line."""
    message = _one_line(message)
    if found := re.search(r'Parser key "([^"]+)": Expected an? (.+?)\. Got value: (.*)', message):
        key, expected, value = found.groups()
        return f"--{key} must be {_kind(expected)}, but is {value!r}"
    union = r'Parser key "([^"]+)": .* Union subtypes Subtypes: [(\[](.+?)[)\]] Errors: .* Given value: (.*)'
    if found := re.search(union, message):
        key, kinds, value = found.groups()
        return f"--{key} must be {' or '.join(_kind(kind) for kind in re.findall(KIND, kinds))}, but is {value!r}"
    if found := re.search(r"arguments are required: (.*)", message):
        return "missing: " + ", ".join(f"--{key}" for key in found.group(1).split(", "))
    return message


def _kind(expected: str) -> str:
    """A type as the parser writes it, in the words of the command line."""
    plain = re.sub(r"<class '(?:[\w.]+\.)?(.+?)'>", r"\1", expected).replace("NoneType", "null")
    plain = plain.replace("PathOrName", "path or name")
    return re.sub(r"typing\.Literal\[(.+)\]", r"\1", plain)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
