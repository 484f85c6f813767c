"""Targets that are models: weights and configurations in every format that is read, and what lies beside them."""

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from bench import Target
from finetuned_runs import save_classifier
from mutate import Files
from sources import fairseq_weights, model_of, namespace, omegaconf_like, save_fairseq
from tiny_encoders import SAVED

from nonverbal.models.checkpoints.quiet import quiet

CANARY = "nonverbal_canary"
"""A module that lies beside weights, which nothing may import."""

SMALL: dict[str, Any] = {"hidden_size": 8, "heads": 2, "ffn_size": 8, "conv_channels": 4, "position_groups": 2}
"""Of a model whose file says how many heads it has."""

WIDE = {**SMALL, "hidden_size": 64, "layers": 1, "position_kernel": 4}
"""Of one whose width says it."""


def make_folder(kind: str) -> Any:
    """Return what writes a folder in Hugging Face format, with code beside it."""

    def make(folder: Path) -> None:
        with torch.random.fork_rng(), quiet():
            torch.manual_seed(5)
            SAVED[kind](folder)
        (folder / f"{CANARY}.py").write_text("import os\nos.system('true')\n")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config, indent=1))

    return make


def read_folder(folder: Path) -> object:
    """Read a checkpoint as conversion and pretraining do."""
    from nonverbal.families import read_any

    with quiet():
        return read_any(str(folder))


def read_encoder(folder: Path) -> object:
    """Open an encoder as fine-tuning does."""
    from nonverbal.models.tuned.opening import open_tuned
    from nonverbal.models.tuned.settings import TunedSettings

    with quiet():
        return open_tuned(str(folder), TunedSettings(train="head"), seed=0)


def make_classifier(folder: Path) -> None:
    """Write a classifier of transformers."""
    with quiet():
        save_classifier(folder, 1, ["a", "b"])


def read_classifier(folder: Path) -> object:
    """Open a classifier as ``nonverbal predict`` does."""
    from nonverbal.objectives.opening_classifiers import open_classifier

    return open_classifier(str(folder))


def make_head(folder: Path) -> None:
    """Write the head of a classifier beside its encoder's configuration."""
    from safetensors.torch import save_file

    from nonverbal.models.classifier_heads import ClassifierHead, HeadShape
    from nonverbal.objectives.classifier_files import HEAD_FILE, HEAD_WEIGHTS

    shape = HeadShape(width=4, classes=2, states=3, attentive=True, projection=3, hidden=(5,))
    (folder / HEAD_FILE).write_text(json.dumps({"classes": ["a", "b"], "shape": asdict(shape)}))
    with torch.random.fork_rng():
        save_file(ClassifierHead(shape).state_dict(), folder / HEAD_WEIGHTS)


def read_head(folder: Path) -> object:
    """Read the head, and compare its weights with its shape."""
    from nonverbal.objectives.opening_classifiers import _beside, _check

    head = _beside(folder)
    fits = SimpleNamespace(width=head.shape.width, layers=max(head.shape.states - 1, 0))
    _check("made", head, fits)  # type: ignore[arg-type]
    return head


def make_fairseq(folder: Path) -> None:
    """Write a small checkpoint as fairseq's newer versions do."""
    save_fairseq(folder / "a.pt", configuration=omegaconf_like, model=model_of("base", **SMALL))


def make_legacy(folder: Path) -> None:
    """Write one as PyTorch did before version 1.6."""
    model = model_of("base", **SMALL)
    save_fairseq(folder / "a.pkl", zipped=False, configuration=namespace, model=model)


def make_state(folder: Path) -> None:
    """Write weights alone."""
    torch.save({"model": fairseq_weights(model_of("large", **WIDE), "large")}, folder / "a.pt")


def make_ssam(folder: Path) -> None:
    """Write a checkpoint as SSAM's authors release it."""
    from nonverbal.families import read_any
    from nonverbal.families.ssam import write_released

    with tempfile.TemporaryDirectory() as place, quiet():
        SAVED["audio_mamba"](Path(place))
        write_released(read_any(place), folder / "a.pt")


def read_file(folder: Path) -> object:
    """Read the file of weights that is there."""
    from nonverbal.families import read_any

    return [read_any(str(path)) for path in sorted(folder.iterdir())]


def make_parts(folder: Path) -> None:
    """Write weights in parts that an index names."""
    from safetensors.torch import save_file

    weights = fairseq_weights(model_of("base", **WIDE), "base")
    names, parts = sorted(weights), dict[str, str]()
    for place in range(2):
        name = f"model-0000{place + 1}-of-00002.safetensors"
        own = {key: weights[key].contiguous() for key in names[place::2]}
        save_file(own, folder / name)
        parts |= dict.fromkeys(own, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))


def read_parts(folder: Path) -> object:
    """Read weights by their index."""
    from nonverbal.families import read_any

    return read_any(str(folder / "model.safetensors.index.json"))


def make_checkpoint(folder: Path) -> None:
    """Write a checkpoint of a run, by which it would go on."""
    from safetensors.torch import save_file

    from nonverbal.files import sha256_of
    from nonverbal.training.position import Position

    path = folder / "step-00000003"
    path.mkdir()
    save_file({"weight": torch.ones(2, 3), "bias": torch.ones(2)}, path / "model.safetensors")
    save_file({"weight.exp_avg": torch.ones(2, 3)}, path / "optimizer.safetensors")
    hashes = {name: sha256_of(path / name) for name in ("model.safetensors", "optimizer.safetensors")}
    state = {"position": asdict(Position(step=3, batch=1)), "sha256": hashes}
    (path / "state.json").write_text(json.dumps(state))


def bind_checkpoint(files: Files) -> Files:
    """Let the state name the files as they are."""
    state = json.loads(files["step-00000003/state.json"])
    for name in state["sha256"]:
        state["sha256"][name] = hashlib.sha256(files[f"step-00000003/{name}"]).hexdigest()
    return {**files, "step-00000003/state.json": json.dumps(state).encode()}


def read_checkpoint(folder: Path) -> object:
    """Load a run's checkpoint."""
    from nonverbal.training.checkpoint import load

    return load(folder / "step-00000003", torch.nn.Linear(3, 2))


FIRST = "modality_encoders.AUDIO.local_encoder.conv_layers.0.0.weight"


def make_emotion2vec(folder: Path) -> None:
    """Write the configuration of an emotion2vec."""
    spec = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    audio: dict[str, Any] = {"prenet_depth": 1, "num_extra_tokens": 2, "num_alibi_heads": 2, "model_depth": 1}
    audio |= {"conv_pos_width": 5, "conv_pos_groups": 2, "conv_pos_depth": 1, "extractor_mode": "layer_norm"}
    audio |= {"feature_encoder_spec": spec, "alibi_scale": 1.0, "use_alibi_encoder": True, "learned_alibi": False}
    audio |= dict.fromkeys(("learned_alibi_scale", "conv_pos_pre_ln"), False)
    audio |= dict.fromkeys(("learned_alibi_scale_per_head", "learned_alibi_scale_per_layer"), False)
    conf: dict[str, Any] = {"depth": 1, "embed_dim": 8, "num_heads": 2, "norm_eps": 1e-5, "mlp_ratio": 2.0}
    conf |= {"norm_affine": True, "layer_norm_first": False, "end_of_block_targets": False, "normalize": True}
    said = {"model": "Emotion2vec", "model_conf": {**conf, "modalities": {"audio": audio}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(said))
    torch.save({"model": {f"d2v_model.{FIRST}": torch.ones(2, 1, 10)}}, folder / "model.pt")


def read_emotion2vec(folder: Path) -> object:
    """Read the configuration and the weights; the model itself is FunASR's."""
    from nonverbal.models.checkpoints.emotion2vec import _beginnings, _file, read_settings
    from nonverbal.models.checkpoints.weight_files import hold

    return read_settings(folder), hold(_file(folder), _beginnings)


TARGETS = [
    Target("wav2vec2-folder", make_folder("wav2vec2 base"), read_folder, fixed=(f"{CANARY}.py",), smoke=20),
    Target("hubert-folder", make_folder("hubert base"), read_folder, fixed=(f"{CANARY}.py",), smoke=20),
    Target("mamba-folder", make_folder("audio_mamba"), read_folder, fixed=(f"{CANARY}.py",), smoke=20),
    Target("wavlm-tuned", make_folder("wavlm base"), read_encoder, fixed=(f"{CANARY}.py",), smoke=12),
    Target("whisper-tuned", make_folder("whisper"), read_encoder, fixed=(f"{CANARY}.py",), smoke=12),
    Target("ast-tuned", make_folder("audio-spectrogram-transformer"), read_encoder, fixed=(f"{CANARY}.py",), smoke=12),
    Target("classifier", make_classifier, read_classifier, smoke=12),
    Target("classifier-head", make_head, read_head, smoke=30),
    Target("fairseq", make_fairseq, read_file, smoke=20),
    Target("fairseq-legacy", make_legacy, read_file, smoke=20),
    Target("fairseq2-state", make_state, read_file, smoke=20),
    Target("ssam", make_ssam, read_file, smoke=20),
    Target("parts", make_parts, read_parts, smoke=20),
    Target("checkpoint", make_checkpoint, read_checkpoint, bind=bind_checkpoint),
    Target("emotion2vec", make_emotion2vec, read_emotion2vec),
]
