"""Units for HuBERT's objective: k-means on frames of MFCCs or of an encoder's layer, then the cluster of each frame.

Hsu et al., 2021 (arXiv 2106.07447), section IV-B: first 100 clusters of MFCCs with their derivatives; then 500
clusters of a layer of the encoder that was pretrained on those units (the 6th of base). Mini-batch k-means as in
fairseq's ``learn_kmeans.py``.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.batching.units import HOP, WINDOW, frame_count, write_units
from nonverbal.data.index import Seen, ShardFolder, open_shards
from nonverbal.data.workers import in_order
from nonverbal.errors import UserError
from nonverbal.files import locked, whole, write_atomically
from nonverbal.paths import PathOrName
from nonverbal.seeding import Stream, generator
from nonverbal.stages.begun_units import kept_centroids, kept_facts, kept_units

MFCC = PathOrName("mfcc")

CHUNK = 64
"""Number of parts that a process computes at a time."""


@dataclass
class ClusterConfig:
    """Clusters frames of shards into units, the targets of HuBERT's pretraining."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them. Name all folders that the pretraining will use."""
    out: Path
    """Folder for the units, to be passed to --hubert.units. An unfinished clustering in it is continued."""
    features: PathOrName = MFCC
    """mfcc, or an encoder: a folder or Hugging Face id, as for `nonverbal probe`."""
    layer: int = 6
    """Layer of the encoder; 0 is the input of its first block. Not used for mfcc. HuBERT base: 6 in its second
    iteration, 9 for models built on it."""
    clusters: int = 100
    """Number of units. HuBERT: 100 for mfcc, 500 for a layer."""
    fit_frames: int = 500_000
    """Number of frames, drawn from the training split, that k-means is fitted to; 500000 are 2.8 hours. HuBERT: a
    tenth of LibriSpeech."""
    seed: int = 0
    """Seed for the choice of frames and of the first centroids."""
    processes: int = 0
    """Number of processes that compute features. 0: one per core, or a single one if there is a GPU."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, least in (("clusters", 2), ("fit_frames", 1), ("layer", 0), ("processes", 0)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, but is {getattr(self, name)}")
        if self.clusters > 1 << 16:
            raise UserError(f"--clusters must be at most {1 << 16}, but is {self.clusters}")


class LayerOf:
    """A layer of a frozen encoder, or the only one of mfcc."""

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
        """Refuse an encoder whose number of frames differs from that of units, for silence of two lengths."""
        for samples in (WINDOW + 2 * HOP, WINDOW + 9 * HOP):
            found = len(self(np.zeros(samples, dtype=np.float32)))
            if found != frame_count(samples):
                raise UserError(
                    f"--features {name} turns {samples} samples into {found} frames, but there is a unit every {HOP} "
                    f"samples, so there should be {frame_count(samples)}; use mfcc, or an encoder with wav2vec 2.0's "
                    "convolutions"
                )


def cluster(settings: ClusterConfig) -> dict[str, Any]:
    """Compute the units of all folders. Returns the content of ``units.json``.

    Raises:
        UserError: ``out`` holds units of other settings, a folder cannot be read, or there are fewer frames than
            clusters.
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
            return kept_facts(settings.out / "units.json")
        centroids = _fit_once(settings, folders)
        units = {folder.sha256: _assign(settings, folder, centroids) for folder in folders}
        facts = wanted | measure(units, folders, settings.clusters)
        write_units(settings.out, facts, units)
        shutil.rmtree(settings.out / "unfinished", ignore_errors=True)
        return facts


def fit(frames: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return the centroids of ``(n, dim)`` frames, ``(clusters, dim)`` float32, by mini-batch k-means (Sculley, 2010).

    Raises:
        UserError: there are fewer frames than clusters.
    """
    from sklearn.cluster import MiniBatchKMeans

    if len(frames) < clusters:
        raise UserError(
            f"there are only {len(frames)} frames for {clusters} clusters; lower --clusters, or give more --data"
        )
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
    """Return how many units are in use, and how well they predict the labels of the corpora, if there are any.

    ``purity`` is the share of labelled frames whose label is the most frequent one of their unit; ``largest_class`` is
    the purity of a single unit for all frames. ``label_information`` is the mutual information of unit and label
    divided by the entropy of the label (Hsu et al., 2021, section IV-E, where the labels are phones).
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
    """Return ``measure``'s purity, largest_class and label_information for ``(labels, clusters)`` counts."""
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
        before = kept_facts(path)
        changed = [
            f"{key} was {before.get(key)} and is now {wanted[key]}" for key in wanted if before.get(key) != wanted[key]
        ]
        if changed:
            raise UserError(f"{out} holds units of other settings ({'; '.join(changed)}); give another --out")
    write_atomically(path, json.dumps(wanted, indent=1) + "\n")


def _fit_once(settings: ClusterConfig, folders: list[ShardFolder]) -> np.ndarray:
    path = settings.out / "centroids.npy"
    if path.exists():
        return kept_centroids(path, settings.clusters)
    frames = np.concatenate(list(_sampled_frames(settings, folders)))[: settings.fit_frames]
    print(f"k-means on {len(frames)} frames of {frames.shape[1]} values", flush=True)
    centroids = fit(frames, settings.clusters, settings.seed)
    with whole(path) as unfinished, open(unfinished, "wb") as file:
        np.save(file, centroids)
    return centroids


def _sampled_frames(settings: ClusterConfig, folders: list[ShardFolder]) -> Iterator[np.ndarray]:
    """Yield the frames of training parts, drawn at random until there are enough."""
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
        # Read them in the order in which they are stored.
        rows = sorted(row for of, row in drawn if of == number)
        for _, chunk in _mapped(settings, folder, rows, None, "features"):
            yield from chunk


def _assign(settings: ClusterConfig, folder: ShardFolder, centroids: np.ndarray) -> list[np.ndarray]:
    """Return the units of every part of a folder. Finished chunks are saved, so that an interruption loses little."""
    kept = settings.out / "unfinished"
    kept.mkdir(exist_ok=True)
    done: dict[int, list[np.ndarray]] = {}
    starts = range(0, len(folder.table), CHUNK)
    for start in starts:
        path = kept / f"{folder.sha256[:16]}-{start}.npz"
        if path.exists():
            parts = min(CHUNK, len(folder.table) - start)
            done[start] = kept_units(path, parts, settings.clusters)
    rows = [row for start in starts if start not in done for row in range(start, min(start + CHUNK, len(folder.table)))]
    for start, units in _mapped(settings, folder, rows, centroids, f"units of {folder.folder.name}"):
        with whole(kept / f"{folder.sha256[:16]}-{start}.npz") as unfinished, open(unfinished, "wb") as file:
            np.savez(file, *units)
        done[start] = units
    return [part for start in starts for part in done[start]]


def _mapped(
    settings: ClusterConfig, folder: ShardFolder, rows: list[int], centroids: np.ndarray | None, what: str
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """Yield for each chunk of rows, in order, its first row and the frames or units of its parts."""
    from rich.console import Console
    from rich.progress import track

    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    console = Console()
    processes = min(settings.processes or _cores(), len(chunks))
    work = partial(_work, settings, folder.seen, centroids)
    results = track(in_order(work, chunks, processes), what, len(chunks), console=console)
    yield from zip([chunk[0] for chunk in chunks], results, strict=True)


def _work(settings: ClusterConfig, seen: Seen, centroids: np.ndarray | None, rows: list[int]) -> list[np.ndarray]:
    folder, features = seen.open(), _loaded(settings.features, settings.layer)
    frames = [features(folder.read(row, 0, int(folder.table[row]["samples"]))) for row in rows]
    for part, row in zip(frames, rows, strict=True):
        assert len(part) == frame_count(int(folder.table[row]["samples"]))
    return frames if centroids is None else [nearest(part, centroids) for part in frames]


@cache
def _loaded(features: str, layer: int) -> LayerOf:
    if multiprocessing.parent_process() is not None:
        import torch

        torch.set_num_threads(1)
    return LayerOf(features, 0 if features == MFCC else layer)


def _cores() -> int:
    import torch

    return 1 if torch.cuda.is_available() else len(os.sched_getaffinity(0))
