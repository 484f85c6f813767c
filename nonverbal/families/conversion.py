"""Checkpoints from one format to another, and the proof that they compute the same."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining, Wav2Vec2Model

from nonverbal.errors import UserError
from nonverbal.families import AnyCheckpoint, read_any
from nonverbal.families.hidden_states import fixed_signal, own_states, prepared
from nonverbal.files import room_for, whole
from nonverbal.models import ssam
from nonverbal.models.checkpoints.config_keys import FAIRSEQ_ACTIVATIONS
from nonverbal.models.checkpoints.reading import Checkpoint, refuse_not_finite
from nonverbal.models.checkpoints.weight_names import NO_COUNTERPART, Format, renamed
from nonverbal.models.wav2vec2 import export

Target = Literal[Format, "ssam"]
"""Formats of wav2vec 2.0, and that of SSAM's released code."""

NO_HISTORY: dict[str, Any] = {
    "optimizer_history": [
        {"criterion_name": "Wav2vecCriterion", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    ],
    "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    "last_optimizer_state": None,
}
"""What fairseq looks for in every checkpoint before it reads weights (``checkpoint_utils._upgrade_state_dict``)."""


ROUNDING = 1e-4
"""Difference of hidden states between two implementations in float32, over their largest value."""


@dataclass(frozen=True)
class Conversion:
    """What came of one."""

    source: AnyCheckpoint
    result: AnyCheckpoint
    """As it was read back."""
    differences: list[float]
    """Largest difference of the hidden states, of each layer."""
    scales: list[float]
    """Largest value of the source's hidden states, of each layer."""
    implementations: tuple[str, str]
    """By which the source's and the result's states were computed."""

    @property
    def tolerances(self) -> list[float]:
        """The largest difference of each layer that is none: 0 by one implementation, rounding by two."""
        share = 0.0 if self.implementations[0] == self.implementations[1] else ROUNDING
        return [share * scale for scale in self.scales]


def convert(source: str, target: Target, out: Path, overwrite: bool = False, heads: int | None = None) -> Conversion:
    """Write a checkpoint in another format, read it back, compare weights and hidden states, and only then keep it.

    Raises:
        UserError: the source cannot be read or has values that are no numbers, the target cannot say what it computes,
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


def _read_back(checkpoint: AnyCheckpoint, target: Target, written: Path) -> Conversion:
    result = read_any(str(written), getattr(checkpoint.config, "num_attention_heads", None))
    if isinstance(checkpoint, ssam.Checkpoint) and isinstance(result, ssam.Checkpoint) and target == "ssam":
        # The file holds weights alone.
        ssam.read_alike(checkpoint, result)
    inputs = prepared(fixed_signal(), checkpoint.normalise)
    before, by = own_states(checkpoint, inputs)
    after, by_after = own_states(result, inputs)
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


def check_target(checkpoint: AnyCheckpoint, target: Target) -> None:
    """Refuse a format that the family does not have, or that cannot say what the model computes."""
    formats = ("ssam", "transformers") if isinstance(checkpoint, ssam.Checkpoint) else get_args(Format)
    if target not in formats:
        family = "an Audio Mamba" if isinstance(checkpoint, ssam.Checkpoint) else "a wav2vec 2.0"
        raise UserError(
            f"{checkpoint.source} is {family}, for which --to is {' or '.join(formats)}, but it is {target}"
        )
    if isinstance(checkpoint, Checkpoint) and target != "transformers":
        _check_sayable(checkpoint, target)
        _check_projection(checkpoint, target)


def _check_sayable(checkpoint: Checkpoint, target: Target) -> None:
    """Refuse what fairseq's and fairseq2's models cannot be told to compute."""
    config = checkpoint.config
    activations = FAIRSEQ_ACTIVATIONS.values() if target == "fairseq" else ("gelu",)
    for key, sayable in (
        ("hidden_act", tuple(dict.fromkeys(activations))),
        ("feat_extract_activation", ("gelu",)),
        ("layer_norm_eps", (1e-5,)),
    ):
        if getattr(config, key) not in sayable:
            raise UserError(
                f"{checkpoint.source} has {key} {getattr(config, key)!r}, but a model of {target} always has "
                f"{' or '.join(map(repr, sayable))}; --to transformers keeps it"
            )


def _check_projection(checkpoint: Checkpoint, target: Target) -> None:
    if checkpoint.config.conv_dim[-1] == checkpoint.config.hidden_size:
        raise UserError(
            f"{checkpoint.source} projects {checkpoint.config.hidden_size} channels to as many, where a model of "
            f"{target} has no projection; --to transformers keeps it"
        )


def check_out(out: Path, checkpoint: AnyCheckpoint, target: Target, overwrite: bool) -> None:
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
        raise UserError(f"{out} is no checkpoint in {target}'s format, so it is not replaced; choose another --out")


def write(checkpoint: AnyCheckpoint, target: Target, path: Path) -> None:
    """Write a checkpoint: a folder for transformers, else a file of PyTorch."""
    if isinstance(checkpoint, ssam.Checkpoint):
        ssam.write(checkpoint, target, path)
        return
    assert target != "ssam"
    if target == "transformers":
        _write_transformers(checkpoint, path)
        return
    weights = renamed(checkpoint.weights, "transformers", target, checkpoint.layout)
    weights = {name: value.clone() for name, value in weights.items()}
    if target == "fairseq2" and checkpoint.has_head:
        weights[NO_COUNTERPART] = torch.zeros((), dtype=torch.int64)
    # fairseq2 reads the weights alone; the rest tells whoever converts it back what they do not.
    more = NO_HISTORY if target == "fairseq" else {}
    torch.save({"args": None, "cfg": fairseq_config(checkpoint), "model": weights, **more}, path)


def _write_transformers(checkpoint: Checkpoint, folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        model = (Wav2Vec2ForPreTraining if checkpoint.has_head else Wav2Vec2Model)(checkpoint.config)
    weights = {
        name if checkpoint.has_head else re.sub(r"^wav2vec2\.", "", name): value
        for name, value in checkpoint.weights.items()
    }
    export(model, weights, checkpoint.normalise, folder)


def fairseq_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what fairseq needs to build the model: plain values under its own names, no objects."""
    config: Wav2Vec2Config = checkpoint.config
    layers = zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)
    model = {
        "_name": "wav2vec2",
        "extractor_mode": "default" if config.feat_extract_norm == "group" else "layer_norm",
        "layer_norm_first": config.do_stable_layer_norm,
        "activation_fn": {theirs: ours for ours, theirs in FAIRSEQ_ACTIVATIONS.items()}[config.hidden_act],
        "conv_bias": config.conv_bias,
        "conv_feature_layers": str([tuple(layer) for layer in layers]),
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups,
        "quantize_targets": checkpoint.has_head,
        "latent_groups": config.num_codevector_groups,
        "latent_vars": config.num_codevectors_per_group,
        "latent_dim": config.codevector_dim,
        "final_dim": config.proj_codevector_dim,
    }
    task = {"_name": "audio_pretraining", "data": "", "sample_rate": 16_000, "normalize": checkpoint.normalise}
    return {"model": model, "task": task}
