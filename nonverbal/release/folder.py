"""The folder of a release: the model's files and nothing else, measured, with its card and its passport."""

import ast
import json
import shutil
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import whole, write_atomically
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.release.card import CARD, card_text
from nonverbal.release.facts import Facts, Model, read_facts
from nonverbal.release.findings import wrong
from nonverbal.release.measuring import measure
from nonverbal.release.passport import PASSPORT, Passport, write_passport
from nonverbal.release.settings import ReleaseConfig
from nonverbal.release.terms import ReleaseTerms, release_terms
from nonverbal.release.trained import data_sha256
from nonverbal.release.verify import verify
from nonverbal.report.origins import read_file
from nonverbal.tasks.labels_seen import FILE as HEARD

CONFIG = "config.json"

PLAIN = ("preprocessor_config.json", "vocab.json", "special_tokens_map.json", "added_tokens.json", "clips.json")
"""Files that are copied as they are: feature extractor, tokenizer, and how long clips were that a model was shown."""

NAMED = (CONFIG, "tokenizer_config.json")
"""Files in which transformers may write where a model was loaded from."""

PLACES = ("_name_or_path", "name_or_path", "tokenizer_file", "special_tokens_map_file")
"""Their keys that hold that."""


def check_terms(settings: ReleaseConfig) -> tuple[Facts, ReleaseTerms]:
    """Read what is known of a model, and what its licences leave of it.

    Raises:
        UserError: something is missing or damaged, or terms forbid it or are not acknowledged.
    """
    facts = read_facts(settings.source, settings.scores, settings.data, settings.base_model)
    return facts, release_terms(facts.trained.sources, settings.acknowledge, settings.i_have_permission)


def write_release(facts: Facts, terms: ReleaseTerms, settings: ReleaseConfig, command: str) -> Path:
    """Write the folder of a release, whole or not at all.

    Args:
        facts: of the model.
        terms: what its licences leave.
        settings: names, and what only a person knows.
        command: that asked for it, as a card may show it.

    Raises:
        UserError: the model cannot be loaded by plain transformers, what was written does not hold, or ``--out`` is
            something else's folder.
    """
    out = settings.out
    if out.exists() and not (out.is_dir() and ((out / PASSPORT).is_file() or not any(out.iterdir()))):
        raise UserError(f"--out {out} exists and is not a release; give another folder, or remove it")
    with whole(out) as new:
        new.mkdir()
        write_model(facts.model, new)
        # It is this toolkit's own code that lies in the folder.
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
        UserError: it has no weights in safetensors, or needs code that is not of this toolkit's models.
    """
    weights = [*model.folder.glob("model*.safetensors"), *model.folder.glob("model.safetensors.index.json")]
    if not weights:
        raise UserError(f"{model.folder} has no model.safetensors; nonverbal convert writes one")
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
    """Return the files of Python that a configuration names, and those that these import beside them.

    Raises:
        UserError: they lie elsewhere, or one is missing.
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
    """Return the modules that a file imports from beside it."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not valid Python ({error}); export the model again") from error
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    return {name for node in nodes for name in ([node.module] if node.module else [a.name for a in node.names])}


def _write_heard(content: dict[str, Any], out: Path) -> None:
    """Write whose labels a model has seen, hashes alone, without the name of a folder that it began from."""
    init = content.get("init")
    known = init if init in CHECKPOINTS else None
    write_atomically(out / HEARD, json.dumps(content | {"init": known}, indent=1, ensure_ascii=False) + "\n")


def private_names(facts: Facts, settings: ReleaseConfig) -> frozenset[str]:
    """Return the speakers whose names must not stand in a release.

    Raises:
        UserError: one that may be named is no speaker of the model's corpora.
    """
    alone = {name: name.partition(":")[2] or name for name in facts.trained.names}
    if unknown := [name for name in settings.may_name if name not in (*alone, *alone.values())]:
        raise UserError(f"--may_name {unknown[0]}: no speaker of the model's corpora has this name; leave it out")
    return frozenset(name for name, own in alone.items() if not {name, own} & {*settings.may_name})


def _check(folder: Path, names: frozenset[str]) -> None:
    if faults := wrong(verify(folder, trust=True, names=names)):
        found = [f"{fault.check}: {fault.file} {fault.value}, expected {fault.expected}" for fault in faults[:5]]
        named = " (or --may_name, if the name may appear)" if any(fault.check == "name" for fault in faults) else ""
        raise UserError(
            f"the release does not pass its checks and was not written: {'; '.join(found)}; {faults[0].remedy}{named}"
        )
