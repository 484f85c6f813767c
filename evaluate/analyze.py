"""Look into a space of embeddings: ``nonverbal analyze map --data SHARDS --encoder RUN/encoder --out cries.map.json``.

By path: ``python evaluate/analyze.py map ...``. A map puts held-out embeddings of one space in two dimensions by t-SNE;
``nonverbal report`` shows it. Of a fine-tuned run, the space is that of one fold, and the clips are those it tests.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal import cli, config
from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import ManifestEncoder, check_encoder, load_encoder
from nonverbal.evaluation.encoders.audio_words import AudioWords
from nonverbal.evaluation.encoders.finetuned import is_finetuned, open_run
from nonverbal.evaluation.probing import leak_statuses, refuse_seen
from nonverbal.evaluation.sound_maps import END, NEIGHBOURS, SoundMap, kept_share, places_of, same_share, write_map
from nonverbal.paths import PathOrName


@dataclass
class MapConfig:
    """Whose embeddings of what are mapped, and where to."""

    data: Path
    """Folder of shards."""
    encoder: PathOrName
    """As `nonverbal probe` takes it; of `finetuned:RUN` one --fold."""
    out: Path
    """The map, a file whose name ends in .map.json."""
    corpora: list[str] | None = None
    """Names of those whose clips are mapped. Unset: all of the shards."""
    layer: int = -1
    """Of the hidden states: 0 enters the first block, -1 leaves the last."""
    fold: str | None = None
    """Of `finetuned:RUN`: its weights, and the clips that it tests."""
    seed: int = 0
    """Of t-SNE, of the weights of `initialised:`, and the seed of the fold."""
    embeddings: Path = Path("runs/embeddings")
    """Folder of the embeddings that `nonverbal probe` and `embed` keep."""


def main(argv: list[str]) -> None:
    """Embed, map, and say how far the map can be believed."""
    settings = config.load(MapConfig, without_map(argv), prog="nonverbal analyze map", description=__doc__)
    if not settings.out.name.endswith(END) or not settings.out.parent.is_dir():
        raise UserError(f"--out must be a file NAME{END} in a folder that is there, but is {settings.out}")
    shards = open_shards(settings.data)
    source, clips, held_out = held_out_of(settings, shards)
    check_encoder(source)
    encoder = load_encoder(source, settings.seed)
    if isinstance(encoder, ManifestEncoder | AudioWords):
        raise UserError(f"--encoder {source} has no space of its own to map; give another")
    pooled = embed(encoder, shards, clips, settings.embeddings)
    layers = pooled.shape[1]
    if not -layers <= settings.layer < layers:
        raise UserError(f"--layer must be from {-layers} to {layers - 1} with {source}, but is {settings.layer}")
    places, original = places_of(pooled[:, settings.layer], settings.seed)
    manifest = shards.clips()
    labels = [manifest[row].label for row in clips]
    made = SoundMap(
        settings.encoder,
        encoder.key,
        settings.layer % layers,
        held_out,
        shards.sha256,
        NEIGHBOURS,
        kept_share(original, places),
        NEIGHBOURS / (len(clips) - 1),
        same_share(original, labels),
        [manifest[row].id for row in clips],
        labels,
        [manifest[row].speaker for row in clips],
        *np.round(places.T.astype(float), 3).tolist(),
    )
    write_map(settings.out, made)
    print(
        f"wrote {settings.out}: {len(clips)} clips; {made.kept:.0%} of the {NEIGHBOURS} nearest are so on the map too"
    )


def held_out_of(settings: MapConfig, shards: ShardFolder) -> tuple[str, np.ndarray, str]:
    """Return an encoder, rows of the manifest whose labels it has not seen, and why they are held out.

    Raises:
        UserError: it has seen labels of the clips, or the run has no such fold.
    """
    manifest = shards.clips()
    rows = np.unique(shards.table["clip"]).tolist()
    every = np.array([row for row in rows if manifest[row].corpus in (settings.corpora or shards.corpora)], dtype=int)
    if not len(every):
        raise UserError(f"--corpora: {settings.data} holds {', '.join(shards.corpora)}")
    if not is_finetuned(settings.encoder):
        if settings.fold is not None:
            raise UserError("--fold is of finetuned:RUN alone")
        (status,) = leak_statuses([manifest[row] for row in every], [settings.encoder], [])
        refuse_seen([settings.encoder], [status])
        return settings.encoder, every, f"no label of these clips seen (pretraining: {status})"
    run = open_run(settings.encoder)
    run.check_data(shards.sha256)
    fold = run.folds.get((settings.seed, settings.fold or ""))
    if fold is None:
        names = ", ".join(name for seed, name in run.folds if seed == settings.seed)
        raise UserError(f"--fold must be one of {names} (of --seed {settings.seed}): each fold has a space of its own")
    own = np.array([row for row in every if manifest[row].id in fold.test], dtype=np.int64)
    return str(fold.encoder), own, f"test clips of fold {settings.fold}"


def without_map(argv: list[str]) -> list[str]:
    """Take the word ``map`` away, which says what is made."""
    if argv[:1] != ["map"] and not {"-h", "--help"} & set(argv[:1]):
        raise UserError(f"say what to make: nonverbal analyze map --data SHARDS --encoder ENCODER --out NAME{END}")
    return [argument for place, argument in enumerate(argv) if place or argument != "map"]


if __name__ == "__main__":
    cli.run(main)
