"""Prints the cost of a run as a table, and returns the same figures as plain data."""

import statistics
from dataclasses import asdict
from typing import Any

from nonverbal.text import size
from nonverbal.training.cost.estimate import Audio, Estimate
from nonverbal.training.cost.timing import Measured


def figures(measured: Measured, audio: Audio, estimate: Estimate, warnings: list[str]) -> dict[str, Any]:
    """Return all figures, for ``--json``."""
    shares = estimate.shares
    return {
        "assumed": assumed(estimate),
        "hours": estimate.hours,
        "gpu_hours": estimate.gpu_hours,
        **{name: value for name, value in asdict(estimate).items() if name != "shares"},
        "communication_share": estimate.communication_share,
        "micro_batches": shares.micro_batches,
        "rounds": shares.rounds,
        "idle_in_last_round": shares.idle_in_last_round,
        "measured": {
            **asdict(measured),
            "mean": statistics.fmean(measured.seconds),
            "spread": statistics.pstdev(measured.seconds),
            "processes": 1,
        },
        "audio": asdict(audio),
        "warnings": warnings,
    }


def assumed(estimate: Estimate) -> str:
    """Return the assumptions behind the hours."""
    sent = estimate.communication
    several = f"{estimate.gpus} such devices share the micro-batches of an update evenly, rounded up, and " + (
        "their communication takes no time (--network counts it); "
        if sent is None
        else f"communicate in a ring whose slowest link has {sent.gigabits:g} Gb/s, and compute nothing meanwhile (in "
        "practice, the two overlap, so this is an upper bound); "
    )
    return (
        f"Assumed: {several if estimate.gpus > 1 else ''}a validation pass takes a third of the time of updates on the "
        "same amount of audio; the time to start and to write checkpoints is not counted."
    )


def print_cost(measured: Measured, audio: Audio, estimate: Estimate, warnings: list[str]) -> None:
    """Print the table, the assumptions, and the warnings."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, text in rows(measured, audio, estimate):
        table.add_row(name, text)
    corpora = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("corpus", "clips", "hours", "passes", "hours used"):
        corpora.add_column(name, justify="left" if name == "corpus" else "right", overflow="fold")
    for row in audio.corpora:
        corpora.add_row(row.corpus, f"{row.clips}", f"{row.hours:.2f}", f"{row.passes:.1f}", f"{row.heard_hours:.1f}")
    console = Console(highlight=False)
    console.print(table, corpora)
    console.print(assumed(estimate), markup=False)
    for text in warnings:
        console.print(f"warning: {text}", style="yellow", markup=False)


def rows(measured: Measured, audio: Audio, estimate: Estimate) -> list[tuple[str, str]]:
    """Return the names and texts of the table's rows."""
    mean, spread = statistics.fmean(measured.seconds), statistics.pstdev(measured.seconds)
    kind = "GPU" if measured.on_gpu else "device"
    return [
        ("updates", f"{estimate.updates}"),
        ("an update here", f"{mean:.3g} ± {spread:.2g} s on one {measured.device}; {len(measured.seconds)} measured"),
        (f"on {estimate.gpus}", f"{estimate.seconds_per_update:.3g} s; {_shared(estimate)}"),
        *_communication(estimate),
        (
            "the run",
            f"{estimate.hours:.3g} hours, {estimate.gpu_hours:.3g} {kind}-hours; "
            f"validation is {estimate.validation_hours / estimate.hours:.0%} of them",
        ),
        ("audio", f"{audio.seconds_per_update:.4g} s an update, {audio.hours:.4g} hours in {audio.passes:.3g} passes"),
        (
            "",
            f"cropped {audio.cropped:.1%}, repeated {audio.repeated:.1%}, padded {audio.padded:.1%}",
        ),
        ("precision", f"{measured.precision.value}, {measured.precision.why}"),
        *([("selective scan", measured.scan)] if measured.scan is not None else []),
        ("waiting for data", f"{measured.waiting:.1%} of the time"),
        ("memory", _memory(measured, estimate)),
        ("", f"the largest micro-batch seen held {measured.largest_batch:.1f} s of audio"),
        (
            "disk",
            f"{size(estimate.disk_bytes)}: at most {estimate.checkpoint_count} checkpoints of "
            f"{size(measured.checkpoint_bytes)}, and the encoder",
        ),
        ("parameters", f"{measured.parameters / 1e6:.4g} M"),
    ]


def _communication(estimate: Estimate) -> list[tuple[str, str]]:
    told = estimate.communication
    if told is None:
        return []
    return [
        (
            "communication",
            f"at most {told.seconds:.3g} s of an update, {estimate.communication_share:.0%}; "
            f"a GPU sends {size(told.bytes)}",
        )
    ]


def _shared(estimate: Estimate) -> str:
    shares = estimate.shares
    text = f"{shares.micro_batches} micro-batches in {shares.rounds} rounds"
    idle = shares.idle_in_last_round
    return f"{text}, {idle} idle in the last" if idle else text


def _memory(measured: Measured, estimate: Estimate) -> str:
    memory = measured.memory
    peak = (
        f"{size(memory['peak_allocated'])} at its peak, {size(memory['peak_reserved'])} reserved"
        if measured.on_gpu
        else f"{size(memory['peak_resident'])} at its peak"
    )
    # DistributedDataParallel sums gradients in buckets of its own.
    copy = f"; on several, + {size(4 * measured.parameters)}" if estimate.gpus > 1 else ""
    return f"{peak}, of {size(memory['available'])}{copy}"
