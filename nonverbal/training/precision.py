"""The precision of a run's matrix products: the requested one, that of the run so far, or what suits the device."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from nonverbal.errors import UserError
from nonverbal.system import has_bf16_units
from nonverbal.training.processes import Processes

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class Chosen:
    """A precision, and the reason for it."""

    value: Precision
    why: str

    def __str__(self) -> str:
        return f"precision: {self.value}, {self.why}"


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether a device has units for bfloat16. Without them, products are emulated: correctly, but slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_bf16_units()


def choose_precision(asked: str, before: str | None, processes: Processes) -> Chosen:
    """Return the precision of a run, the same on all of its processes.

    Args:
        asked: ``bf16``, ``fp32`` or ``auto``. ``auto`` keeps the precision with which the run began; a new run uses
            bf16 if the first process's device has units for it, otherwise fp32.
        before: precision with which the run began, or None; only that of the first process counts.
        processes: of the run.

    Raises:
        UserError: ``auto`` resolved to bf16, for which a process has no units.
    """
    before = before if before in get_args(Precision) else None
    able = multiplies_bf16(processes.device)
    kind = "GPU" if processes.device.type == "cuda" else "processor"
    if asked != "auto":
        slow = f"which this {kind} emulates slowly: fp32 is faster here" if asked == "bf16" and not able else ""
        return Chosen("bf16" if asked == "bf16" else "fp32", f"as set{slow and ', ' + slow}")
    # Only the first process contributes to the first two sums, so they are its choice.
    begun, bf16, unable = processes.add(
        int(processes.is_first and before is not None),
        int(processes.is_first and (before == "bf16" if before is not None else able)),
        int(not able),
    )
    if bf16 and unable and (not begun or unable < processes.world):
        raise UserError(
            f"the run computes in bf16, but {unable:.0f} of its {processes.world} processes have no units for it and "
            "would slow down the others; start it on machines of one kind, or with --trainer.precision fp32 and "
            "another --out"
        )
    if begun:
        slow = f"; this {kind} emulates it slowly" if bf16 and unable else ""
        return Chosen("bf16" if bf16 else "fp32", f"as the run began{slow}")
    if bf16:
        return Chosen("bf16", f"for which this {kind} has units (trainer.precision: auto)")
    return Chosen("fp32", f"since this {kind} has no units for bf16 (trainer.precision: auto)")
