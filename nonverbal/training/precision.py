"""In which type a run multiplies: asked for, kept from its beginning, or what the device does best."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from nonverbal.errors import UserError
from nonverbal.system import has_bf16_units
from nonverbal.training.processes import Processes

Precision = Literal["bf16", "fp32"]


@dataclass(frozen=True)
class Chosen:
    """A precision, and where it comes from."""

    value: Precision
    why: str

    def __str__(self) -> str:
        return f"precision: {self.value}, {self.why}"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has units for bfloat16. Where it has none, products are emulated: correct, and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return has_bf16_units()


def choose_precision(asked: str, before: str | None, processes: Processes) -> Chosen:
    """Return the precision of a run, the same on all of its processes.

    Args:
        asked: ``bf16``, ``fp32`` or ``auto``: what the run began with or, in a new one, bf16 where the first process's
            device has units for it and fp32 elsewhere.
        before: with which the run began, where it has; the first process decides.
        processes: of the run.

    Raises:
        UserError: ``auto`` gave bf16, for which a process has no units.
    """
    before = before if before in get_args(Precision) else None
    able = multiplies_bf16(processes.device)
    kind = "GPU" if processes.device.type == "cuda" else "processor"
    if asked != "auto":
        slow = f"which this {kind} emulates, slowly: fp32 is faster here" if asked == "bf16" and not able else ""
        return Chosen("bf16" if asked == "bf16" else "fp32", f"as asked{slow and ', ' + slow}")
    # Only the first process contributes, so the sum is its choice.
    begun, bf16, unable = processes.add(
        int(processes.is_first and before is not None),
        int(processes.is_first and (before == "bf16" if before is not None else able)),
        int(not able),
    )
    if bf16 and unable and (not begun or unable < processes.world):
        raise UserError(
            f"the run multiplies in bf16, but {unable} of its {processes.world} processes have no units for it and "
            "would hold up the others; start it on machines of one kind, or with --trainer.precision fp32 and an "
            "--out of its own"
        )
    if begun:
        slow = f"; this {kind} emulates it, slowly" if bf16 and unable else ""
        return Chosen("bf16" if bf16 else "fp32", f"as the run began{slow}")
    if bf16:
        return Chosen("bf16", f"for which this {kind} has units (trainer.precision: auto)")
    return Chosen("fp32", f"since this {kind} has no units for bf16 (trainer.precision: auto)")
