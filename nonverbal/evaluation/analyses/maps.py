"""Maps of sounds: embeddings of one space in two dimensions by t-SNE, stored with measures of their reliability.

The appearance of a map is not evidence: t-SNE also makes clusters from noise. So two numbers about the original space
are stored with it: the share of a clip's neighbours there that are its neighbours on the map, and the share that has
its class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings
from nonverbal.evaluation.tables import Table, short, short_or
from nonverbal.paths import PathOrName

NEIGHBOURS = 10
PERPLEXITY = 30.0
"""The default of scikit-learn; smaller with fewer than 91 clips."""
COMPONENTS = 50
"""Number of principal components for t-SNE; van der Maaten and Hinton (2008) recommend about 30 to 50."""


@dataclass(kw_only=True)
class MapSettings(AnalysisSettings):
    """Which embeddings are mapped, and where the map is written."""

    data: Path
    """Folder of shards."""
    encoder: PathOrName
    """Encoder, as for `nonverbal probe`; `finetuned:RUN` needs --fold."""
    corpora: list[str] | None = None
    """Map only the clips of these corpora. Unset: all corpora of the shards."""
    layer: int = -1
    """Index into the hidden states: 0 is the input to the first block, -1 the output of the last."""
    fold: str | None = None
    """For `finetuned:RUN`: the fold whose weights are used and whose test clips are mapped."""
    seed: int = 0
    """Seed of t-SNE, of the random weights of `initialised:`, and of the fold."""
    embeddings: Path = Path("runs/embeddings")
    """Folder of embeddings that `nonverbal probe` and `embed` share."""


@dataclass(frozen=True)
class SoundMap(Analysis[MapSettings]):
    """Clips in two dimensions, by one encoder's embeddings, whose weights have not seen their labels."""

    NAME: ClassVar[str] = "map"
    ABOUT: ClassVar[str] = "Held-out clips in two dimensions, by t-SNE of one encoder's embeddings."
    SETTINGS: ClassVar[type[AnalysisSettings]] = MapSettings

    model: str
    model_key: str
    layer: int
    held_out: str
    """Why the embeddings are held out: the leak status, or the fold whose test clips these are."""
    data_sha256: str
    """Hash of the shards' index."""
    neighbours: int
    kept: float
    """Mean share of a clip's nearest neighbours in the original space that are among its nearest on the map."""
    kept_by_chance: float
    """The share if neighbours were drawn at random."""
    same_class: float | None
    """Mean share of a labelled clip's neighbours in the original space that have its label; None without labels."""
    clips: list[str]
    labels: list[str | None]
    speakers: list[str | None]
    x: list[float]
    y: list[float]

    @classmethod
    def make(cls, settings: MapSettings) -> Self:
        """Embed held-out clips, and map them."""
        # Code that needs torch is imported only where it is needed, because reading a stored map does not need it.
        from nonverbal.data.index import open_shards
        from nonverbal.evaluation.analyses.held_out import layer_of, load_space, one_space
        from nonverbal.evaluation.embeddings import embed

        shards = open_shards(settings.data)
        space = one_space(settings.encoder, shards, settings.corpora, settings.seed, settings.fold)
        encoder = load_space(space, settings.seed)
        pooled = embed(encoder, shards, space.rows, settings.embeddings)
        layer = layer_of(settings.layer, pooled.shape[1], settings.encoder)
        places, original = places_of(pooled[:, layer], settings.seed)
        manifest = shards.clips()
        clips = [manifest[row] for row in space.rows]
        labels = [clip.label for clip in clips]
        return cls(
            settings.encoder,
            encoder.key,
            layer,
            space.why,
            shards.sha256,
            NEIGHBOURS,
            kept_share(original, places),
            NEIGHBOURS / (len(clips) - 1),
            same_share(original, labels),
            [clip.id for clip in clips],
            labels,
            [clip.speaker for clip in clips],
            *np.round(places.T.astype(float), 3).tolist(),
        )

    @property
    def heading(self) -> str:
        """The encoder."""
        return f"Map of the sounds: {self.model}"

    def summary(self) -> str:
        """Say how reliable the map is."""
        chance = f"{self.kept_by_chance:.0%} by chance"
        same = "" if self.same_class is None else f"; {self.same_class:.0%} of them have its class"
        return (
            f"{len(self.clips)} clips by layer {self.layer}; {self.held_out}. The appearance of a map is not "
            f"evidence: of a clip’s {self.neighbours} nearest neighbours in the original space, {self.kept:.0%} are "
            f"among its nearest here ({chance}){same}."
        )

    def tables(self) -> list[Table]:
        """Return the numbers about the original space."""
        same = short_or(self.same_class, "unknown")
        columns = ["encoder", "layer", "clips", "neighbours kept", "by chance", "neighbours of its class"]
        row = [self.model, str(self.layer), str(len(self.clips)), short(self.kept), short(self.kept_by_chance), same]
        return [Table(self.heading, columns, [row], [self.held_out])]

    def check(self) -> None:
        """Refuse columns that are empty or of different lengths."""
        columns: list[Sequence[object]] = [self.clips, self.labels, self.speakers, self.x, self.y]
        if len({len(column) for column in columns}) != 1 or not self.clips:
            raise ValueError("its columns are not of one length")


def places_of(embeddings: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions from t-SNE, ``(clips, 2)``, and the standardised values, ``(clips, values)``.

    Values are standardised; neighbours are found among at most 50 principal components of them.

    Args:
        embeddings: ``(clips, values)``, at least 12 clips.
        seed: seed of components and t-SNE.

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
    """Return the nearest other points of each point, ``(points, NEIGHBOURS)``."""
    from sklearn.neighbors import NearestNeighbors

    found: np.ndarray = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(points).kneighbors(return_distance=False)
    return found


def kept_share(original: np.ndarray, places: np.ndarray) -> float:
    """Return the mean share of each point's neighbours in one space that are its neighbours in another."""
    pairs = zip(neighbours_of(original), neighbours_of(places), strict=True)
    return float(np.mean([len(set(one) & set(other)) / NEIGHBOURS for one, other in pairs]))


def same_share(original: np.ndarray, labels: Sequence[str | None]) -> float | None:
    """Return the mean share of a labelled point's neighbours that have its label; None if no point is labelled."""
    rows = [row for row, label in enumerate(labels) if label is not None]
    near = neighbours_of(original)
    return float(np.mean([[labels[one] == labels[row] for one in near[row]] for row in rows])) if rows else None
