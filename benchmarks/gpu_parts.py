"""The parts of ``gpu.py``: each yields figures as they are known, and runs in a process of its own."""

import collections
import gc
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

from nonverbal.data.batches import Request, ShardData, ShardDataset
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.data.plan import BatchSettings, MicroBatch, clip_table
from nonverbal.models.ssam import Architecture as Mamba
from nonverbal.models.wav2vec2 import Architecture, Dropouts
from nonverbal.objectives.base import Batch, Objective
from nonverbal.objectives.clusters import HubertSettings, build_hubert_objective
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective
from nonverbal.training.estimate import audio_of
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.strategy import Autocast
from nonverbal.training.timing import measure
from nonverbal.training.trainer import TrainerSettings

ROOT = Path(__file__).parents[1]
TRAIN = ROOT / "pretrain" / "train.py"
UNITS = 100
STEP_SECONDS = 700.0
"""Audio in a step of wav2vec 2.0 base, as in ``recipes/pretrain/voc2vec.yaml``."""
ROW_SECONDS = 10.0

Figures = dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """What is measured, and where things are kept."""

    out: Path
    device: str
    smoke: bool

    @property
    def on_gpu(self) -> bool:
        """Whether there is a clock of its own, and memory."""
        return self.device == "cuda"

    @property
    def workers(self) -> int:
        """Processes that read ahead: all cores but a few."""
        return 1 if self.smoke else max((os.cpu_count() or 2) - 4, 1)

    def wait(self) -> None:
        """Return when the device has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def shards(self) -> ShardFolder:
        """Return a folder of shards of 2 to 10 s of noise that swells, made where it is missing."""
        folder = self.out / "shards"
        if not (folder / "index.json").exists():
            make_sounds(self.out / "sounds", 24 if self.smoke else 2400)
            command = [sys.executable, "-m", "nonverbal", "prepare", f"noise={self.out / 'sounds'}", f"--out={folder}"]
            started(command, self.out / "prepare.log", check=True)
            shutil.rmtree(self.out / "sounds")
        return open_shards(folder)

    def base(self) -> Architecture:
        """Return wav2vec 2.0 base, or what stands for it on a CPU."""
        small = {"hidden_size": 96, "layers": 2, "heads": 4, "ffn_size": 96, "conv_channels": 32, "codes": 16}
        return Architecture(**small) if self.smoke else Architecture()


def make_sounds(folder: Path, clips: int) -> None:
    """Write WAV files of noise under a slow envelope."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    noise = random.standard_normal(round(3 * ROW_SECONDS * SAMPLE_RATE)).astype(np.float32)
    for clip in range(clips):
        samples = int(random.uniform(2, ROW_SECONDS) * SAMPLE_RATE)
        start = random.integers(len(noise) - samples)
        envelope = 0.1 + 0.1 * np.sin(np.arange(samples, dtype=np.float32) / SAMPLE_RATE * random.uniform(2, 20))
        soundfile.write(folder / f"{clip}.wav", envelope * noise[start : start + samples], SAMPLE_RATE)


def started(command: list[str], log: Path, check: bool = False, **options: Any) -> tuple[int, float]:
    """Run a command of this checkout. Returns its exit code and how many seconds it took."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    begun = time.monotonic()
    with open(log, "w") as file:
        result = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, **options
        )
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {log.read_text()[-2000:]}")
    return result.returncode, time.monotonic() - begun


# What the machine is, and its own limits.


def machine(here: Machine) -> Iterator[Figures]:
    """Versions, clocks, and the rates that everything else is a share of."""
    query = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit,memory.total,pci.bus_id"
    names = ("torch", "transformers", "accelerate", "triton", "mamba-ssm", "deepspeed")
    versions = {name: version(name) for name in names} | {
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
    }
    yield {"versions": versions, "cores": os.cpu_count(), "shm_gb": shutil.disk_usage("/dev/shm").total / 1e9}
    if here.on_gpu:
        yield {
            "nvidia_smi": dict(
                zip(
                    query.split(","),
                    said(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]).split(", "),
                    strict=False,
                )
            )
        }
        yield {"cudnn": torch.backends.cudnn.version(), "nccl": list(torch.cuda.nccl.version())}
    yield {"bf16_tflops": rate(here, torch.bfloat16), "fp32_tflops": rate(here, torch.float32)}
    yield {"copy_gb_per_second": copy_rate(here)}
    here.shards()
    yield {"shards": "made"}


def version(package: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def said(command: list[str]) -> str:
    """Return what a command prints."""
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()


def rate(here: Machine, dtype: torch.dtype) -> float:
    """Return how many TFLOP/s a large matrix product reaches."""
    size = 256 if here.smoke else 8192
    left, right = (torch.randn(size, size, device=here.device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(here, lambda: left @ right, 5) / 1e12


def copy_rate(here: Machine) -> float:
    """Return how many 10^9 bytes a second a copy on the device reads and writes."""
    source = torch.randint(100, (2**20 if here.smoke else 2**31,), dtype=torch.uint8, device=here.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds_of(here, lambda: target.copy_(source), 5) / 1e9


def seconds_of(here: Machine, work: Callable[[], Any], times: int) -> float:
    """Return the median seconds of ``work``, after three times that do not count."""
    measured = []
    for number in range(times + 3):
        here.wait()
        begun = time.perf_counter()
        work()
        here.wait()
        if number >= 3:
            measured.append(time.perf_counter() - begun)
    return statistics.median(measured)


# Whether it computes what the CPU computes.


def agreement(here: Machine) -> Iterator[Figures]:
    """Each family's loss and gradient on the device against the CPU's in float32, padded and not.

    ``gradient`` is the norm of the difference over the norm of the CPU's gradient.
    """
    off = Dropouts(hidden=0, attention=0, features=0, quantiser=0, layer=0)
    made: dict[str, Callable[[], Any]] = {
        "wav2vec2": lambda: build_objective(Wav2Vec2Settings(dropouts=off, architecture=here.base()), 0),
        "hubert": lambda: build_hubert_objective(HubertSettings(dropouts=off, architecture=here.base()), UNITS, 0),
        "ssam": lambda: build_ssam_objective(SsamSettings(architecture=Mamba(192)), 0),
    }
    for name, make in made.items():
        for kind, lengths in (("full", [32_000, 32_000]), ("padded", [32_000, 24_000])):
            exact = gradient(make, "cpu", False, here, lengths)
            for bf16 in (False, True):
                loss, grads = gradient(make, here.device, bf16, here, lengths)
                far = sum(float((grads[key] - exact[1][key]).square().sum()) for key in grads)
                size = sum(float(value.square().sum()) for value in exact[1].values())
                figures = {"loss": loss, "on_cpu": exact[0], "gradient": (far / size) ** 0.5}
                yield {f"{name}_{kind}_{'bf16' if bf16 else 'fp32'}": figures}


def gradient(
    make: Callable[[], Any], device: str, bf16: bool, here: Machine, lengths: list[int]
) -> tuple[float, dict[str, Tensor]]:
    """Return the mean loss and the gradient by name, on the CPU."""
    objective = make().eval()  # no Gumbel noise
    batch = moved(batch_of(here, objective, np.array(lengths)), device)
    model = Autocast(objective, device, bf16).to(device)
    loss = model(batch).sum / batch.targets.count
    loss.backward()
    grads = {name: p.grad.float().cpu() for name, p in objective.named_parameters() if p.grad is not None}
    return float(loss), grads


def moved(batch: Batch, device: str) -> Batch:
    """Return a batch on the device."""
    if hasattr(batch, "to"):
        return batch.to(torch.device(device))
    from nonverbal.training.trainer import _to_device

    return _to_device(batch, torch.device(device))


def batch_of(here: Machine, objective: Any, lengths: np.ndarray) -> Batch:
    """Return a batch of rows of these lengths, in samples, from the shards."""
    folder = here.shards()
    table = clip_table([folder], "train")
    dataset = ShardDataset([folder], table, objective.target_sampler, 0)
    # The longest clips, so that nothing is repeated.
    longest = np.argsort(-table.samples, kind="stable")[np.arange(len(lengths)) % len(table.samples)]
    batch = dataset[Request(MicroBatch([np.array([clip]) for clip in longest], lengths), 0, 0)]
    if "mask" in batch.targets.tensors and isinstance(objective, nn.Module) and hasattr(objective, "units"):
        frames = batch.targets.tensors["mask"].shape
        drawn = torch.randint(0, UNITS, frames, generator=torch.Generator().manual_seed(0))
        batch.targets.tensors["units"] = drawn
    return batch


# What a step waits for.


def waits(here: Machine) -> Iterator[Figures]:
    """How often the host waits for the device in a step of the trainer, and where, as torch counts it."""
    for family in ("wav2vec2", "ssam"):
        objective, data, settings = run_of(here, family, 20.0, 2)
        places: collections.Counter[str] = collections.Counter()
        steps = 8
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            counted = Watched(data, steps, here.on_gpu, lambda: len(seen))
            with suppress(Watched.Enough):
                measure(objective, cast(Any, counted), settings, 0, 60)
        inside = seen[counted.first : counted.last]
        for warning in inside:
            if "synchroniz" in str(warning.message):
                places[f"{Path(warning.filename).name}:{warning.lineno}"] += 1
        yield {family: {"a_step": sum(places.values()) / counted.counted, "micro_batches_a_step": 2, "where": places}}


class Watched:
    """Data for a trainer, during some steps of which torch warns of every wait."""

    class Enough(Exception):
        """The steps are done."""

    def __init__(self, data: ShardData, steps: int, on_gpu: bool, seen: Callable[[], int]) -> None:
        self.data, self.steps, self.on_gpu, self.seen = data, steps, on_gpu, seen
        self.batches_per_step = data.batches_per_step
        self.first = self.last = 0
        self.counted = steps - 3

    def training(self, *given: Any) -> "Watched":
        """Begin the stream."""
        self.source = self.data.training(*given)
        return self

    def after(self, step: int) -> tuple[int, int]:
        """As the data that it holds."""
        return self.source.after(step)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; the first steps do not count."""
        for number, batch in enumerate(self.source):
            if number == 3 * self.batches_per_step:
                self._warn(True)
                self.first = self.seen()
            if number == self.steps * self.batches_per_step:
                self._warn(False)
                self.last = self.seen()
                raise self.Enough
            yield batch

    def _warn(self, on: bool) -> None:
        if self.on_gpu:
            torch.cuda.set_sync_debug_mode("warn" if on else "default")

    def validation(self, *_: Any) -> tuple[()]:
        """Return nothing."""
        return ()


def run_of(
    here: Machine, family: str, batch_seconds: float, per_step: int, workers: int | None = None
) -> tuple[Objective, ShardData, TrainerSettings]:
    """Return what the trainer takes."""
    folder, rows = here.shards(), None
    if family == "ssam":
        rows = 4 if here.smoke else 128
        objective: Any = build_ssam_objective(SsamSettings(architecture=Mamba(192)), 0)
        batches = BatchSettings(
            batch_seconds=ROW_SECONDS * rows,
            batch_rows=rows,
            batches_per_step=per_step,
            short="tile",
            fit="pad",
            max_ratio=100,
        )
    else:
        objective = build_objective(Wav2Vec2Settings(architecture=here.base()), 0)
        batches = BatchSettings(batch_seconds=max(batch_seconds, ROW_SECONDS), batches_per_step=per_step)
    count = here.workers if workers is None else workers
    data = ShardData([folder], batches, objective.target_sampler, 0, count)
    settings = TrainerSettings(steps=10**6, precision="bf16", workers=count, optimizer=OptimizerSettings(lr=1e-5))
    return cast(Objective, objective), data, settings


# How fast it trains.


def base(here: Machine) -> Iterator[Figures]:
    """wav2vec 2.0 base with the real loader: 700 s of audio a step, in micro-batches of three sizes."""
    peak = rate(here, torch.bfloat16)
    for batch_seconds in (10.0,) if here.smoke else (87.5, 350.0, 700.0):
        per_step = 2 if here.smoke else round(STEP_SECONDS / batch_seconds)
        yield {f"{batch_seconds:g}": trained(here, "wav2vec2", batch_seconds, per_step, peak=peak)}


def workers(here: Machine) -> Iterator[Figures]:
    """The same with few processes that read ahead."""
    for count in (1,) if here.smoke else (1, 4):
        yield {str(count): trained(here, "wav2vec2", 10.0 if here.smoke else 87.5, 2 if here.smoke else 8, count)}


def ssam(here: Machine) -> Iterator[Figures]:
    """SSAM tiny with the real loader, 1024 clips of up to 10 s a step."""
    yield trained(here, "ssam", 0.0, 1 if here.smoke else 8)


def trained(
    here: Machine, family: str, batch_seconds: float, per_step: int, count: int | None = None, peak: float | None = None
) -> Figures:
    """Train for some seconds. Returns seconds a step, seconds of audio a second, waiting, FLOP use and memory."""
    gc.collect()
    if here.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    objective, data, settings = run_of(here, family, batch_seconds, per_step, count)
    try:
        measured = measure(objective, data, settings, 0, 2.0 if here.smoke else 14.0)
    except torch.OutOfMemoryError as error:
        return {"failed": str(error)[:200]}
    audio = audio_of(data.table, data.validation_table, data.settings, 0, 1).seconds_per_update
    seconds = statistics.median(measured.seconds)
    figures: Figures = {
        "seconds_a_step": seconds,
        "steps": len(measured.seconds),
        "slowest": max(measured.seconds),
        "audio_a_step": audio,
        "audio_per_second": audio / seconds,
        "waiting": measured.waiting,
        "memory": measured.memory,
        "workers": settings.workers,
    }
    if peak is not None and not here.smoke:
        figures["flop_use"] = flops_a_second_of_audio() * audio / seconds / 1e12 / peak
    return figures


def flops_a_second_of_audio(row_seconds: float = 6.0) -> float:
    """Return the floating-point operations of forward and backward of wav2vec 2.0 base, matrix products alone."""
    samples, work, channels = round(row_seconds * SAMPLE_RATE), 0.0, 1
    for width, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        samples = (samples - width) // stride + 1
        work += 2 * samples * 512 * channels * width
        channels = 512
    frames = samples
    work += 2 * frames * 768 * (768 // 16) * 128
    work += 12 * (2 * frames * (4 * 768**2 + 2 * 768 * 3072) + 4 * frames**2 * 768)
    # A backward pass is two products for each of the forward's.
    return 3 * work / row_seconds


def peer(here: Machine) -> Iterator[Figures]:
    """transformers' own step beside ours, on the same fixed batch: no loader, no logging."""
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
    batch = moved(batch_of(here, objective, np.full(rows, round(seconds * SAMPLE_RATE))), here.device)
    model = wrap(Autocast(objective, here.device, True).to(here.device))
    return step_of(objective, lambda: model(batch).sum / batch.targets.count)


def their_step(here: Machine, rows: int, seconds: float) -> Callable[[], Any]:
    """Return the step of transformers' ``run_wav2vec2_pretraining_no_trainer.py``, its draws made beforehand."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    small = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    small |= {"conv_dim": (32,) * 7, "num_codevectors_per_group": 16}
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
    """Return forward, backward and update as one function."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.98), eps=1e-6, fused=True)

    def step() -> None:
        mean_loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def shapes(here: Machine) -> Iterator[Figures]:
    """Seconds of forward and backward for lengths that are new, and for the same ones again."""
    objective = build_objective(Wav2Vec2Settings(architecture=here.base(), dropouts=Dropouts(layer=0.0)), 0).train()
    model = Autocast(objective, here.device, True).to(here.device)
    lengths = [2.0, 2.1] if here.smoke else [4.0 + 0.1 * number for number in range(12)]
    batches = []
    for seconds in lengths:
        rows = 2 if here.smoke else int(87.5 / seconds)
        batches.append(moved(batch_of(here, objective, np.full(rows, round(seconds * SAMPLE_RATE))), here.device))
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
    """Each selective scan that runs here: how exact, how fast."""
    import ssam_gpu

    names = ("part", "size", "dtype", "scan")
    for row in ssam_gpu.measure(torch.device(here.device), here.smoke):
        name = "_".join(row[key] for key in names if key in row)
        yield {name: {key: value for key, value in row.items() if key not in names}}


def compiled(here: Machine) -> Iterator[Figures]:
    """The step on a fixed batch, as it is and through ``torch.compile``."""
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


# Runs from their beginning to their end.


def recipe(out: Path, here: Machine, steps: int) -> list[str]:
    """Return what a new run of the tiny recipe takes."""
    shutil.rmtree(out, ignore_errors=True)
    return [
        str(ROOT / "recipes/pretrain/wav2vec2_tiny.yaml"),
        f"--data={here.shards().folder}",
        f"--out={out}",
        f"--trainer.steps={steps}",
        "--trainer.optimizer.warmup_steps=2",
        f"--trainer.workers={1 if here.smoke else 4}",
        f"--trainer.validate_every={steps}",
        "--trainer.log_every=1",
    ]


def torchrun(here: Machine) -> Iterator[Figures]:
    """One process under torchrun: NCCL, DDP, and whether the end is clean."""
    out = here.out / "torchrun"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    log = here.out / "torchrun.log"
    code, seconds = started([*launcher, str(TRAIN), *recipe(out, here, 4 if here.smoke else 60)], log)
    yield {"exit_code": code, "seconds": seconds, "last_lines": log.read_text()[-700:] if code else None}
    warned = [line for line in log.read_text().splitlines() if "warn" in line.lower() or "destroy" in line.lower()]
    yield {"warnings": warned[:8]}


def resume(here: Machine) -> Iterator[Figures]:
    """A run that SIGUSR1 stops and the same command continues, against one that nothing stops."""
    steps = 8 if here.smoke else 150
    whole, stopped = here.out / "whole", here.out / "stopped"
    started([sys.executable, str(TRAIN), *recipe(whole, here, steps)], here.out / "whole.log", check=True)
    command = [sys.executable, str(TRAIN), *recipe(stopped, here, steps)]
    with open(here.out / "stopped.log", "w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while child.poll() is None and len(losses(stopped)) < 2:
            time.sleep(0.05)
        asked = time.monotonic()
        child.send_signal(signal.SIGUSR1)
        yield {"exit_code_of_sigusr1": child.wait(), "seconds_to_save": time.monotonic() - asked}
    code, seconds = started(command, here.out / "continued.log")
    yield {"exit_code": code, "seconds_to_continue": seconds, "rows": len(losses(stopped))}
    pairs = list(zip(losses(whole), losses(stopped), strict=True))
    yield {"largest_relative_difference_of_losses": max(abs(a - b) / abs(a) for a, b in pairs)}


def losses(run: Path) -> list[float]:
    """Return the training losses that a run has written so far."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [row["loss"] for row in rows if row["kind"] == "train"]


# Where the time goes.


def profile(here: Machine) -> Iterator[Figures]:
    """The operators and kernels of one step of base, by the device's time; the trace is in ``step.json.gz``."""
    step = our_step(here, 2 if here.smoke else 8, 2.0 if here.smoke else ROW_SECONDS)
    for _ in range(3):
        step()
    here.wait()
    with torch.profiler.profile() as recorded:
        step()
        here.wait()
    events = recorded.key_averages()
    kind = "self_device_time_total" if here.on_gpu else "self_cpu_time_total"
    kernels = [event for event in events if not here.on_gpu or event.device_type != torch.autograd.DeviceType.CPU]
    total = sum(getattr(event, kind) for event in kernels) or 1
    ordered = sorted(kernels, key=lambda event: -getattr(event, kind))
    yield {"device_milliseconds": total / 1e3}
    yield {"kernels": {e.key[:110]: [round(getattr(e, kind) / 1e3, 3), e.count] for e in ordered[:30]}}
    host = sorted(events, key=lambda event: -event.self_cpu_time_total)
    yield {"host": {e.key[:80]: [round(e.self_cpu_time_total / 1e3, 3), e.count] for e in host[:20]}}
    recorded.export_chrome_trace(str(here.out / "step.json.gz"))


def tests(here: Machine) -> Iterator[Figures]:
    """The tests that need a GPU; without one they say that they were skipped."""
    log = here.out / "tests.log"
    code, seconds = started([sys.executable, "-m", "pytest", "-m", "gpu"], log)
    yield {"exit_code": code, "seconds": seconds, "last_lines": log.read_text()[-600:]}
