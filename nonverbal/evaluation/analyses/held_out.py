"""Encoders with clips whose labels they have not seen; a fine-tuned run gives one such space per fold."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import FrameEncoder, ManifestEncoder, check_encoder, load_encoder
from nonverbal.evaluation.encoders.audio_words import AudioWords
from nonverbal.evaluation.encoders.finetuned import FinetunedRun, is_finetuned, open_run
from nonverbal.evaluation.probing import leak_statuses


@dataclass(frozen=True)
class Space:
    """An encoder and clips whose labels it has not seen."""

    source: str
    """As for ``load_encoder``."""
    rows: np.ndarray
    """Rows of the shards' manifest, ``(clips,)`` int64, increasing."""
    why: str
    """Why the clips are held out: the leak status, or the fold that tests them."""
    fold: str | None = None
    """Name of the fold, for a fine-tuned run."""


def held_out_spaces(
    name: str, shards: ShardFolder, corpora: Sequence[str] | None, seed: int, fold: str | None
) -> list[Space]:
    """Return the spaces of an encoder: one; or for ``finetuned:RUN`` one per fold, with the clips that the fold tests.

    Args:
        name: as for ``nonverbal probe``.
        shards: the folder that holds the clips.
        corpora: names of corpora whose clips are used; None for all.
        seed: seed of the folds of a run.
        fold: use only this fold; None for all folds of the seed.

    Raises:
        UserError: an encoder does not exist or has seen labels of the clips, no clip is of these corpora, or the run
            has no such fold or was divided from other shards.
    """
    every = rows_of(shards, corpora)
    if not is_finetuned(name):
        if fold is not None:
            raise UserError("--fold applies only to finetuned:RUN")
        manifest = shards.clips()
        (status,) = leak_statuses([manifest[row] for row in every], [name], [])
        check_encoder(name)
        return [Space(name, every, f"no label of these clips seen (pretraining: {status})")]
    run = open_run(name)
    run.check_data(shards.sha256)
    names = [fold for own, fold in run.folds if own == seed]
    if not names or (fold is not None and fold not in names):
        raise _no_fold(run, seed)
    spaces = [_of_fold(run, seed, one, shards, every) for one in names if fold in (None, one)]
    for space in spaces:
        check_encoder(space.source)
    return spaces


def one_space(name: str, shards: ShardFolder, corpora: Sequence[str] | None, seed: int, fold: str | None) -> Space:
    """Return an encoder's only space; for a fine-tuned run, which has one per fold, that of ``fold``.

    Raises:
        UserError: as for ``held_out_spaces``; or no fold of a run is named.
    """
    if is_finetuned(name) and fold is None:
        raise _no_fold(open_run(name), seed)
    return held_out_spaces(name, shards, corpora, seed, fold)[0]


def paired_spaces(
    names: Sequence[str], shards: ShardFolder, corpora: Sequence[str] | None, seed: int, fold: str | None
) -> list[list[Space]]:
    """Return spaces of several encoders on the same clips: for each fold those of all encoders, in their order.

    The folds are those of the encoders that are ``finetuned:RUN``; if there are several, their folds must have the same
    names and test the same clips. An encoder that is not a run has the same weights in every fold. If none is a run,
    there is one list.

    Raises:
        UserError: as for ``held_out_spaces``; folds of two runs differ; or a fold is named, and none is a run.
    """
    runs = [name for name in names if is_finetuned(name)]
    if fold is not None and not runs:
        raise UserError("--fold applies only to finetuned:RUN")
    spaces = [held_out_spaces(name, shards, corpora, seed, fold if name in runs else None) for name in names]
    if not runs:
        return [[own for (own,) in spaces]]
    tested = {name: {space.fold: space.rows.tolist() for space in own} for name, own in zip(names, spaces, strict=True)}
    for name in runs[1:]:
        if tested[name] != tested[runs[0]]:
            raise UserError(
                f"{runs[0]} and {name} do not test the same clips in the same folds (of --seed {seed}), so a clip does "
                "not have two vectors to compare; fine-tune both with the same protocol, labels and seeds"
            )
    folds = spaces[list(names).index(runs[0])]
    return [[_in_fold(own, one) for own in spaces] for one in folds]


def _in_fold(own: Sequence[Space], one: Space) -> Space:
    """Return the space of ``own`` in the fold of ``one``; an encoder that is not a run has one space for all folds."""
    found = next((space for space in own if space.fold == one.fold), own[0])
    return replace(found, rows=one.rows)


def why_held_out(folds: Sequence[Sequence[Space]]) -> str:
    """Say why the clips of all folds are held out."""
    whys = [space.why for one in folds for space in one if space.fold is None or len(folds) == 1]
    several = len(folds) > 1
    return "; ".join(
        [*(["each clip by the weights of the fold that tests it"] if several else []), *dict.fromkeys(whys)]
    )


def load_space(space: Space, seed: int) -> FrameEncoder:
    """Load the encoder of a space.

    Args:
        space: the space.
        seed: seed of the random weights of ``initialised:``.

    Raises:
        UserError: the encoder depends on the manifest, or on the clips of a training side, and so has no space of its
            own.
    """
    encoder = load_encoder(space.source, seed)
    if isinstance(encoder, ManifestEncoder | AudioWords):
        raise UserError(f"the encoder {space.source} has no embedding space of its own; give another encoder")
    return encoder


def vectors_of(
    folds: Sequence[Sequence[Space]], names: Sequence[str], shards: ShardFolder, layer: int, seed: int, cache: Path
) -> tuple[list[list[np.ndarray]], list[int]]:
    """Return each encoder's vectors of each fold's clips, ``(clips, dim)`` float64, and the layer of each encoder.

    A vector is the mean of a clip's frames.

    Args:
        folds: as returned by ``paired_spaces``.
        names: names of the encoders.
        shards: the folder that holds the clips.
        layer: index into the hidden states, from the end if negative.
        seed: seed of the random weights of ``initialised:``.
        cache: folder of stored embeddings.

    Raises:
        UserError: an encoder has no such layer, or has no space of its own.
    """
    vectors: list[list[np.ndarray]] = []
    layers: dict[int, int] = {}
    for spaces in folds:
        vectors.append([])
        for place, (name, space) in enumerate(zip(names, spaces, strict=True)):
            encoder = load_space(space, seed)
            pooled = embed(encoder, shards, space.rows, cache)
            layers[place] = layer_of(layer, pooled.shape[1], name)
            # The second half of an embedding is the standard deviation over frames.
            vectors[-1].append(pooled[:, layers[place], : encoder.dimensions].astype(np.float64))
    return vectors, list(layers.values())


def layers_of(space: Space, shards: ShardFolder, seed: int, cache: Path) -> tuple[str, np.ndarray]:
    """Return the key of a space's encoder, and vectors of all layers, ``(clips, layers, dim)``, as means over frames.

    Args:
        space: the space.
        shards: the folder that holds the clips.
        seed: seed of the random weights of ``initialised:``.
        cache: folder of stored embeddings.

    Raises:
        UserError: the encoder has no space of its own.
    """
    encoder = load_space(space, seed)
    # The second half of an embedding is the standard deviation over frames.
    return encoder.key, embed(encoder, shards, space.rows, cache)[:, :, : encoder.dimensions]


def layer_of(layer: int, layers: int, encoder: str) -> int:
    """Return the index of a layer from 0 on, even if it was given from the end.

    Raises:
        UserError: the encoder has no such layer.
    """
    if not -layers <= layer < layers:
        raise UserError(f"--layer must be from {-layers} to {layers - 1} with {encoder}, but is {layer}")
    return layer % layers


def rows_of(shards: ShardFolder, corpora: Sequence[str] | None) -> np.ndarray:
    """Return the rows of the manifest whose clips are in the shards and, if given, in ``corpora``, ``(clips,)``.

    Raises:
        UserError: there are none.
    """
    manifest, rows = shards.clips(), np.unique(shards.table["clip"]).tolist()
    own = [row for row in rows if manifest[row].corpus in (corpora or shards.corpora)]
    if not own:
        raise UserError(f"--corpora: {shards.folder} holds {', '.join(shards.corpora)}")
    return np.array(own, dtype=np.int64)


def _of_fold(run: FinetunedRun, seed: int, fold: str, shards: ShardFolder, every: np.ndarray) -> Space:
    manifest, tuned = shards.clips(), run.folds[seed, fold]
    own = [row for row in every.tolist() if manifest[row].id in tuned.test]
    return Space(str(tuned.encoder), np.array(own, dtype=np.int64), f"test clips of fold {fold}", fold)


def _no_fold(run: FinetunedRun, seed: int) -> UserError:
    names = ", ".join(name for own, name in run.folds if own == seed)
    seeds = ", ".join(map(str, dict.fromkeys(own for own, _ in run.folds)))
    if not names:
        return UserError(f"--seed must be one of {seeds}: {run.name} has no folds of seed {seed}")
    return UserError(f"--fold must be one of {names} (of --seed {seed}): each fold has a space of its own")
