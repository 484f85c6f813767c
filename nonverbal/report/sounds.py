"""The sounds of listed clips, as Opus within the page; corpora that must not be shared have none."""

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np

from nonverbal.data.corpora import CATALOG
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.errors import UserError
from nonverbal.report.origins import read_file

BIT_RATE = 24_000
"""Bit rate of Opus, in bits per second: enough for 16 kHz in mono."""

EFFORT = "5"
"""Complexity of Opus, 0 to 10: the default of 10 takes 2.3 times as long for the same number of bytes."""

SECONDS = 10.0
"""Longest part of a clip that is included; 300 such clips take 12 MB in the page."""


@dataclass(frozen=True)
class Sounds:
    """The sounds of a page, and notes on them."""

    by_clip: dict[str, str]
    """Sounds by id of the clip, each a ``data:`` address."""
    notes: list[str]


def sounds_of(
    lists: Sequence[Sequence[str]], folders: Sequence[Path], most: int, scored: Collection[str] = ()
) -> Sounds:
    """Return the sounds of listed clips.

    Clips are taken from the lists in turn, from the beginning of each, so that every list has some.

    Args:
        lists: for each list on the page, the ids of its clips.
        folders: folders of shards with the clips; none for a page without sounds.
        most: largest number of sounds.
        scored: SHA-256 of the shards that were scored; empty if there are no scores.

    Raises:
        UserError: a folder cannot be read, or none of the folders has any of the clips.
    """
    wanted = list(dict.fromkeys(clip for clip in chain(*zip_longest(*lists)) if clip is not None))
    if not wanted or not folders:
        return Sounds({}, ["without sounds: give --data with the scored shards to add players"])
    opened = [open_shards(folder) for folder in folders]
    places = {clip: place for shards in opened for clip, place in _places(shards, set(wanted)).items()}
    if not places:
        raise UserError(f"--data: {', '.join(map(str, folders))} has none of the clips that the page lists")
    corpora = list(dict.fromkeys(place.corpus for place in places.values()))
    refused = {name: why for name in corpora if (why := silence(*name)) is not None}
    audible = [clip for clip in wanted if clip in places and places[clip].corpus not in refused]
    notes = [f"{name} has no players: {why}" for (name, _), why in refused.items()]
    notes += [
        f"{name} is not in the catalog: check whether its sounds, and so this page, may be shared"
        for name, reader in corpora
        if reader not in CATALOG
    ]
    notes += [f"{most} of {len(audible)} clips have a player (--sounds)"] if len(audible) > most else []
    notes += [
        f"{shards.folder} (sha256 {shards.sha256[:8]}) is not the data that was scored, so a sound may be another "
        "clip with the same name"
        for shards in opened
        if scored and shards.sha256 not in scored
    ]
    notes.append(f"sounds are cut after {SECONDS:g} s")
    return Sounds({clip: opus(places[clip].samples()) for clip in audible[:most]}, notes)


@dataclass(frozen=True)
class _Place:
    """The place of a clip."""

    corpus: tuple[str, str]
    """Its name in the shards, and the name of its reader, which is its name in the catalog."""
    shards: ShardFolder
    row: int
    """Row of the manifest."""

    def samples(self) -> np.ndarray:
        """Return the clip's beginning, ``(samples,)`` float32 at 16 kHz."""
        (parts,) = self.shards.parts(np.array([self.row]))
        most = int(SECONDS * SAMPLE_RATE)
        read: list[np.ndarray] = []
        for part in parts:
            read.append(self.shards.read(int(part)))
            if sum(map(len, read)) >= most:
                break
        return np.concatenate(read)[:most]


def _places(shards: ShardFolder, wanted: set[str]) -> dict[str, _Place]:
    path = shards.folder / "ledger.json"
    ledger = read_file(path, dict) if path.is_file() else {}
    readers = {name: row.get("reader", name) for name, row in ledger.items() if isinstance(row, dict)}
    return {
        clip.id: _Place((clip.corpus, str(readers.get(clip.corpus, clip.corpus))), shards, row)
        for row, clip in enumerate(shards.clips())
        if clip.id in wanted
    }


def silence(name: str, reader: str) -> str | None:
    """Return why the sounds of a corpus must not be on a page that may be shared; None if they may.

    Args:
        name: its name in the shards.
        reader: its name in the catalog; a corpus that is not in the catalog is the user's own.
    """
    if reader not in CATALOG or CATALOG[reader].terms.redistribution:
        return None
    corpus = CATALOG[reader]
    if corpus.terms.redistribution is None:
        return f"it is not stated whether its sounds may be shared ({corpus.licence}; {corpus.terms.source})"
    return f"its licence does not allow its sounds to be shared ({corpus.licence}; {corpus.terms.source})"


def opus(samples: np.ndarray) -> str:
    """Return samples, float32 at 16 kHz in mono, as a ``data:`` address of Opus in Ogg."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE, options={"compression_level": EFFORT})
        stream.bit_rate, stream.layout = BIT_RATE, "mono"
        whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in chain(stream.encode(frame), stream.encode(None)):
            container.mux(packet)
    return f"data:audio/ogg;base64,{base64.b64encode(file.getvalue()).decode()}"
