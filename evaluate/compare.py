"""Compare two encoders, by layer and by weight: ``nonverbal compare A B [--data SHARDS]``.

By path: ``python evaluate/compare.py A B``. A and B are given as for wav2vec2.init: folders or Hugging Face ids
(wav2vec 2.0 or HuBERT), runs, .pt files of fairseq or fairseq2; or both as for ssam.init. Both get the same clips. The
exit code is 0 if nothing differs, 1 if something does (a NaN always does), and 2 if they cannot be compared.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from nonverbal import cli, config
from nonverbal.errors import UserError
from nonverbal.evaluation.differences import Differences, compare_encoders
from nonverbal.files import write_atomically
from nonverbal.paths import PathOrName, check_folder_of
from nonverbal.terminal import console_of

DIFFERENT = 1
"""Exit code, the same as that of diff and cmp."""


@dataclass
class CompareConfig:
    """Two encoders, and the clips on which they are compared."""

    a: PathOrName
    """One encoder. Both encoders may come first, without `--a` and `--b`."""
    b: PathOrName
    """The other encoder."""
    data: Path | None = None
    """Folder of shards to take clips from. Unset: synthetic vocal sounds, the same in every comparison."""
    clips: int = 12
    """Number of clips."""
    weights: int = 10
    """Number of weights to print, beginning with those that differ most."""
    json: Path | None = None
    """File for all numbers, as JSON."""


def main(argv: list[str]) -> None:
    """Compare, show, and write; end with exit code 1 if the two differ."""
    settings = config.load(CompareConfig, with_encoders(argv), prog="nonverbal compare", description=__doc__)
    check_folder_of(settings.json, "json")
    differences = compare_encoders(settings.a, settings.b, settings.data, settings.clips)
    show(differences, settings.weights)
    if settings.json is not None:
        write_atomically(settings.json, json.dumps(differences.as_dict(), indent=1, allow_nan=False) + "\n")
        print(f"wrote {settings.json}")
    if differences.differ:
        sys.exit(DIFFERENT)


def with_encoders(argv: list[str]) -> list[str]:
    """Turn two leading encoders into ``--a=A --b=B``."""
    if len(argv) > 1 and not argv[0].startswith("-") and not argv[1].startswith("-"):
        return [f"--a={argv[0]}", f"--b={argv[1]}", *argv[2:]]
    if argv and not argv[0].startswith("-"):
        raise UserError("give two encoders: nonverbal compare A B")
    return argv


def show(differences: Differences, weights: int) -> None:
    """Print both tables."""
    console = console_of(120)
    title = f"hidden states of {differences.clips} clips, {differences.frames} frames"
    table = Table("layer", "largest difference", "mean difference", "linear CKA", title=title)
    for layer in differences.layers:
        cka = "-" if layer.cka is None else f"{layer.cka:.4f}"
        table.add_row(str(layer.layer), _figure(layer.largest), _figure(layer.mean), cka)
    console.print(table)
    for note in differences.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for one, names in (("A", differences.only_in_a), ("B", differences.only_in_b)):
        if names:
            console.print(
                f"weights that only {one} has in this shape: {', '.join(names)}", markup=False, soft_wrap=True
            )
    if all(movement.relative == 0 for movement in differences.moved):
        console.print("no weight differs" if differences.moved else "no weight has the same name and shape in both")
        return
    table = Table("weight", "relative change", title="weights that differ most")
    for movement in differences.moved[:weights]:
        table.add_row(movement.name, f"{movement.relative:.2e}")
    console.print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


if __name__ == "__main__":
    cli.run(main)
