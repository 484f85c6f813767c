"""The facts about a model in its files and its run: everything that a card may state."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from safetensors import safe_open

from nonverbal.curves import Panel, read_panels
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import FrameEncoder, load_frame_encoder
from nonverbal.evaluation.plots import every_metric, is_number, read_metrics
from nonverbal.evaluation.tables import Table
from nonverbal.models.checkpoints.weight_files import files_of
from nonverbal.release.public import commands_of, recipe_text
from nonverbal.release.scored import Scored, scored
from nonverbal.release.trained import Trained, check_data, start_named, trained
from nonverbal.report.origins import read_file
from nonverbal.tasks.scores import read_scores
from nonverbal.text import one_line

KINDS = {
    "ForSequenceClassification": "classifier",
    "ForAudioClassification": "classifier",
    "ForCTC": "recogniser",
}
"""From the ending of the architecture's name in ``config.json`` to the kind of model; any other is an encoder."""

SIZES = {
    "num_hidden_layers": "blocks",
    "encoder_layers": "blocks",
    "hidden_size": "hidden size",
    "num_attention_heads": "attention heads",
    "intermediate_size": "feed-forward size",
    "state_size": "state size",
    "expand": "expansion factor of a block",
    "conv_width": "kernel size of a block's convolution (tokens)",
    "feat_extract_norm": "norm of the feature encoder's convolutions",
    "standardisation": "standard deviation in the standardisation of spectrograms",
    "padding": "frames beyond the end of a clip",
}
"""From keys of a configuration to their names in a card."""

ROWS = 8
"""Largest number of rows in the table of validations."""


@dataclass(frozen=True)
class Model:
    """A model on this disk."""

    folder: Path
    """Folder in Hugging Face format."""
    run: Path | None
    """The run that trained it; None for a folder without a run."""
    last: Path | None
    """The run that wrote its weights: for fine-tuning, ``final/``."""
    kind: Literal["encoder", "classifier", "recogniser"]
    config: dict[str, Any]

    @property
    def fine_tuned(self) -> bool:
        """Whether it was trained on labels or texts."""
        return self.kind != "encoder"


@dataclass(frozen=True)
class Facts:
    """What is known about a model."""

    model: Model
    family: str
    """``model_type``."""
    architecture: list[tuple[str, str]]
    parameters: int
    classes: list[str]
    layers: int
    """Number of hidden states, including the input of the first block."""
    dimensions: int
    """Values per frame."""
    shortest: int
    """Samples of the shortest clip that gives a frame."""
    longest: float
    """Seconds of the longest input in this toolkit; infinite if that is the whole clip."""
    shown: float | None
    """Seconds of the longest input in fine-tuning."""
    frames_a_second: float
    normalise: bool | None
    """Whether waveforms get zero mean and unit variance; None for models of spectrograms."""
    trained: Trained
    recipe: str
    """YAML of all settings, without those of other families and without paths; empty without a run."""
    training: list[tuple[str, str]]
    """Length of the training, hardware and software."""
    curves: Table | None
    scored: Scored
    commands: list[str] = field(default_factory=list)


def find_model(source: Path) -> Model:
    """Return the model of a run, or of a folder in Hugging Face format.

    Raises:
        UserError: there is no model, or only the model of a fold.
    """
    if not source.is_dir():
        raise UserError(f"there is no folder {source}; give a run, or a model in Hugging Face format")
    if (source / "folds.json").is_file():
        if not (source / "model").is_dir():
            raise UserError(
                f"{source} has only the models of its folds; run its command again with --final, which trains a model "
                "on all clips, and release that"
            )
        return _model(source / "model", source, source / "final")
    if (source / "recipe.yaml").is_file():
        if not (source / "encoder").is_dir():
            raise UserError(f"the run {source} has no encoder/ yet: it is written with the first checkpoint")
        return _model(source / "encoder", source, source)
    if not (source / "config.json").is_file():
        raise UserError(f"{source} is neither a run nor a folder in Hugging Face format: it has no config.json")
    above = source.resolve().parent
    if (above / "fold.json").is_file():
        raise UserError(f"{source} is the model of a fold; release the run, with the model of --final")
    if (above / "folds.json").is_file() or (above / "recipe.yaml").is_file():
        return find_model(above)
    return _model(source, None, None)


def _model(folder: Path, run: Path | None, last: Path | None) -> Model:
    config = read_file(folder / "config.json", dict)
    architecture = str((config.get("architectures") or [""])[0])
    kind: Any = next((name for end, name in KINDS.items() if architecture.endswith(end)), "encoder")
    return Model(folder, run, last, kind, config)


def read_facts(
    source: Path, scores: Sequence[Path] = (), data: Sequence[Path] = (), base_model: str | None = None
) -> Facts:
    """Read what is known about a model.

    Args:
        source: a run, or a folder in Hugging Face format.
        scores: score files, or folders with score files, of this and other models; a fine-tuning run has its own.
        data: folders of shards that it was trained on, if they are not at the path in the run, or scored on.
        base_model: Hub id of its starting checkpoint, if its run names a folder.

    Raises:
        UserError: something is missing or damaged, or no score belongs to this model.
    """
    check_data(data)
    model = find_model(source)
    known = _trained(model, data, base_model)
    encoder = load_frame_encoder(str(model.folder))
    recipe = read_file(model.run / "recipe.yaml", dict) if model.run else {}
    own = [model.run / "scores.jsonl"] if model.run and (model.run / "scores.jsonl").is_file() else []
    return Facts(
        model=model,
        family=encoder.kind,
        architecture=[(words, f"{model.config[key]}") for key, words in SIZES.items() if key in model.config],
        parameters=_parameters(model.folder),
        classes=_classes(model),
        layers=encoder.layers,
        dimensions=encoder.dimensions,
        shortest=encoder.shortest,
        longest=encoder.max_seconds,
        shown=_shown(model.folder) if model.fine_tuned else None,
        frames_a_second=_frames_a_second(encoder),
        normalise=getattr(encoder, "normalise", None),
        trained=known,
        recipe=recipe_text(recipe),
        training=_training(model, recipe, known),
        curves=_curves(model.last) if model.last and not model.fine_tuned else None,
        scored=scored(encoder.key, str(source), own, scores, known.clips, [*data, *known.folders], known.complete),
        commands=commands_of(model.last) if model.last else [],
    )


def _trained(model: Model, data: Sequence[Path], base_model: str | None) -> Trained:
    """Return what a model was trained on."""
    if model.run is not None:
        return trained(model.run, data, base_model)
    lost = (
        "The model was released without the run that trained it, so its training data and procedure are not known, and "
        "this release could not be searched for speakers' names."
    )
    return Trained(starts=[start_named(base_model, True)] if base_model else [], missing=[lost])


def _classes(model: Model) -> list[str]:
    """Return the names of a classifier's classes."""
    labels = model.config.get("id2label") if model.kind == "classifier" else None
    return [str(name) for name in labels.values()] if isinstance(labels, dict) else []


def _frames_a_second(encoder: FrameEncoder) -> float:
    """Return the frame rate, from the frames of 1 s and of 3 s of silence."""
    one, three = (encoder.frames(np.zeros(seconds * SAMPLE_RATE, dtype=np.float32)).shape[1] for seconds in (1, 3))
    return float(three - one) / 2


def weights_of(folder: Path) -> list[Path]:
    """Return the files of a model's weights, and their index if there is one.

    Raises:
        UserError: there are no safetensors, or a file that the index names is missing.
    """
    try:
        return files_of(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error}; nonverbal convert {folder} --to transformers writes one") from error


def _parameters(folder: Path) -> int:
    total = 0
    for path in weights_of(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def _shown(folder: Path) -> float | None:
    path = folder / "clips.json"
    found = read_file(path, dict).get("max_seconds") if path.is_file() else None
    return float(found) if isinstance(found, int | float) and is_number(found) else None


def _training(model: Model, recipe: dict[str, Any], known: Trained) -> list[tuple[str, str]]:
    """Return how long a model was trained, and on which hardware and software."""
    if model.run is None or model.last is None:
        return []
    metrics = model.last / "metrics.jsonl"
    rows = read_metrics(metrics) if metrics.is_file() else []
    heard = _epochs(model.run, known) if model.fine_tuned else _steps(model.last, recipe, rows)
    speeds = [row["audio_per_second"] for row in rows if is_number(row.get("audio_per_second"))]
    speeds = [speed for speed in speeds if speed > 0]
    pace = [("throughput", f"{median(speeds):.3g} s of audio per second (median)")] if speeds else []
    return [*heard, *pace, *_machine(model.last)]


def _steps(run: Path, recipe: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    steps = max((int(row["step"]) for row in rows), default=0)
    best = (run / "best").read_text(encoding="utf-8").strip() if (run / "best").is_file() else ""
    taken = int(best.removeprefix("step-")) if re.fullmatch(r"step-\d+", best) else steps
    trainer = recipe.get("trainer")
    asked = trainer.get("steps") if isinstance(trainer, dict) else None
    remarks = [
        f"the best checkpoint by validation; the run had {steps:,}" if taken < steps else "",
        f"its recipe asks for {asked:,}" if isinstance(asked, int) and steps < asked else "",
    ]
    said = "; ".join(remark for remark in remarks if remark)
    facts = [("updates", f"{taken:,} ({said})" if said else f"{taken:,}")]
    batches = recipe.get("batches")
    sizes = [batches.get(name) for name in ("batch_seconds", "batches_per_step")] if isinstance(batches, dict) else []
    numbers = [float(value) for value in sizes if value is not None and is_number(value)]
    if len(numbers) == 2:
        seconds = taken * math.prod(numbers)
        amount = f"at most {seconds:,.0f} s ({seconds / 3600:.3g} h) in full batches, repetitions included"
        facts.append(("audio in training", amount))
    return [*facts, ("seed", str(recipe.get("seed", "not stated")))]


def _epochs(run: Path, known: Trained) -> list[tuple[str, str]]:
    path = run / "scores.jsonl"
    rows = read_scores(path) if path.is_file() else []
    chosen = [float(row.chosen["epoch"]) for row in rows if isinstance(row.chosen.get("epoch"), int | float)]
    if not chosen:
        return []
    epochs, hours = median(chosen), sum(corpus.hours for corpus in known.corpora if corpus.use == "fine-tuning")
    facts = [("epochs", f"{epochs:g} (the median of the epochs chosen in {len(chosen)} folds)")]
    if hours:
        seconds = epochs * hours * 3600
        facts.append(("audio in training", f"at most {seconds:,.0f} s ({seconds / 3600:.3g} h), repetitions included"))
    return facts


def _machine(run: Path) -> list[tuple[str, str]]:
    path = run / "environment.json"
    launches = [row for row in read_file(path, list) if isinstance(row, dict)] if path.is_file() else []
    if not launches:
        return []
    last = launches[-1]
    packages = last.get("packages")
    precision = last.get("precision")
    value = precision.get("value") if isinstance(precision, dict) else precision
    device = last.get("gpu") or last.get("processor") or "not stated"
    sizes = {"processes": last.get("processes"), "threads per process": last.get("threads")}
    count = "".join(f"; {what}: {number}" for what, number in sizes.items() if isinstance(number, int))
    software = {"Python": last.get("python")} | (packages if isinstance(packages, dict) else {})
    named = ", ".join(f"{name} {version}" for name, version in software.items() if version)
    facts = [("hardware", one_line(f"{device}{count}")), ("precision", str(value or "not stated"))]
    starts = [("launches", f"{len(launches)} (hardware and software of the last)")] if len(launches) > 1 else []
    return [*facts, *starts, ("software", one_line(named))]


def _curves(run: Path) -> Table | None:
    """Return the metrics of at most ``ROWS`` validations, including the first and the last."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return None
    rows = read_metrics(path)
    validation = [row for row in rows if row.get("kind") == "validation"]
    panels = [panel for panel in read_panels(run) or every_metric(rows) if _measured(panel, validation)]
    if not validation or not panels:
        return None
    places = sorted({round(i * (len(validation) - 1) / max(ROWS - 1, 1)) for i in range(ROWS)})
    names = [name for panel in panels for name in (panel.metric, panel.baseline) if name]
    labels = [label for p in panels for label in (p.label, *([_baseline(p.baseline)] if p.baseline else []))]
    cells = [
        [f"{int(row['step']):,}", *(f"{row[name]:.4g}" if is_number(row.get(name)) else "-" for name in names)]
        for row in (validation[place] for place in places)
    ]
    notes = [f"{len(cells)} of {len(validation)} validations are shown"] if len(cells) < len(validation) else []
    return Table("Validation during training", ["update", *labels], cells, notes, 0)


def _baseline(name: str) -> str:
    return f"baseline: {name.replace('_', ' ')}"


def _measured(panel: Panel, rows: Sequence[dict[str, Any]]) -> bool:
    return any(is_number(row.get(panel.metric)) for row in rows)
