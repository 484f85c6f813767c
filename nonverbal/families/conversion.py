"""Checkpoints from one format to another, and the proof that they compute the same."""

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
"""Difference of hidden states between two implementations in float32, over their largest value."""


@dataclass(frozen=True)
class Conversion:
    """What came of one."""

    source: Checkpoint
    result: Checkpoint
    """As it was read back."""
    differences: list[float]
    """Largest difference of the hidden states, of each layer."""
    scales: list[float]
    """Largest value of the source's hidden states, of each layer."""
    implementations: tuple[str, str]
    """By which the source's and the result's states were computed."""

    @property
    def tolerances(self) -> list[float]:
        """The difference up to which a layer counts as the same: 0 by one implementation, rounding by two."""
        share = 0.0 if self.implementations[0] == self.implementations[1] else ROUNDING
        return [share * scale for scale in self.scales]


def convert(source: str, target: str, out: Path, overwrite: bool = False, heads: int | None = None) -> Conversion:
    """Write a checkpoint in another format, read it back, compare weights and hidden states, and only then keep it.

    Raises:
        UserError: the source cannot be read or has values that are not finite, the target cannot say what it computes,
            ``out`` is there and may not be replaced, or what was written is not the same.
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
    """Refuse a result that is not its source: weights to the bit, states to the bit by one implementation.

    Raises:
        UserError: says what differs, and names what the target has no place for.
    """
    source, result = conversion.source, conversion.result
    names = source.weights.keys() | result.weights.keys()
    wrong = sorted(name for name in names if not _equal(source.weights.get(name), result.weights.get(name)))
    apart = [
        f"layer {layer} by {difference:.1e}"
        for layer, (difference, most) in enumerate(zip(conversion.differences, conversion.tolerances, strict=True))
        # Not a number is never within it.
        if not difference <= most
    ]
    said = [f"weights {', '.join(wrong)}"] if wrong else []
    said += [f"hidden states of {', '.join(apart)}"] if apart else []
    said += [] if source.normalise == result.normalise else ["whether waveforms are normalised"]
    if said:
        dropped = f"; left over of the source: {', '.join(source.left_over)}" if source.left_over else ""
        raise UserError(
            f"{out} is not kept: what was written is not {source.source}, but differs in {'; '.join(said)}{dropped}"
        )


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


def check_target(checkpoint: Checkpoint, target: str) -> None:
    """Refuse a format that the kind of encoder does not have, or that cannot say what the model computes."""
    kind = kind_of(checkpoint)
    if target == "transformers":
        return
    if target not in kind.formats:
        known = " or ".join(("transformers", *kind.formats))
        raise UserError(f"{checkpoint.source} is {kind.called}, for which --to is {known}, but it is {target}")
    kind.formats[target].check(checkpoint)


def check_out(out: Path, checkpoint: Checkpoint, target: str, overwrite: bool) -> None:
    """Refuse to replace what is not to be replaced."""
    is_folder = target == "transformers"
    if is_folder and out.suffix in (".pt", ".pth", ".safetensors"):
        raise UserError(f"--out {out} must be a folder for --to transformers, without {out.suffix}")
    if not out.exists():
        return
    if not overwrite:
        raise UserError(f"{out} is there already; choose another --out, or give --overwrite to replace it")
    if checkpoint.path is not None and out.resolve() in (checkpoint.path.resolve(), *checkpoint.path.resolve().parents):
        raise UserError(f"--out {out} is, or holds, the source itself; choose another")
    if out.is_dir() != is_folder or (is_folder and not (out / "config.json").is_file()):
        raise UserError(f"{out} is not a checkpoint in {target}'s format, so it is not replaced; choose another --out")


def write(checkpoint: Checkpoint, target: str, path: Path) -> None:
    """Write a checkpoint: a folder for transformers, else a file of PyTorch."""
    kind = kind_of(checkpoint)
    if target == "transformers":
        kind.write(checkpoint, path)
    else:
        kind.formats[target].write(checkpoint, path)
