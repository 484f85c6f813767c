"""Converts checkpoints from one format to another, and checks that they compute the same."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nonverbal.errors import UserError
from nonverbal.families import kind_of, read_any
from nonverbal.families.hidden_states import fixed_signal, own_states, prepared
from nonverbal.files import room_for, whole
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.checkpoints.hugging_face import refuse_not_finite

ROUNDING = 1e-4
"""Tolerated difference of hidden states between two implementations in float32, relative to their largest value."""


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion."""

    source: Checkpoint
    result: Checkpoint
    """The written checkpoint, read back."""
    differences: list[float]
    """Largest difference of the hidden states in each layer."""
    scales: list[float]
    """Largest value of the source's hidden states in each layer."""
    implementations: tuple[str, str]
    """Names of the implementations that computed the hidden states of source and result."""

    @property
    def tolerances(self) -> list[float]:
        """The tolerated difference of each layer: 0 for the same implementation, rounding for two."""
        share = 0.0 if self.implementations[0] == self.implementations[1] else ROUNDING
        return [share * scale for scale in self.scales]


def convert(source: str, target: str, out: Path, overwrite: bool = False, heads: int | None = None) -> Conversion:
    """Write a checkpoint in another format, read it back, compare weights and hidden states, and only then keep it.

    Raises:
        UserError: the source cannot be read or has values that are not finite, the target format cannot represent it,
            ``out`` exists and may not be replaced, or the written checkpoint differs from the source.
    """
    checkpoint = read_any(source, heads)
    check_target(checkpoint, target)
    check_out(out, checkpoint, target, overwrite)
    refuse_not_finite(source, checkpoint.weights)
    with room_for(out), whole(out) as new:
        write(checkpoint, target, new)
        conversion = _read_back(checkpoint, target, new)
        check_same(conversion, out)
    return replace(conversion, result=replace(conversion.result, source=str(out), path=out))


def _read_back(checkpoint: Checkpoint, target: str, written: Path) -> Conversion:
    kind = kind_of(checkpoint)
    result = read_any(str(written), getattr(checkpoint.config, "num_attention_heads", None))
    assert kind_of(result) is kind, written
    if target in kind.formats and kind.formats[target].weights_alone:
        kind.read_alike(checkpoint, result)
    inputs = prepared(fixed_signal(), checkpoint.normalise)
    before, by = own_states(kind, checkpoint, inputs)
    after, by_after = own_states(kind, result, inputs)
    differences = [float((a - b).abs().max()) for a, b in zip(before, after, strict=True)]
    scales = [float(a.abs().max()) for a in before]
    return Conversion(checkpoint, result, differences, scales, (by, by_after))


def check_same(conversion: Conversion, out: Path) -> None:
    """Refuse a result that differs from its source: weights must be equal, and hidden states within ``tolerances``.

    Raises:
        UserError: says what differs, and names weights that the target format has no place for.
    """
    source, result = conversion.source, conversion.result
    names = source.weights.keys() | result.weights.keys()
    wrong = sorted(name for name in names if not _equal(source.weights.get(name), result.weights.get(name)))
    apart = [
        f"layer {layer} by {difference:.1e}"
        for layer, (difference, most) in enumerate(zip(conversion.differences, conversion.tolerances, strict=True))
        # Written so that NaN counts as different.
        if not difference <= most
    ]
    said = [f"weights {', '.join(wrong)}"] if wrong else []
    said += [f"hidden states of {', '.join(apart)}"] if apart else []
    said += [] if source.normalise == result.normalise else ["whether waveforms are normalised"]
    if said:
        dropped = f"; unused weights of the source: {', '.join(source.left_over)}" if source.left_over else ""
        raise UserError(f"{out} is not kept, because it differs from {source.source} in {'; '.join(said)}{dropped}")


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


def check_target(checkpoint: Checkpoint, target: str) -> None:
    """Refuse a format that does not exist for the kind of encoder, or that cannot represent the model."""
    kind = kind_of(checkpoint)
    if target == "transformers":
        return
    if target not in kind.formats:
        known = " or ".join(("transformers", *kind.formats))
        raise UserError(f"{checkpoint.source} is {kind.called}, for which --to must be {known}, but it is {target}")
    kind.formats[target].check(checkpoint)


def check_out(out: Path, checkpoint: Checkpoint, target: str, overwrite: bool) -> None:
    """Refuse to write where something exists that must not be replaced."""
    is_folder = target == "transformers"
    if is_folder and out.suffix in (".pt", ".pth", ".safetensors"):
        raise UserError(f"--out {out} must be a folder for --to transformers; choose a name without {out.suffix}")
    if not out.exists():
        return
    if not overwrite:
        raise UserError(f"{out} already exists; choose another --out, or give --overwrite to replace it")
    if checkpoint.path is not None and out.resolve() in (checkpoint.path.resolve(), *checkpoint.path.resolve().parents):
        raise UserError(f"--out {out} is the source itself, or a folder that contains it; choose another --out")
    if out.is_dir() != is_folder or (is_folder and not (out / "config.json").is_file()):
        raise UserError(f"{out} is not a checkpoint in {target}'s format, so it is not replaced; choose another --out")


def write(checkpoint: Checkpoint, target: str, path: Path) -> None:
    """Write a checkpoint: a folder for transformers, else a file of PyTorch."""
    kind = kind_of(checkpoint)
    if target == "transformers":
        kind.write(checkpoint, path)
    else:
        kind.formats[target].write(checkpoint, path)
