"""Checks of a released folder's files that load nothing: bits, links, pickles, code."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonverbal import models
from nonverbal.errors import UserError
from nonverbal.files import sha256_of
from nonverbal.models.checkpoints.config_keys import check_foreign_code
from nonverbal.release.contents import Contents, leaves
from nonverbal.release.findings import Finding
from nonverbal.release.passport import PASSPORT, Passport

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
"""Suffixes of files that may run code when they are read, or hold weights in another format."""

MAGIC = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""First bytes of a zip file and of a pickle; PyTorch's files are both."""

INDEX = "model.safetensors.index.json"

ADAPTER = "adapter_config.json"
"""If PEFT is installed, transformers follows this file to another model, instead of loading the one in the folder."""

SHOWN = 5
"""Largest number of names in a finding."""


def check_links(found: Contents) -> Iterator[Finding]:
    """Find links, and what is neither a file nor a folder."""
    for name in found.links:
        target = os.readlink(found.folder / name)
        remedy = "put the file itself there; from the Hub: hf download REPO --local-dir FOLDER"
        yield Finding("link", False, name, f"a link to {target}", "a file", remedy)
    for name in found.others:
        yield Finding("link", False, name, "a pipe, socket or device", "a file", "remove it")


def check_inside(found: Contents, passport: Passport | None) -> Iterator[Finding]:
    """Find names in the passport, or in the index of weights, that lead out of the folder."""
    named = {PASSPORT: list(passport.files) if passport else [], INDEX: _in_index(found)}
    for file, names in named.items():
        for name in names:
            if leaves(name):
                yield Finding("path outside", False, file, name, "a path inside the folder", "release it again")


def check_bits(found: Contents, passport: Passport) -> Iterator[Finding]:
    """Find files that are missing or have changed since the passport was written."""
    for name, sha256 in passport.files.items():
        if name in found.links or leaves(name):
            continue
        if name not in found.files:
            yield Finding("missing file", False, name, "not there", sha256, "download or release it again")
        elif (now := sha256_of(found.folder / name)) != sha256:
            remedy = "download it again; if you changed it on purpose, release it again"
            yield Finding("changed bit", False, name, now, sha256, remedy)


def check_surplus(found: Contents, passport: Passport) -> Iterator[Finding]:
    """Find files that the passport does not name."""
    for name in found.files:
        if name != PASSPORT and name not in passport.files:
            yield Finding(
                "file too many", False, name, "not in the passport", "only the files in the passport", "remove it"
            )


def check_pickles(found: Contents) -> Iterator[Finding]:
    """Find files that may run code when they are read, by their suffix or their first bytes."""
    for name in found.files:
        with open(found.folder / name, "rb") as file:
            begins = file.read(4)
        if name.endswith(PICKLES) or begins.startswith(MAGIC):
            yield Finding(
                "pickle", False, name, f"begins with {begins!r}", "safetensors", "remove it, release it again"
            )


def check_weights(found: Contents) -> Iterator[Finding]:
    """Find weights that cannot be read, and files that are missing although the index of weights names them."""
    from safetensors import SafetensorError, safe_open

    if not any(name.endswith(".safetensors") for name in found.files):
        yield Finding("weights", False, "model.safetensors", "not there", "safetensors", "release it again")
    for name in found.files:
        if name.endswith(".safetensors"):
            try:
                with safe_open(found.folder / name, framework="numpy") as file:
                    file.keys()
            except (SafetensorError, OSError) as error:
                yield Finding("weights", False, name, str(error), "complete safetensors", "download it again")
    for name in sorted({*_in_index(found)} - {*found.files}):
        if not leaves(name):
            yield Finding("weights", False, name, f"not there, but {INDEX} names it", "a file", "download it again")


def check_code(found: Contents, trust: bool) -> Iterator[Finding]:
    """Find code that comes from elsewhere, that its model does not need, or that the user has not allowed."""
    for file in (name for name in found.files if name.endswith(".json") and name != PASSPORT):
        content = found.json(file)
        named = content.get("auto_map") if isinstance(content, dict) else None
        for target in texts_in(named):
            if "--" in target or leaves(target):
                remedy = "release it again: code is read only from the folder itself"
                yield Finding("code", False, file, f"auto_map: {target}", "code in this folder", remedy)
    try:
        check_foreign_code("config.json", found.config)
    except UserError as error:
        yield Finding("code", False, "config.json", str(error), "no other files or code", "release it again")
    if ADAPTER in found.files:
        remedy = "merge it into the model, and release that"
        yield Finding("code", False, ADAPTER, "an adapter, which loads another model", "a model of its own", remedy)
    if not found.code:
        return
    kind = str(found.config.get("model_type"))
    files = ", ".join(f"{name}{' (as in this toolkit)' if _own(found, name) else ''}" for name in found.code)
    if known(kind):
        yield Finding("code", False, found.code[0], files, f"none: transformers has {kind}", "remove it")
    elif not trust:
        yield Finding("code", False, found.code[0], files, "your consent", "read the files, then give --trust-code")


def known(model_type: str) -> bool:
    """Whether transformers itself supports a ``model_type``, without what this toolkit registers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def few(names: list[str]) -> str:
    """Return names as a finding shows them."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _in_index(found: Contents) -> list[str]:
    index = found.json(INDEX)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    return sorted(set(texts_in(parts)))


def texts_in(value: Any, keys: bool = False) -> Iterator[str]:
    """Yield the texts in a JSON value at any depth; with ``keys``, the keys of objects too."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting += reversed([part for item in one.items() for part in (item if keys else item[1:])])
        elif isinstance(one, list):
            waiting += reversed(one)


def _own(found: Contents, name: str) -> bool:
    """Whether a code file is byte for byte this toolkit's own."""
    own = Path(models.__path__[0], name)
    return own.is_file() and sha256_of(own) == sha256_of(found.folder / name)
