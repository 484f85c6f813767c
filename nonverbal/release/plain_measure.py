"""A released folder measured with transformers alone: ``python -I plain_measure.py FOLDER OUT.json [--trust]``.

It needs torch and transformers, and hides this toolkit from the code that it loads. It writes versions, how the weights
were loaded, and differences between embeddings of synthetic waveforms: alone, in batches, padded, in bfloat16, on a
GPU.

Shapes: N clips, T samples, L layers including the input of the first block, S frames, M values per frame.
"""

import importlib
import json
import math
import platform
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SAMPLE_RATE = 16_000

SECONDS = (0.5, 1.0, 1.7, 3.1)
"""Lengths of the synthetic clips."""

ROWS = 8
"""Numbers in the sketch of an embedding."""

AUTO = {
    "ForSequenceClassification": "AutoModelForAudioClassification",
    "ForAudioClassification": "AutoModelForAudioClassification",
    "ForCTC": "AutoModelForCTC",
    "ForPreTraining": "AutoModelForPreTraining",
    "ForConditionalGeneration": "AutoModelForSpeechSeq2Seq",
}
"""From the ending of the architecture's name in ``config.json`` to the class that loads all weights; else AutoModel."""

WINDOWED = ("whisper", "audio-spectrogram-transformer")
"""``model_type`` of models that read windows of a fixed length."""

SPELLINGS = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))
"""Names of weight norm's two tensors, in PyTorch before 2.0 and since."""


def waveform(take: int, samples: int) -> np.ndarray:
    """Return a clip ``(T,)`` float32: a gliding voice in bursts, with breath, rounded to 16 bits to be reproducible."""
    drawn = random.Random(take)
    pitch, glide, rate = drawn.uniform(110, 420), drawn.uniform(-0.3, 0.3), drawn.uniform(3, 7)
    time = np.arange(samples) / SAMPLE_RATE
    phase = 2 * math.pi * pitch * (time + glide * time**2 / 2)
    voice = sum(np.sin(k * phase) / k for k in range(1, 9))
    bursts = 0.55 - 0.45 * np.cos(2 * math.pi * rate * time)
    breath = np.array([drawn.random() for _ in range(samples)]) - 0.5
    return (np.rint(0.2 * bursts * (voice + breath) * 32_767) / 32_768).astype(np.float32)


def waveforms() -> list[np.ndarray]:
    """Return the synthetic clips, which have different lengths."""
    return [waveform(take, round(seconds * SAMPLE_RATE)) for take, seconds in enumerate(SECONDS)]


def sketch(embeddings: np.ndarray) -> np.ndarray:
    """Return ``(N, L, 8)`` of embeddings ``(N, L, values)``: sums with random signs, divided by sqrt(values)."""
    values = embeddings.shape[-1]
    bits = random.Random(values).getrandbits(ROWS * values).to_bytes(ROWS * values // 8, "little")
    signs = 2.0 * np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(values, ROWS) - 1
    found: np.ndarray = embeddings.astype(np.float64) @ signs / math.sqrt(values)
    return found


def rms_of(embeddings: np.ndarray) -> np.ndarray:
    """Return ``(L,)``: the RMS of each layer's embeddings ``(N, L, values)``."""
    found: np.ndarray = np.sqrt(np.square(embeddings.astype(np.float64)).mean((0, 2)))
    return found


def farthest(one: np.ndarray, other: np.ndarray, rms: np.ndarray) -> float:
    """Return the largest difference of ``(N, L, ...)``, divided by the layer's RMS ``(L,)``; infinite if any is NaN."""
    if one.shape != other.shape:
        return math.inf
    gap = np.abs(one.astype(np.float64) - other).max((0, 2)) / np.maximum(rms, np.finfo(np.float64).tiny)
    return float(gap.max()) if np.isfinite(gap).all() else math.inf


class Plain:
    """A model and its feature extractor in transformers, loaded as the code in the card does."""

    def __init__(self, folder: str, trust: bool) -> None:
        """Load the feature extractor and the encoder."""
        self.config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        self.kind = str(self.config.get("model_type"))
        self._folder, self._trust = folder, trust
        self.extractor = _auto("AutoFeatureExtractor").from_pretrained(folder, trust_remote_code=trust)
        model, self.info = self.load("AutoModel")
        self.model = model.get_encoder() if self.kind == "whisper" else model

    @property
    def auto(self) -> str:
        """The name of the class that loads every weight of the folder."""
        architecture = str((self.config.get("architectures") or [""])[0])
        return next((auto for end, auto in AUTO.items() if architecture.endswith(end)), "AutoModel")

    def load(self, auto: str, seed: int = 0) -> tuple[Any, Mapping[str, Any]]:
        """Return a model in float32, and transformers' report on its weights; ``seed`` draws missing weights."""
        torch.manual_seed(seed)
        options = {"use_safetensors": True, "output_loading_info": True, "dtype": torch.float32}
        model, info = _auto(auto).from_pretrained(self._folder, trust_remote_code=self._trust, **options)
        return model.eval(), info

    def inputs(self, clips: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the feature extractor's output for clips, on the model's device."""
        # Feature extractors of fixed windows pad to them by default.
        options = {} if self.kind in WINDOWED else {"padding": True}
        found = self.extractor(list(clips), sampling_rate=SAMPLE_RATE, return_tensors="pt", **options)
        return {name: value.to(self.model.device) for name, value in found.items()}

    def embeddings(self, clips: Sequence[np.ndarray], bf16: bool = False) -> np.ndarray:
        """Return ``(N, L, 2 M)`` of clips in one batch: mean and standard deviation over each clip's own frames."""
        inputs = self.inputs(clips)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = self.model(**inputs, output_hidden_states=True, return_dict=True)
        # The last of hidden_states is before the final norm in transformers 5, and after it in transformers 4.
        states = torch.stack([*output.hidden_states[:-1], output.last_hidden_state], 1)
        mask = getattr(output, "frame_mask", None)
        own = [self.own(states[i], len(clip), None if mask is None else mask[i]) for i, clip in enumerate(clips)]
        pooled = [torch.cat([f.mean(1), f.std(1, correction=0)], 1) for f in (frames.double() for frames in own)]
        return torch.stack(pooled).cpu().numpy()

    def own(self, states: Tensor, samples: int, mask: Tensor | None) -> Tensor:
        """Return the states of a clip's own frames, from the states ``(L, S, M)`` of its row."""
        config = self.model.config
        if mask is not None:
            return states[:, : int(mask.sum())]
        if self.kind == "whisper":
            return states[:, : -(-samples // 320)]
        if self.kind == "audio-spectrogram-transformer":
            # The mean over bands of the patches within the clip; the first two tokens have no time.
            times = max((1 + (samples - 400) // 160 - config.patch_size) // config.time_stride + 1, 1)
            bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
            # (L, 2 + bands x all times, M) -> (L, bands, all times, M) -> (L, times, M)
            patches = states[:, 2:].reshape(len(states), bands, -1, states.shape[-1])
            return patches.mean(1)[:, :times]
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return states[:, :samples]

    def probabilities(self, classifier: Any, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Return ``(N, classes)`` of clips in one batch."""
        with torch.inference_mode():
            found: np.ndarray = classifier(**self.inputs(clips)).logits.softmax(-1).double().numpy()
        return found


def measure(folder: str, trust: bool) -> dict[str, Any]:
    """Return everything that is written."""
    plain = Plain(folder, trust)
    classifier, loading = whole(plain)
    clips = waveforms()
    alone = np.concatenate([plain.embeddings([clip]) for clip in clips])
    rms = rms_of(alone)
    figures: dict[str, float | None] = {
        "batch": farthest(alone, np.concatenate([plain.embeddings(row)[1:2] for row in among(clips)]), rms),
        "padded": farthest(alone, plain.embeddings(clips), rms),
        "bf16": farthest(alone, np.concatenate([plain.embeddings([clip], bf16=True) for clip in clips]), rms),
    }
    if plain.auto == "AutoModelForAudioClassification":
        figures |= decided(plain, classifier, clips)
    figures["gpu"] = on_gpu(plain, clips, alone, rms)
    return {
        "stack": stack(),
        "figures": figures,
        "layers": [float(f"{value:.7g}") for value in rms],
        "sketch": [[[float(f"{x:.7g}") for x in layer] for layer in clip] for clip in sketch(alone)],
        "loading": loading,
    }


def attempt(folder: str, trust: bool) -> dict[str, Any]:
    """Return the result of ``measure``; for a folder that cannot be loaded or run, the stack and why it ``failed``."""
    try:
        return measure(folder, trust)
    # Every kind: weights, configuration and code of the folder come from outside, and can fail in transformers, torch
    # or in the folder's own code in any way. Each is a fault of the folder, and is reported as such.
    except Exception as error:
        return {"stack": stack(), "failed": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def among(clips: Sequence[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield each clip between two others of its length."""
    for take, clip in enumerate(clips):
        yield [waveform(take + 10, len(clip)), clip, waveform(take + 20, len(clip))]


def decided(plain: Plain, classifier: Any, clips: Sequence[np.ndarray]) -> dict[str, float | None]:
    """Return how much a classifier's probabilities depend on the other clips in a batch."""
    alone = np.concatenate([plain.probabilities(classifier, [clip]) for clip in clips])
    batch = np.concatenate([plain.probabilities(classifier, row)[1:2] for row in among(clips)])
    padded = plain.probabilities(classifier, clips)
    return {
        "probabilities batch": float(np.abs(batch - alone).max()),
        "probabilities padded": float(np.abs(padded - alone).max()),
    }


def on_gpu(plain: Plain, clips: Sequence[np.ndarray], alone: np.ndarray, rms: np.ndarray) -> float | None:
    """Return the difference between a GPU and the CPU, without TF32; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    plain.model.to("cuda")
    return farthest(alone, np.concatenate([plain.embeddings([clip]) for clip in clips]), rms)


def whole(plain: Plain) -> tuple[Any, dict[str, list[str]]]:
    """Return the model with every weight of the folder, and the names of weights that were loaded wrongly."""
    model, info = plain.load(plain.auto)
    other, _ = plain.load(plain.auto, seed=1)
    state, twin = ({**dict(m.named_buffers()), **m.state_dict()} for m in (model, other))
    # AutoModel rightly does not use the weights of heads, but it must not miss any.
    missing = {*info["missing_keys"], *plain.info["missing_keys"]}
    return model, {
        "missing": sorted(missing),
        "unknown": sorted(info["unexpected_keys"]),
        "drawn": sorted(name for name in state if not torch.equal(state[name].nan_to_num(), twin[name].nan_to_num())),
        "not finite": sorted(name for name, value in state.items() if not torch.isfinite(value).all()),
        "unlike": unlike(Path(plain._folder), state, model.base_model_prefix),
    }


def unlike(folder: Path, state: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Return the names of weights whose values in a folder's files differ from those in a model's state."""
    from safetensors.torch import load_file

    found = []
    for path in sorted(folder.glob("model*.safetensors")):
        for name, value in load_file(path).items():
            place = next((own for own in spelled(name, prefix) if own in state), None)
            if place is not None and not torch.equal(state[place].nan_to_num(), value.to(state[place]).nan_to_num()):
                found.append(name)
    return found


def spelled(name: str, prefix: str) -> Iterator[str]:
    """Yield the names that a weight may have in a model: both names of weight norm, with and without the prefix."""
    for old, new in (("", ""), *SPELLINGS):
        if old and not name.endswith((f".{old}", f".{new}")):
            continue
        for one in dict.fromkeys((name, re.sub(rf"\.{old}$", f".{new}", name), re.sub(rf"\.{new}$", f".{old}", name))):
            yield from (one, f"{prefix}.{one}", one.removeprefix(f"{prefix}."))


def stack() -> dict[str, str]:
    """Return versions and devices."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": importlib.import_module("transformers").__version__,
        "device": f"cpu{gpu}",
    }


def _auto(name: str) -> Any:
    return getattr(importlib.import_module("transformers"), name)


def main(argv: list[str]) -> None:
    """Measure, and write JSON: the results, or why it failed."""
    folder, out, *options = argv
    # If this toolkit is installed, the loaded code could use it: from here on it cannot be imported.
    sys.modules["nonverbal"] = None  # type: ignore[assignment]
    importlib.import_module("transformers").utils.logging.set_verbosity_error()
    Path(out).write_text(json.dumps(attempt(folder, "--trust" in options)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
