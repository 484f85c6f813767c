"""Store encoders' embeddings: ``nonverbal embed --data SHARDS --encoders logmel,RUN/encoder``.

By path: ``python evaluate/embed.py --data SHARDS --encoders ...``. For all layers, the mean and deviation over a
clip's frames are stored in safetensors files, which ``nonverbal probe`` uses too. If the command is interrupted, run it
again to continue.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal import cli, config
from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError
from nonverbal.evaluation.embedding_files import Table, check_table, described, write_described, write_table
from nonverbal.evaluation.embeddings import Place, embed, embed_frames
from nonverbal.evaluation.encoders import ManifestEncoder, check_encoder, load_encoder
from nonverbal.evaluation.encoders.audio_words import AudioWords
from nonverbal.evaluation.encoders.finetuned import is_finetuned, open_run
from nonverbal.evaluation.pieces import Work
from nonverbal.evaluation.probing import leak_statuses
from nonverbal.files import locked, room_for
from nonverbal.paths import PathOrName
from nonverbal.tasks.labels_seen import seen_by


@dataclass
class EmbedConfig:
    """Which embeddings are stored, and where."""

    data: Path
    """Folder of shards, or a folder of sound, which `nonverbal prepare` first turns into shards in --out."""
    encoders: list[PathOrName]
    """Encoders, as for `nonverbal probe`. For `finetuned:RUN`, the embeddings by each fold are kept."""
    out: Path = Path("runs/embeddings")
    """Folder of the embeddings, which is the cache of `nonverbal probe`."""
    frames: bool = False
    """Also keep all frames of all layers, in 16 bits. Their size is printed first."""
    to: Table | None = None
    """npz or parquet: also write a table for other tools."""
    allow_seen: bool = False
    """Also embed with encoders that were fine-tuned with labels of these clips, outside the folds of their run."""
    processes: int = 0
    """Number of processes, each with a model of its own, on a GPU or on its share of the cores; 0: one per GPU, or one
    process without a GPU."""
    batch_seconds: float | None = None
    """Maximum seconds of audio in a batch; 0: one clip at a time. Unset: 160 on a GPU, 0 on a CPU, where batches gain
    little. Embeddings differ only by rounding."""
    seed: int = 0
    """Seed of the random weights of `initialised:`."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for name in ("processes", "batch_seconds", "seed"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"--{name} must be at least 0, but is {getattr(self, name)}")


def main(argv: list[str]) -> None:
    """Embed all clips with each encoder, and print where the embeddings are."""
    settings = config.load(EmbedConfig, argv, prog="nonverbal embed", description=__doc__)
    check_table(settings.to)
    for name in settings.encoders:
        check_encoder(name)
    shards = shards_of(settings.data, settings.out)
    work = Work(settings.processes or gpus() or 1, settings.batch_seconds, settings.seed)
    sources = [source for name in settings.encoders for source in sources_of(name, shards, settings.allow_seen)]
    for source in sources:
        embed_all(source, shards, settings, work)


def sources_of(name: str, shards: ShardFolder, allow_seen: bool) -> list[str]:
    """Return the encoders of a name: for a fine-tuned run, those of its folds.

    Raises:
        UserError: an encoder has seen labels of these clips, and is not given as a run; or a run used other shards.
    """
    if is_finetuned(name):
        run = open_run(name)
        run.check_data(shards.sha256)
        return run.encoders
    leak_statuses(shards.clips(), [name], [], allow_seen)
    return [name]


def embed_all(name: str, shards: ShardFolder, settings: EmbedConfig, work: Work) -> None:
    """Store the embeddings of all clips by one encoder."""
    encoder = load_encoder(name, settings.seed)
    if isinstance(encoder, ManifestEncoder):
        raise UserError(f"{name} is taken from the manifest, so it has no embeddings to store; leave it out")
    if isinstance(encoder, AudioWords):
        raise UserError(
            f"nonverbal probe computes {name} in each fold, from codebooks of the training side, so it has no "
            "embeddings to store; leave it out"
        )
    clips = np.unique(shards.table["clip"]).astype("<i8")
    if settings.frames:
        frames = embed_frames(encoder, shards, clips, settings.out, work)
        print(f"frames: {frames.folder}")
    pooled = embed(encoder, shards, clips, settings.out, work)
    file = Place(encoder, shards, clips, settings.out).file
    rows = described(shards, clips, seen_by(Path(name)))
    # Another command may write the same embeddings at the same time.
    with room_for(settings.out), locked(settings.out, wait=True):
        write_described(file.with_suffix(".jsonl"), rows)
        print(f"embeddings: {file} ({' x '.join(map(str, pooled.shape))}); clips: {file.with_suffix('.jsonl')}")
        if settings.to is not None:
            table = file.with_suffix(f".{settings.to}")
            write_table(table, settings.to, rows, pooled)
            print(f"table: {table}")


def shards_of(data: Path, out: Path) -> ShardFolder:
    """Open a folder of shards, or make one in ``out`` from a folder of sound."""
    if (data / "index.json").exists():
        return open_shards(data)
    if not data.exists():
        raise UserError(f"there is no folder {data}; give a folder of shards or of sound as --data")
    name = re.sub(r"[^a-z0-9_-]+", "-", data.resolve().name.lower()).strip("-_") or "sound"
    corpora = {name: Source(folder=data)}
    return prepare(PrepareConfig(out=out / "shards" / name, corpora=corpora, validation_share=0.0))


def gpus() -> int:
    """Return the number of GPUs."""
    import torch

    return torch.cuda.device_count()


if __name__ == "__main__":
    cli.run(main)
