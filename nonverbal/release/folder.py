"""The folder of a release: the model's files, its card and its passport."""

import ast
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import whole, write_atomically
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.release.card import CARD, card_text
from nonverbal.release.facts import Facts, Model, read_facts, weights_of
from nonverbal.release.findings import wrong
from nonverbal.release.measuring import measure
from nonverbal.release.passport import PASSPORT, Passport, write_passport
from nonverbal.release.settings import ReleaseConfig
from nonverbal.release.terms import ReleaseTerms, release_terms
from nonverbal.release.text_checks import folded
from nonverbal.release.trained import data_sha256
from nonverbal.release.verify import verify
from nonverbal.report.origins import read_file
from nonverbal.tasks.labels_seen import FILE as HEARD

CONFIG = "config.json"

PLAIN = ("preprocessor_config.json", "vocab.json", "special_tokens_map.json", "added_tokens.json", "clips.json")
"""Files that are copied unchanged: feature extractor, tokenizer, and the longest input in training."""

NAMED = (CONFIG, "tokenizer_config.json")
"""Files in which transformers may write the path that a model was loaded from."""

PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "special_tokens_map_file")
"""The keys with that path."""


def check_terms(settings: ReleaseConfig) -> tuple[Facts, ReleaseTerms]:
    """Return what is known about a model, and its combined terms.

    Raises:
        UserError: something is missing or damaged, terms forbid the model, or terms are not acknowledged.
    """
    facts = read_facts(settings.source, settings.scores, settings.data, settings.base_model)
    return facts, release_terms(facts.trained.sources, settings.acknowledge, settings.i_have_permission)


def write_release(facts: Facts, terms: ReleaseTerms, settings: ReleaseConfig, command: str) -> Path:
    """Write the folder of a release, completely or not at all.

    Args:
        facts: what is known about the model.
        terms: its combined terms.
        settings: names, and what only a person knows.
        command: the command of the release, as the card shows it.

    Raises:
        UserError: transformers alone cannot load the model, a check fails, or ``--out`` exists and is not a release.
    """
    out = settings.out
    if out.exists() and not (out.is_dir() and ((out / PASSPORT).is_file() or not any(out.iterdir()))):
        raise UserError(f"--out {out} exists and is not a release; give another folder, or remove it")
    with whole(out) as new:
        new.mkdir()
        write_model(facts.model, new)
        # The code in the folder is this toolkit's own.
        measured = [measure(new, True), *(measure(new, True, python) for python in settings.python)]
        sha256 = data_sha256(facts.trained.data_sha256)
        card = card_text(facts, terms, Passport({}, sha256, measured), settings, command)
        write_atomically(new / CARD, card)
        write_passport(new, sha256, measured)
        for path in new.iterdir():
            path.chmod(0o644)
        _check(new, private_names(facts, settings))
    return out


def write_model(model: Model, out: Path) -> None:
    """Copy the files of a model that belong in a release.

    Raises:
        UserError: weights in safetensors are missing, or the model needs code that is not in its folder.
    """
    weights = weights_of(model.folder)
    if (model.folder / "head.json").is_file():
        raise UserError(f"{model.folder} has a head for which transformers has no class, so nobody could load it")
    plain = [path for name in PLAIN if (path := model.folder / name).is_file()]
    for path in sorted([*weights, *plain, *code_of(model)]):
        shutil.copyfile(path, out / path.name)
    for name in NAMED:
        if (model.folder / name).is_file():
            content = read_file(model.folder / name, dict)
            kept = {key: value for key, value in content.items() if key not in PLACES}
            write_atomically(out / name, json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    if (model.folder / HEARD).is_file():
        _write_heard(read_file(model.folder / HEARD, dict), out)


def code_of(model: Model) -> list[Path]:
    """Return the Python files that a configuration names, and those that these import from the same folder.

    Raises:
        UserError: a file is elsewhere or missing.
    """
    named = model.config.get("auto_map")
    waiting = {str(name).rpartition(".")[0] for name in named.values()} if isinstance(named, dict) else set()
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        path = model.folder / f"{name}.py"
        if not name.isidentifier() or not path.is_file():
            raise UserError(
                f"{model.folder / CONFIG} names the code {name!r}, which is not in the folder; export the model again"
            )
        found[name] = path
        waiting |= _imported(path) - found.keys()
    return list(found.values())


def _imported(path: Path) -> set[str]:
    """Return the modules that a file imports from its own folder."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not valid Python ({error}); export the model again") from error
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {name for node in nodes for name in ([node.module] if node.module else [a.name for a in node.names])}


def _write_heard(content: dict[str, Any], out: Path) -> None:
    """Write which labels a model has seen, as hashes, without the path of its starting checkpoint."""
    init = content.get("init")
    known = init if init in CHECKPOINTS else None
    write_atomically(out / HEARD, json.dumps(content | {"init": known}, indent=1, ensure_ascii=False) + "\n")


def private_names(facts: Facts, settings: ReleaseConfig) -> frozenset[str]:
    """Return the speakers whose names must not appear in a release.

    Raises:
        UserError: ``--may_name`` names no speaker of the model's corpora.
    """
    forms = {name: {folded(name), folded(name.partition(":")[2] or name)} for name in facts.trained.names}
    allowed = {folded(name) for name in settings.may_name}
    known = {form for own in forms.values() for form in own}
    if unknown := [name for name in settings.may_name if folded(name) not in known]:
        raise UserError(f"--may_name {unknown[0]}: no speaker of the model's corpora has this name; leave it out")
    return frozenset(name for name, own in forms.items() if not own & allowed)


def _check(folder: Path, names: frozenset[str]) -> None:
    if faults := wrong(verify(folder, trust=True, names=names)):
        said = "; ".join(f"{one.check}: {one.file} {one.value}, expected {one.expected}" for one in faults[:5])
        named = list(dict.fromkeys(fault.value for fault in faults if fault.check == "name"))
        may = f"; or give --may_name {shlex.join(named)}, if that is an ordinary word, or a licence asks for the name"
        remedy = faults[0].remedy + (may if named else "")
        raise UserError(f"the release does not pass its checks and was not written: {said}; {remedy}")
