"""What can be found of a released folder's files without loading anything: bits, links, pickles, code."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from nonverbal import models
from nonverbal.errors import UserError
from nonverbal.files import read_json, sha256_of
from nonverbal.models.checkpoints.config_keys import check_foreign_code
from nonverbal.release.findings import Finding
from nonverbal.release.passport import PASSPORT, Passport

OF_THE_HUB = re.compile(r"(?:\.gitattributes|LICENSE)$|\.cache/huggingface/")
"""What the Hub, its page and its client put beside a release: not of it, and read by no model."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
"""Ends of names of files that may run something when they are read, or hold weights in another form."""

MAGIC = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
"""How a zip and a pickle begin: PyTorch's files are both."""

INDEX = "model.safetensors.index.json"

ADAPTER = "adapter_config.json"
"""By which transformers, where PEFT is installed, loads a model from wherever it says, and this folder's none."""

SHOWN = 5
"""Names that a finding holds at most."""


@dataclass(frozen=True)
class Contents:
    """What lies in a folder, by paths from there; links are not followed."""

    folder: Path
    files: tuple[str, ...]
    """Regular files, but of the Hub's own."""
    links: tuple[str, ...]
    others: tuple[str, ...]
    """Pipes, sockets, devices."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What ``config.json`` says; nothing where it cannot be read."""
        found = self.json("config.json")
        return found if isinstance(found, dict) else {}

    def json(self, name: str) -> Any:
        """Return the content of a JSON file, None where it is not there or not JSON."""
        if name not in self.files:
            return None
        try:
            return read_json(self.folder / name)
        except (OSError, ValueError, RecursionError):
            return None

    @property
    def code(self) -> list[str]:
        """Files of Python."""
        return [name for name in self.files if name.endswith(".py")]


def contents_of(folder: Path) -> Contents:
    """Look at what lies in a folder.

    Raises:
        UserError: it is none.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one that nonverbal release wrote, or a Hub repository")
    files, links, others = [], [], []
    for place, folders, names in os.walk(folder):
        for name in sorted([*names, *folders]):
            path = Path(place, name)
            inside, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            if stat.S_ISLNK(mode):
                links.append(inside)
            elif stat.S_ISREG(mode):
                files.append(inside)
            elif not stat.S_ISDIR(mode):
                others.append(inside)
    own = [name for name in files if not OF_THE_HUB.match(name)]
    return Contents(folder, tuple(sorted(own)), tuple(sorted(links)), tuple(sorted(others)))


def check_links(found: Contents) -> Iterator[Finding]:
    """Find what is no file of the folder's own."""
    for name in found.links:
        target = os.readlink(found.folder / name)
        remedy = "put the file itself there; from the Hub: hf download REPO --local-dir FOLDER"
        yield Finding("link", False, name, f"a link to {target}", "a file", remedy)
    for name in found.others:
        yield Finding("link", False, name, "a pipe, socket or device", "a file", "remove it")


def check_inside(found: Contents, passport: Passport | None) -> Iterator[Finding]:
    """Find names in the passport, or in the index of weights, of what lies outside the folder."""
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
    """Find what may run something when it is read, by its name or by how it begins."""
    for name in found.files:
        with open(found.folder / name, "rb") as file:
            begins = file.read(4)
        if name.endswith(PICKLES) or begins.startswith(MAGIC):
            yield Finding(
                "pickle", False, name, f"begins with {begins!r}", "safetensors", "remove it, release it again"
            )


def check_weights(found: Contents) -> Iterator[Finding]:
    """Find files of weights that cannot be read, and parts that the index names and are not there."""
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
    """Find code that would be run without being asked for, from elsewhere, or for a model that needs none."""
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
    """Whether transformers has the models of a ``model_type`` itself, whatever this toolkit lets it know."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return model_type in CONFIG_MAPPING_NAMES


def leaves(name: str) -> bool:
    """Whether a path, from a folder, leads out of it, on any system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(name).drive) or not path.parts


def few(names: list[str]) -> str:
    """Return names as a finding holds them."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _in_index(found: Contents) -> list[str]:
    index = found.json(INDEX)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    return sorted(set(texts_in(parts)))


def texts_in(value: Any, keys: bool = False) -> Iterator[str]:
    """Yield the texts in a value of JSON, with the keys of its objects where asked for; however deep they lie."""
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
    """Whether a file of code is byte for byte the one of this toolkit."""
    own = Path(models.__path__[0], name)
    return own.is_file() and sha256_of(own) == sha256_of(found.folder / name)
