"""Low-rank adapters of PEFT: adds them to a model, and merges them into its weights (Hu et al., 2022, equation 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nonverbal.errors import UserError
from nonverbal.models.drawn import drawn_from
from nonverbal.models.tuned.settings import LoraSettings

NAME = "default"
"""Name of the adapter in PEFT's names of weights."""

BASE, DOWN, UP = ".base_layer.", f".lora_A.{NAME}.weight", f".lora_B.{NAME}.weight"
"""What PEFT inserts into the names of a linear layer's own weights, and of its adapter's."""


def inject(
    model: nn.Module,
    source: str,
    settings: LoraSettings,
    usual: Sequence[str],
    unadaptable: Sequence[str],
    seed: int,
) -> None:
    """Add adapters to linear layers of a model. At first they do not change its output.

    Args:
        model: changed in place.
        source: of the model, for messages.
        settings: rank, scale, and which linear layers get an adapter.
        usual: suffixes of the names of linear layers, used if the settings give none.
        unadaptable: suffixes of the names of linear layers whose adapters would have no effect.
        seed: of the adapters' weights.

    Raises:
        UserError: PEFT is not installed, or there is no such linear layer.
    """
    peft = _peft()
    linear = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and not _ends(name, unadaptable)
    ]
    targets = settings.targets or usual
    for target in targets:
        if not any(_ends(name, [target]) for name in linear):
            there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise UserError(
                f"encoder.lora.targets contains {target!r}, but no linear layer of {source} has a name that ends so; "
                f"the names are {there}"
            )
    chosen = [name for name in linear if _ends(name, targets)]
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=chosen
    )
    with drawn_from(seed, 1):
        peft.inject_adapter_in_model(config, model, adapter_name=NAME)


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name is an adapter's."""
    return name.endswith((DOWN, UP))


def merged(weights: Mapping[str, Tensor], settings: LoraSettings) -> dict[str, Tensor]:
    """Return merged weights, W + alpha / rank x B A, by their names in the model without adapters."""
    plain = {name.replace(BASE, "."): value for name, value in weights.items() if not is_adapter(name)}
    for name, down in weights.items():
        if name.endswith(DOWN):
            module = name.removesuffix(DOWN)
            update = weights[module + UP].float() @ down.float() * (settings.alpha / settings.rank)
            weight = plain[f"{module}.weight"]
            plain[f"{module}.weight"] = (weight.float() + update).to(weight.dtype)
    return plain


def _ends(name: str, ends: Sequence[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in ends)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise UserError(
            "encoder.train: lora needs PEFT, which is not installed; run pip install 'nonverbal[lora]'"
        ) from error
    return peft
