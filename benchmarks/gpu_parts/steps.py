"""Measures single steps on a batch that is on the device, and where their time goes."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gpu_parts.exactness import batch_of
from gpu_parts.machine import ROW_SECONDS, Figures, Machine, seconds_of
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.models.wav2vec2 import Dropouts
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.training.strategy import Autocast


def peer(here: Machine) -> Iterator[Figures]:
    """Compare transformers' own step with ours, on the same fixed batch, without loader and logging."""
    rows = 2 if here.smoke else 8
    for many in (rows,) if here.smoke else (rows, 4 * rows):
        for name, make in (("nonverbal", our_step), ("transformers", their_step)):
            gc.collect()
            if here.on_gpu:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            step = make(here, many, 2.0 if here.smoke else ROW_SECONDS)
            seconds = seconds_of(here, step, 3 if here.smoke else 20)
            memory = torch.cuda.max_memory_allocated() / 1e9 if here.on_gpu else None
            yield {f"{name}_{many}": {"seconds": seconds, "gigabytes": memory}}


def our_step(
    here: Machine, rows: int, seconds: float, wrap: Callable[[nn.Module], nn.Module] = lambda model: model
) -> Callable[[], Any]:
    """Return a function that takes one whole step on a fixed batch, in bf16."""
    settings = Wav2Vec2Settings(architecture=here.base(), dropouts=Dropouts(layer=0.0))
    objective = build_objective(settings, 0).train()
    batch = batch_of(here, objective, np.full(rows, round(seconds * SAMPLE_RATE))).to(torch.device(here.device))
    model = wrap(Autocast(objective, here.device, True).to(here.device))
    return step_of(objective, lambda: model(batch).sum / batch.targets.count)


def their_step(here: Machine, rows: int, seconds: float) -> Callable[[], Any]:
    """Return the step of transformers' ``run_wav2vec2_pretraining_no_trainer.py``, its random draws made before."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    small: dict[str, Any] = {
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "conv_dim": (32,) * 7,
        "num_codevectors_per_group": 16,
    }
    config = Wav2Vec2Config(layerdrop=0.0, mask_time_prob=0.65, activation_dropout=0.0, **(small if here.smoke else {}))
    model = Wav2Vec2ForPreTraining(config).train().to(here.device)
    clips = 0.1 * torch.randn(rows, round(seconds * SAMPLE_RATE), device=here.device)
    shape = (rows, int(model._get_feat_extract_output_lengths(clips.shape[1])))
    mask = _compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length, min_masks=2)
    negatives = torch.from_numpy(_sample_negative_indices(shape, config.num_negatives, mask_time_indices=mask))
    count, given = int(mask.sum()), torch.from_numpy(mask).to(here.device)
    negatives = negatives.to(here.device)

    def loss() -> Tensor:
        with torch.autocast(here.device, torch.bfloat16):
            output = model(clips, mask_time_indices=given, sampled_negative_indices=negatives)
        return cast(Tensor, output.loss / count)

    return step_of(model, loss)


def step_of(model: nn.Module, mean_loss: Callable[[], Tensor]) -> Callable[[], Any]:
    """Return a function that does forward, backward and update."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.98), eps=1e-6, fused=True)

    def step() -> None:
        mean_loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def shapes(here: Machine) -> Iterator[Figures]:
    """Measure seconds of forward and backward for lengths that are new, and for the same ones again."""
    objective = build_objective(Wav2Vec2Settings(architecture=here.base(), dropouts=Dropouts(layer=0.0)), 0).train()
    model = Autocast(objective, here.device, True).to(here.device)
    lengths = [2.0, 2.1] if here.smoke else [4.0 + 0.1 * number for number in range(12)]
    batches = []
    for seconds in lengths:
        rows = 2 if here.smoke else int(87.5 / seconds)
        batches.append(
            batch_of(here, objective, np.full(rows, round(seconds * SAMPLE_RATE))).to(torch.device(here.device))
        )
    times: list[list[float]] = []
    for _ in range(3):
        times.append([])
        for batch in batches:
            here.wait()
            begun = time.perf_counter()
            (model(batch).sum / batch.targets.count).backward()
            here.wait()
            times[-1].append(time.perf_counter() - begun)
    yield dict(zip(("first", "second", "third"), map(statistics.median, times), strict=True))


def scans(here: Machine) -> Iterator[Figures]:
    """Measure how exact and how fast each selective scan is that runs here."""
    import ssam_gpu

    names = ("part", "size", "dtype", "scan")
    for row in ssam_gpu.measure(torch.device(here.device), here.smoke):
        name = "_".join(row[key] for key in names if key in row)
        yield {name: {key: value for key, value in row.items() if key not in names}}


def compiled(here: Machine) -> Iterator[Figures]:
    """Time the step on a fixed batch, as it is and through ``torch.compile``."""
    rows, seconds = (2, 2.0) if here.smoke else (8, ROW_SECONDS)
    yield {"eager": seconds_of(here, our_step(here, rows, seconds), 3)}
    if not here.on_gpu:
        yield {"left_out": "on a CPU the step has functions of its own, which are not compiled"}
        return
    begun = time.monotonic()
    step = our_step(here, rows, seconds, lambda model: cast(nn.Module, torch.compile(model)))
    step()
    here.wait()
    yield {"seconds_to_compile": time.monotonic() - begun}
    yield {"compiled": seconds_of(here, step, 3)}


def profile(here: Machine) -> Iterator[Figures]:
    """List the operators and kernels of one step of base by their time on the device; the trace is ``step.json.gz``."""
    step = our_step(here, 2 if here.smoke else 8, 2.0 if here.smoke else ROW_SECONDS)
    for _ in range(3):
        step()
    here.wait()
    with torch.profiler.profile() as recorded:
        step()
        here.wait()
    events = recorded.key_averages()
    kind = "self_device_time_total" if here.on_gpu else "self_cpu_time_total"
    # The type of device is an enumeration that torch does not export.
    kernels = [event for event in events if not here.on_gpu or event.device_type.name != "CPU"]
    total = sum(getattr(event, kind) for event in kernels) or 1
    ordered = sorted(kernels, key=lambda event: -getattr(event, kind))
    yield {"device_milliseconds": total / 1e3}
    yield {"kernels": {e.key[:110]: [round(getattr(e, kind) / 1e3, 3), e.count] for e in ordered[:30]}}
    host = sorted(events, key=lambda event: -event.self_cpu_time_total)
    yield {"host": {e.key[:80]: [round(e.self_cpu_time_total / 1e3, 3), e.count] for e in host[:20]}}
    recorded.export_chrome_trace(str(here.out / "step.json.gz"))
