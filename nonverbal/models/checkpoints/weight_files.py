"""Reads the weights of one encoder from a file or from its parts, whatever wrapper the model was in."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nonverbal.errors import UserError
from nonverbal.files import read_json
from nonverbal.models.checkpoints.pickles import load_weights_only

ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".index.json")
"""Endings of the names of files of weights."""

WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Names that DataParallel, torch.compile, FSDP and activation checkpointing insert into the names of weights."""

MEANT = ("", "model", "state_dict", "model_state_dict", "module")
"""Where programs store the model: at the top, in fairseq, in Lightning, by PyTorch's convention, in DeepSpeed."""

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Types of weights that are plain numbers, without a scale stored elsewhere."""

CHUNK = 1 << 24
"""Number of bytes of a file that are searched at a time."""

DEPTH = 4
"""Depth to which a file is searched for weights."""

Encoders = Callable[[Iterable[str]], list[Any]]
"""Finds the encoders among names of weights; what it returns for each is up to the caller."""


@dataclass(frozen=True)
class Held:
    """The weights of one encoder in a file."""

    weights: dict[str, Tensor]
    """By their names in the file, without wrappers; floating-point ones in float32."""
    encoder: Any
    """What ``Encoders`` returned for the encoder; None if there is none."""
    tree: Any
    """The whole content of the file."""
    notes: tuple[str, ...]
    """Notes on what was not used."""


def hold(path: Path, encoders: Encoders) -> Held:
    """Read a file.

    Raises:
        UserError: it cannot be read, contains something that could run code, several encoders, or weights of another
            type.
    """
    tree = _tree(path)
    states = [(place, _unwrapped(path, tensors)) for place, tensors in _states(tree)]
    found = [(place, encoder, tensors) for place, tensors in states for encoder in encoders(tensors)]
    if not found:
        largest: dict[str, Tensor] = max((tensors for _, tensors in states), key=len, default={})
        return Held(largest, None, tree, ())
    meant = [entry for entry in found if entry[0] in MEANT] or found
    if len(meant) > 1:
        places = ", ".join(_where(place, encoder) for place, encoder, _ in meant[:4])
        raise UserError(f"{path} holds {len(meant)} encoders ({places}); write a file with only the one to use")
    ((place, encoder, tensors),) = meant
    others = [_where(*entry[:2]) for entry in found if entry not in meant]
    notes = (f"the weights are {_where(place, encoder)} in the file, not {', '.join(others)}",) if others else ()
    return Held({name: _number(path, name, value) for name, value in tensors.items()}, encoder, tree, notes)


def file_in(folder: Path) -> Path:
    """Return the file with the weights of a folder in Hugging Face format, or the index of their parts.

    Raises:
        FileNotFoundError: the folder has no weights in safetensors.
    """
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has no model.safetensors")


def files_of(folder: Path) -> list[Path]:
    """Return the files with the weights of a folder in Hugging Face format, and their index if there are several.

    The folder may contain other files of weights from an earlier time.

    Raises:
        FileNotFoundError: the folder has no weights in safetensors.
        UserError: the index is damaged, or names files that are missing or in other folders.
    """
    file = file_in(folder)
    return [file, *_parts(file)] if file.name.endswith(".index.json") else [file]


def holds_any(path: Path, names: Iterable[str]) -> bool:
    """Whether a file contains one of these names of weights, which appear unencoded in files of every format."""
    wanted = [name.encode() for name in names]
    longest, before = max(map(len, wanted)), b""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            # A name may begin in one chunk and end in the next.
            content = before + chunk
            if any(name in content for name in wanted):
                return True
            before = content[-longest:]
    return False


def _where(place: str, encoder: Any) -> str:
    prefix = str(encoder[1]) if isinstance(encoder, tuple) else str(encoder)
    return f"{place or 'the file itself'}{f', {prefix}*' if prefix else ''}"


def _tree(path: Path) -> Any:
    part = re.search(r"^(.+)-\d{5}-of-(\d{5})(\.\w+)$", path.name)
    if part:
        index = path.with_name(f"{part[1]}{part[3]}.index.json")
        if not index.is_file():
            raise UserError(f"{path} is one of {int(part[2])} parts, but their index is missing; copy {index.name} too")
        path = index
    if path.name.endswith(".index.json"):
        return _joined(path, [_tree_of_one(file) for file in _parts(path)])
    return _tree_of_one(path)


def _parts(index: Path) -> list[Path]:
    """Return the files that an index names, which must be in its folder."""
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is not an index of parts ({error}); download or export it again") from error
    strange = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    missing = [name for name in names if not strange and not os.path.isfile(index.parent / name)]
    if strange or missing:
        what = "names files in other folders" if strange else "names files that do not exist"
        raise UserError(f"{index} {what}: {', '.join(map(str, (strange or missing)[:3]))}; download or export it again")
    return [index.parent / name for name in names]


def _joined(index: Path, parts: list[Any]) -> dict[str, Any]:
    """Join the parts. No weight may be in two of them."""
    whole = {name: value for part in parts for name, value in part.items()}
    if len(whole) < sum(map(len, parts)):
        raise UserError(f"the parts that {index} names contain a weight more than once; download or export it again")
    return whole


def _tree_of_one(path: Path) -> Any:
    if path.suffix != ".safetensors":
        return load_weights_only(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"cannot load the checkpoint: {path} is truncated or damaged ({error}); copy, download or export it again"
        ) from error


def _states(tree: Any, place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the place of each dictionary that directly contains tensors, and these tensors."""
    if not isinstance(tree, Mapping) or not depth:
        return
    tensors = {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
    if tensors:
        yield place, tensors
    for name, value in tree.items():
        yield from _states(value, f"{place}.{name}" if place else str(name), depth - 1)


def _unwrapped(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    short = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in tensors}
    if len(set(short.values())) < len(short):
        twice = sorted(name for name in short if list(short.values()).count(short[name]) > 1)
        raise UserError(
            f"{path} holds a weight with and without a wrapper: {', '.join(twice[:2])}; write a file with one of them"
        )
    return {short[name]: value for name, value in tensors.items()}


def _number(path: Path, name: str, value: Tensor) -> Tensor:
    if value.is_meta or value.layout is not torch.strided:
        kept = "without its values" if value.is_meta else f"as {value.layout}"
        raise UserError(f"{path}: {name} is stored {kept}; save it as a plain tensor")
    if value.is_floating_point() and value.dtype not in FLOATS:
        raise UserError(f"{path}: {name} is stored in {value.dtype}, whose values need a scale; save it in float32")
    return value.float() if value.is_floating_point() else value
