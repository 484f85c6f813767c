"""Write a checkpoint in another format: ``nonverbal convert SOURCE --to FORMAT --out PATH``.

By path: ``python pretrain/convert.py SOURCE --to fairseq2 --out model.pt``. SOURCE is what wav2vec2.init takes: a
folder or Hugging Face id (wav2vec 2.0 or HuBERT), a run, a .pt of fairseq or fairseq2; or what ssam.init takes: an
Audio Mamba as a folder, an id, a run, or a .pth of SSAM's released code, which --to ssam writes. The result is read
back, and kept only if its weights, and its hidden states on a fixed signal, are those of the source; otherwise the exit
code is 2.
"""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nonverbal import cli, config
from nonverbal.errors import UserError
from nonverbal.families import formats, kind_of
from nonverbal.families.conversion import Conversion, convert
from nonverbal.paths import PathOrName
from nonverbal.tasks.labels_seen import carry


@dataclass
class ConvertConfig:
    """What is converted, and to which format."""

    source: PathOrName
    """The checkpoint; it may be given first, without `--source`."""
    to: str
    """Format of the result: `transformers`; for wav2vec 2.0 and HuBERT also `fairseq` and `fairseq2`; for an Audio
    Mamba also `ssam`, that of SSAM's released code."""
    out: Path
    """What to write: a folder for transformers, a .pt file for the others (SSAM calls it .pth)."""
    overwrite: bool = False
    """Replace what is at --out, if it is such a checkpoint."""
    heads: int | None = None
    """Number of attention heads, if the source does not state it. Unset: the width divided by 64."""


def main(argv: list[str]) -> None:
    """Convert, compare, and show."""
    settings = config.load(
        ConvertConfig, config.with_first(argv, "source"), prog="nonverbal convert", description=__doc__
    )
    # Before a name of the Hub is downloaded.
    if settings.to not in formats():
        raise UserError(f"--to is {settings.to!r}, but must be one of {', '.join(formats())}")
    show(convert(settings.source, settings.to, settings.out, settings.overwrite, settings.heads))
    if (note := carry(Path(settings.source), settings.out)) is not None:
        print(f"note: {note}")
    print(f"wrote {settings.out}")


def show(conversion: Conversion) -> None:
    """Print what was carried over, and how far the two are apart."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    source, result = conversion.source, conversion.result
    parameters = sum(value.numel() for value in result.weights.values())
    console.print(f"{source.format} -> {result.format}: {len(result.weights)} weights, {parameters:,} parameters")
    if not source.has_head:
        console.print(f"no {kind_of(source).head}: the encoder alone", style="yellow")
    if source.left_over:
        console.print(f"left over: {', '.join(source.left_over)} ({len(source.left_over)} weights)")
    for note in source.notes:
        console.print(f"note: {note}")
    by, by_result = conversion.implementations
    table = Table("layer", "largest difference", title=f"hidden states by {by} and, from the result, by {by_result}")
    for layer, difference in enumerate(conversion.differences):
        table.add_row(str(layer), f"{difference:.1e}")
    console.print(table)
    for remark in kind_of(source).remarks(source, result):
        console.print(remark)


if __name__ == "__main__":
    cli.run(main)
