"""Maps of sounds: embeddings of one space in two dimensions by t-SNE, kept with how far they can be believed.

How a map looks is no evidence: t-SNE makes clusters of noise too. So two numbers of the original space are kept beside
it: how many of a clip's neighbours there are its neighbours on the map, and how many have its class.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np

from nonverbal.errors import UserError
from nonverbal.files import write_atomically

END = ".map.json"
"""Of the names of files with maps."""

NEIGHBOURS = 10
PERPLEXITY = 30.0
"""scikit-learn's default; less where there are fewer than 91 clips."""
COMPONENTS = 50
"""Principal components that t-SNE is given, as van der Maaten and Hinton (2008) recommend about 30 to 50."""


@dataclass(frozen=True)
class SoundMap:
    """Clips in two dimensions, by one encoder's embeddings, whose weights have not seen their labels."""

    model: str
    model_key: str
    layer: int
    held_out: str
    """Why the embeddings are held out: leak status, or the fold whose test clips these are."""
    data_sha256: str
    """Of the shards' index."""
    neighbours: int
    kept: float
    """Mean share of a clip's nearest neighbours in the original space that are among its nearest on the map."""
    kept_by_chance: float
    """The same where neighbours are drawn at random."""
    same_class: float | None
    """Mean share of a labelled clip's neighbours in the original space that have its label; None without labels."""
    clips: list[str]
    labels: list[str | None]
    speakers: list[str | None]
    x: list[float]
    y: list[float]


def places_of(embeddings: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where t-SNE puts clips, ``(clips, 2)``, and the standardised values that it saw, ``(clips, values)``.

    Values are standardised; principal components of them, at most 50, are what neighbours are found in.

    Args:
        embeddings: ``(clips, values)``, at least 12 clips.
        seed: of components and t-SNE.

    Raises:
        UserError: there are fewer than 12 clips.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    clips = len(embeddings)
    if clips < NEIGHBOURS + 2:
        raise UserError(f"a map needs at least {NEIGHBOURS + 2} clips, but here are {clips}")
    original = StandardScaler().fit_transform(embeddings.astype(np.float64))
    components = min(COMPONENTS, *original.shape)
    seen = PCA(components, svd_solver="full", random_state=seed).fit_transform(original)
    perplexity = min(PERPLEXITY, (clips - 1) / 3)
    init = "pca" if components >= 2 else "random"
    return TSNE(perplexity=perplexity, init=init, random_state=seed).fit_transform(seen), original


def neighbours_of(points: np.ndarray) -> np.ndarray:
    """Return the nearest others of each point, ``(points, NEIGHBOURS)``."""
    from sklearn.neighbors import NearestNeighbors

    found: np.ndarray = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    return found


def kept_share(original: np.ndarray, places: np.ndarray) -> float:
    """Return the mean share of each point's neighbours in one space that are its neighbours in another."""
    pairs = zip(neighbours_of(original), neighbours_of(places), strict=True)
    return float(np.mean([len(set(one) & set(other)) / NEIGHBOURS for one, other in pairs]))


def same_share(original: np.ndarray, labels: Sequence[str | None]) -> float | None:
    """Return the mean share of a labelled point's neighbours that have its label; None where none is labelled."""
    rows = [row for row, label in enumerate(labels) if label is not None]
    near = neighbours_of(original)
    return float(np.mean([[labels[one] == labels[row] for one in near[row]] for row in rows])) if rows else None


def write_map(path: Path, made: SoundMap) -> None:
    """Write a map as JSON."""
    write_atomically(path, json.dumps(asdict(made), ensure_ascii=False) + "\n")


def read_map(path: Path) -> SoundMap:
    """Read a map.

    Raises:
        UserError: the file cannot be read, or is no map.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        made = SoundMap(**content)
        _check(made)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is no map of sounds ({' '.join(str(error).split())}); make it again with nonverbal analyze map"
        ) from error
    return made


def _check(made: SoundMap) -> None:
    """Raise TypeError or ValueError where a field is of another kind than a map's."""
    kinds: dict[str, Any] = {"float": (int, float), "int": int, "str": str, "list": list}
    for name, hint in get_type_hints(SoundMap).items():
        kind = kinds[(get_origin(hint) or hint).__name__] if name != "same_class" else (int, float, type(None))
        if not isinstance(getattr(made, name), kind):
            raise TypeError(f"{name} is {type(getattr(made, name)).__name__}")
    columns: list[list[Any]] = [made.clips, made.labels, made.speakers, made.x, made.y]
    if len({len(column) for column in columns}) != 1 or not made.clips:
        raise ValueError("its columns are not of one length")
    if not all(isinstance(clip, str) for clip in made.clips) or not np.isfinite([made.x, made.y]).all():
        raise ValueError("a clip is no text, or a place no number")
    if not all(text is None or isinstance(text, str) for text in (*made.labels, *made.speakers)):
        raise ValueError("a label or a speaker is no text")
