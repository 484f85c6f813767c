"""Low-rank adapters by PEFT: put into a model, and merged into its weights (Hu et al., 2022, equation 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from nonverbal.errors import UserError
from nonverbal.models.drawn import drawn_from
from nonverbal.models.tuned.settings import LoraSettings

NAME = "default"
"""Of the adapter, in PEFT's names of weights."""

BASE, DOWN, UP = ".base_layer.", f".lora_A.{NAME}.weight", f".lora_B.{NAME}.weight"
"""What PEFT puts into the names of a map's own weights, and of its adapter's."""


def inject(
    model: nn.Module,
    source: str,
    settings: LoraSettings,
    usual: Sequence[str],
    unadaptable: Sequence[str],
    seed: int,
) -> None:
    """Give maps of a model adapters, whose start changes nothing of what it computes.

    Args:
        model: changed in place.
        source: whose it is, for messages.
        settings: rank, scale, and which maps.
        usual: ends of the names of maps, where the settings name none.
        unadaptable: ends of the names of maps whose adapters would not be heeded.
        seed: draws them.

    Raises:
        UserError: PEFT is not installed, or there is no such map.
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
                f"encoder.lora.targets names {target!r}, in which no map of {source} ends; there are {there}"
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
    """Return weights under the names that they have without adapters: W + alpha / rank x B A."""
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
            "encoder.train: lora needs PEFT, which is not installed: pip install 'nonverbal[lora]'"
        ) from error
    return peft
