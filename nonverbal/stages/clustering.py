"""Units for HuBERT's objective: k-means over frames of MFCCs or of an encoder's layer, then the cluster of each frame.

Hsu et al., 2021 (arXiv 2106.07447), section IV-B: first over MFCCs with their derivatives, 100 clusters; then over a
layer of the encoder that was pretrained on those (the 6th of base), 500 clusters. Mini-batch k-means as in fairseq's
``learn_kmeans.py``.
"""

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.arrays import load_arrays, open_array
from nonverbal.data.batching.units import HOP, WINDOW, frame_count, write_units
from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.errors import UserError
from nonverbal.files import locked, read_json, whole, write_atomically
from nonverbal.paths import PathOrName
from nonverbal.seeding import Stream, generator

MFCC = PathOrName("mfcc")

CHUNK = 64
"""Parts that a process takes at a time."""


@dataclass
class ClusterConfig:
    """Units of folders of shards."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them: all that the units are to be pretrained on."""
    out: Path
    """Folder of units, for --hubert.units. What is there and unfinished is continued."""
    features: PathOrName = MFCC
    """mfcc, or an encoder: a folder or Hugging Face id, as `nonverbal probe` takes it."""
    layer: int = 6
    """Layer of the encoder, 0 for what enters its first block; not used for mfcc. HuBERT base: 6 in its second
    iteration, 9 for what is built on it."""
    clusters: int = 100
    """Units. HuBERT: 100 over mfcc, 500 over a layer."""
    fit_frames: int = 500_000
    """Frames, drawn from the training split, that k-means sees: 2.8 hours. HuBERT: a tenth of LibriSpeech."""
    seed: int = 0
    """Draws the frames and the first centroids."""
    processes: int = 0
    """Processes that compute features; 0: one a core, or one where there is a GPU."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name, least in (("clusters", 2), ("fit_frames", 1), ("layer", 0), ("processes", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, but is {getattr(self, name)}")
        if self.clusters > 1 << 16:
            raise UserError(f"--clusters must be at most {1 << 16}, but is {self.clusters}")


class LayerOf:
    """A layer of a frozen encoder: of mfcc, which has one, that."""

    def __init__(self, name: str, layer: int) -> None:
        from nonverbal.evaluation.encoders import load_frame_encoder

        self.encoder, self.layer = load_frame_encoder(name), layer
        if layer >= self.encoder.layers:
            raise UserError(f"--layer must be at most {self.encoder.layers - 1} for {name}, but is {layer}")
        self._check_frames(name)
        self.key = self.encoder.key if name == MFCC else f"{self.encoder.key}-layer{layer}"

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(frames, dim)`` float32."""
        frames: np.ndarray = self.encoder.frames(waveform)[self.layer]
        return frames

    def _check_frames(self, name: str) -> None:
        """Refuse an encoder whose frames are not those of units, which two lengths tell, and both by silence."""
        for samples in (WINDOW + 2 * HOP, WINDOW + 9 * HOP):
            found = len(self(np.zeros(samples, dtype=np.float32)))
            if found != frame_count(samples):
                raise UserError(
                    f"--features {name} gives {found} frames of {samples} samples, but a unit is of {HOP} samples, "
                    f"which makes {frame_count(samples)}; take mfcc, or an encoder with wav2vec 2.0's convolutions"
                )


def cluster(settings: ClusterConfig) -> dict[str, Any]:
    """Make the units of all folders. Returns what ``units.json`` says of them.

    Raises:
        UserError: ``out`` holds other units, a folder cannot be read, or there are fewer frames than clusters.
    """
    folders = [open_shards(folder) for folder in settings.data]
    settings.out.mkdir(parents=True, exist_ok=True)
    with locked(settings.out):
        key = _loaded(settings.features, settings.layer).key
        wanted = {
            "features": settings.features,
            "key": key,
            "layer": None if settings.features == "mfcc" else settings.layer,
            "clusters": settings.clusters,
            "fit_frames": settings.fit_frames,
            "seed": settings.seed,
            "data": [folder.sha256 for folder in folders],
        }
        _check_settings(settings.out, wanted)
        if (settings.out / "units.json").exists():
            facts: dict[str, Any] = read_json(settings.out / "units.json")
            return facts
        centroids = _fit_once(settings, folders)
        units = {folder.sha256: _assign(settings, folder, centroids) for folder in folders}
        facts = wanted | measure(units, folders, settings.clusters)
        write_units(settings.out, facts, units)
        shutil.rmtree(settings.out / "unfinished", ignore_errors=True)
        return facts


def fit(frames: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the centroids of ``(n, dim)`` frames, ``(clusters, dim)`` float32, by mini-batch k-means (Sculley, 2010).

    Raises:
        UserError: fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(frames) < clusters:
        raise UserError(f"{len(frames)} frames cannot make {clusters} clusters; lower --clusters, or give more data")
    means = MiniBatchKMeans(
        clusters,
        batch_size=10_000,
        max_iter=100,
        max_no_improvement=100,
        n_init=20,
        reassignment_ratio=0.0,
        random_state=seed,
    )
    centroids: np.ndarray = means.fit(frames).cluster_centers_.astype(np.float32)
    return centroids


def nearest(frames: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the nearest centroid of each frame, ``(n,)`` uint16."""
    # |x - c|^2 without |x|^2, which is the same for all c
    distances = (centroids**2).sum(1) - 2 * frames @ centroids.T
    units: np.ndarray = distances.argmin(1).astype(np.uint16)
    return units


def measure(units: dict[str, list[np.ndarray]], folders: list[ShardFolder], clusters: int) -> dict[str, Any]:
    """Return how many units are in use, and how well they tell the corpora's labels, where there are any.

    ``purity`` is the share of labelled frames that have their unit's most frequent label, ``largest_class`` what one
    unit would reach; ``label_information`` is the mutual information of unit and label over the label's entropy
    (Hsu et al., 2021, section IV-E, who have phones for labels).
    """
    used = np.zeros(clusters, dtype=np.int64)
    of_labels: dict[str, np.ndarray] = {}
    for folder in folders:
        clips = folder.clips()
        for part, row in zip(units[folder.sha256], folder.table, strict=True):
            counts = np.bincount(part, minlength=clusters)
            used += counts
            clip = clips[int(row["clip"])]
            if clip.label is not None:
                label = f"{clip.corpus}: {clip.label}"
                of_labels[label] = of_labels.get(label, 0) + counts
    share = used[used > 0] / max(used.sum(), 1)
    facts: dict[str, Any] = {
        "frames": int(used.sum()),
        "used": int((used > 0).sum()),
        "perplexity": float(np.exp(-(share * np.log(share)).sum())),
    }
    if len(of_labels) > 1:
        facts["labels"] = agreement(np.stack(list(of_labels.values())))
    return facts


def agreement(counts: np.ndarray) -> dict[str, float]:
    """Return purity, the largest class, and label-normalised mutual information of ``(labels, clusters)`` counts."""
    joint = counts / counts.sum()
    label, unit = joint.sum(1), joint.sum(0)
    there = joint > 0
    information = (joint[there] * np.log(joint[there] / np.outer(label, unit)[there])).sum()
    return {
        "purity": float(joint.max(0).sum()),
        "largest_class": float(label.max()),
        "label_information": float(information / -(label[label > 0] * np.log(label[label > 0])).sum()),
    }


def _check_settings(out: Path, wanted: dict[str, Any]) -> None:
    path = out / "settings.json"
    if path.exists():
        before = _kept_settings(path)
        changed = [
            f"{key}: {before.get(key)} then, {wanted[key]} now" for key in wanted if before.get(key) != wanted[key]
        ]
        if changed:
            raise UserError(f"{out} holds other units ({'; '.join(changed)}); give another --out")
    write_atomically(path, json.dumps(wanted, indent=1) + "\n")


def _kept_settings(path: Path) -> dict[str, Any]:
    try:
        kept = read_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(kept, dict):
        raise _damaged(path, f"it holds {type(kept).__name__}")
    return kept


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged ({why}); remove it, and run the same command again")


def _kept_centroids(path: Path, clusters: int) -> np.ndarray:
    """Return centroids that are kept, ``(clusters, dim)`` float32."""
    try:
        centroids = open_array(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if centroids.dtype != np.float32 or centroids.ndim != 2 or len(centroids) != clusters:
        raise _damaged(path, f"its values are {centroids.dtype} of shape {centroids.shape}")
    return centroids


def _kept_units(path: Path, parts: int, clusters: int) -> list[np.ndarray]:
    """Return the units of some parts that are kept, ``(frames,)`` uint16 each."""
    try:
        units = load_arrays(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    fit = (one.ndim == 1 and one.dtype == np.uint16 and one.max(initial=0) < clusters for one in units)
    if len(units) != parts or not all(fit):
        raise _damaged(path, f"it does not hold units of {parts} parts")
    return units


def _fit_once(settings: ClusterConfig, folders: list[ShardFolder]) -> np.ndarray:
    path = settings.out / "centroids.npy"
    if path.exists():
        return _kept_centroids(path, settings.clusters)
    frames = np.concatenate(list(_sampled_frames(settings, folders)))[: settings.fit_frames]
    print(f"k-means over {len(frames)} frames of {frames.shape[1]} values", flush=True)
    centroids = fit(frames, settings.clusters, settings.seed)
    with whole(path) as unfinished, open(unfinished, "wb") as file:
        np.save(file, centroids)
    return centroids


def _sampled_frames(settings: ClusterConfig, folders: list[ShardFolder]) -> Iterator[np.ndarray]:
    """Yield the frames of training parts drawn at random, until there are enough."""
    parts = [(number, int(row)) for number, folder in enumerate(folders) for row in folder.rows("train")]
    order = generator(settings.seed, Stream.CLUSTER).permutation(len(parts))
    drawn, frames = [], 0
    for place in order:
        number, row = parts[place]
        drawn.append(parts[place])
        frames += frame_count(int(folders[number].table[row]["samples"]))
        if frames >= settings.fit_frames:
            break
    for number, folder in enumerate(folders):
        # In the order in which they lie on the disk.
        rows = sorted(row for of, row in drawn if of == number)
        for _, chunk in _mapped(settings, folder, rows, None, "features"):
            yield from chunk


def _assign(settings: ClusterConfig, folder: ShardFolder, centroids: np.ndarray) -> list[np.ndarray]:
    """Return the units of every part of a folder, keeping what is done in case of an interruption."""
    kept = settings.out / "unfinished"
    kept.mkdir(exist_ok=True)
    done: dict[int, list[np.ndarray]] = {}
    starts = range(0, len(folder.table), CHUNK)
    for start in starts:
        path = kept / f"{folder.sha256[:16]}-{start}.npz"
        if path.exists():
            parts = min(CHUNK, len(folder.table) - start)
            done[start] = _kept_units(path, parts, settings.clusters)
    rows = [row for start in starts if start not in done for row in range(start, min(start + CHUNK, len(folder.table)))]
    for start, units in _mapped(settings, folder, rows, centroids, f"units of {folder.folder.name}"):
        with whole(kept / f"{folder.sha256[:16]}-{start}.npz") as unfinished, open(unfinished, "wb") as file:
            np.savez(file, *units)
        done[start] = units
    return [part for start in starts for part in done[start]]


def _mapped(
    settings: ClusterConfig, folder: ShardFolder, rows: list[int], centroids: np.ndarray | None, what: str
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield (first row, frames or units of each part) of chunks of rows, computed by several processes, in order."""
    from rich.console import Console
    from rich.progress import track

    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    console = Console()
    processes = min(settings.processes or _cores(), len(chunks))
    work = partial(_work, settings, folder.folder, centroids)
    results: Iterable[list[np.ndarray]]
    if processes <= 1:
        results = map(work, chunks)
        yield from zip([c[0] for c in chunks], track(results, what, len(chunks), console=console), strict=True)
        return
    with multiprocessing.get_context("spawn").Pool(processes, _leave_signals) as pool:
        results = pool.imap(work, chunks)
        yield from zip([c[0] for c in chunks], track(results, what, len(chunks), console=console), strict=True)


def _work(settings: ClusterConfig, path: Path, centroids: np.ndarray | None, rows: list[int]) -> list[np.ndarray]:
    folder, features = _opened(str(path)), _loaded(settings.features, settings.layer)
    frames = [features(folder.read(row, 0, int(folder.table[row]["samples"]))) for row in rows]
    for part, row in zip(frames, rows, strict=True):
        assert len(part) == frame_count(int(folder.table[row]["samples"]))
    return frames if centroids is None else [nearest(part, centroids) for part in frames]


def _leave_signals() -> None:
    # Ctrl-C reaches all processes; this one is ended by its parent, and says nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@cache
def _opened(path: str) -> ShardFolder:
    return open_shards(Path(path))


@cache
def _loaded(features: str, layer: int) -> LayerOf:
    if multiprocessing.parent_process() is not None:
        import torch

        torch.set_num_threads(1)
    return LayerOf(features, 0 if features == MFCC else layer)


def _cores() -> int:
    import torch

    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))
