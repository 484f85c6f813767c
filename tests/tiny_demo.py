"""The demo in half a minute: its recipes, and the arguments that ask for them."""

from pathlib import Path

RECIPE = """\
wav2vec2:
  architecture:
    layout: large
    hidden_size: 32
    layers: 1
    heads: 2
    ffn_size: 32
    conv_channels: 16
    codes: 8
    code_size: 8
    projection_size: 8
batches: {batch_seconds: 4, batches_per_step: 1, max_seconds: 1, min_seconds: 0.5}
trainer: {steps: 3, validate_every: 2, checkpoint_every: 2, log_every: 1, optimizer: {warmup_steps: 1}}
"""
TUNING = """\
epochs: 1
folds: 5
batches: {batch_clips: 8}
trainer: {workers: 0, patience: null}
"""


def tiny_demo(folder: Path) -> list[str]:
    """Write the recipes to a folder, and return the arguments of a demo in ``folder/demo``."""
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "tuning.yaml").write_text(TUNING)
    arguments = ["--out", "demo", "--pretraining", "recipe.yaml", "--finetuning", "tuning.yaml"]
    return [*arguments, "--probe_speakers", "5", "--pretraining_speakers", "4", "--takes", "1"]
