"""Which folders become shards, and how."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora.huggingface import USUAL
from nonverbal.data.corpora.webdataset import ADDRESS
from nonverbal.errors import UserError
from nonverbal.paths import PathOrName


@dataclass(frozen=True)
class Source:
    """A folder of sound, or a dataset that is copied into one."""

    folder: Path
    """Folder or zip archive of the corpus; for a dataset, the folder that it is copied to. For WebDataset, also tars in
    a folder: FOLDER/{000..127}.tar."""
    reader: str | None = None
    """A corpus of the catalog (`nonverbal corpora`), folder (one per class), audiofolder or webdataset. Unset: the
    catalog's reader if the corpus has its name, audiofolder if there is a metadata.csv or .jsonl, webdataset if there
    are tars and no other audio, else folder."""
    pattern: str | None = None
    """For the reader folder: a regular expression searched in each path relative to the folder; its named groups among
    label, speaker, session, recording, language and text say what a clip is. A file without a match is not a clip. For
    the reader webdataset: the tars, relative to the folder, with braces."""
    texts: dict[str, str] = field(default_factory=dict)
    """Label to what is said in its clips, such as {"0": zero, "1": one}: the text of clips that have no other."""
    licence: str | None = None
    """Licence of the clips, by its SPDX name if it has one. Unset: the catalog's, or unknown."""
    dataset: PathOrName | None = None
    """A Hugging Face dataset: its id on the Hub, or a folder that `save_to_disk` wrote. Its audio files are copied."""
    subset: str | None = None
    """Subset (configuration) of the dataset, if its id has several."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which column of the dataset is audio, label, speaker, session, recording, language or text. Unset: the only audio
    column, and the columns with these names or speaker_id. For WebDataset: which part of each sample (txt), or value in
    a part (json.speaker.id)."""


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class PrepareConfig:
    """Which folders become shards, and how."""

    out: Path
    """Folder for the shards. If they are unfinished, the same command continues."""
    corpora: dict[str, Source] = field(default_factory=dict)
    """Name to folder, or to WebDataset tars in one. On the command line NAME=FOLDER, NAME='FOLDER/{000..127}.tar'; in a
    recipe, or as --corpora.NAME.KEY, also reader, pattern, texts, licence, columns; dataset and subset of a Hugging
    Face dataset."""
    seed: int = 0
    """Seed of the split and of the order in the shards."""
    validation_share: float = 0.05
    """Share of each corpus's seconds that is set aside for validation; speakers and recordings stay whole."""
    max_seconds: float = 10.0
    """Longest part, in seconds; a longer clip is cut into the fewest equal parts."""
    exclude: list[Path] = field(default_factory=list)
    """Manifests of evaluation sets, whose clips and recordings are kept out."""
    shard_megabytes: float = 256.0
    """Most audio in a shard, in 10^6 bytes."""
    absent: Literal["refuse", "skip"] = "refuse"
    """What to do if a corpus's folder or archive does not exist: refuse the command, or say so and leave it out."""
    processes: int = field(default_factory=available_processors)
    """Processes that decode. The shards do not depend on their number."""
    strict: bool = False
    """Stop, before any shard is written, at a file that is missing, unreadable, truncated, empty, silent, mislabelled,
    overloaded (one value drowns the rest) or contains values that are not finite."""

    def __post_init__(self) -> None:
        """Refuse settings that give no shards."""
        require(bool(self.corpora), "no corpora: give at least one NAME=FOLDER")
        for name in self.corpora:
            good = re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)
            require(bool(good), f"the corpus {name!r} must be named in lower-case letters, digits, - and _")
            _check_source(name, self.corpora[name])
        require(self.seed >= 0, f"seed must be at least 0, but is {self.seed}")
        require(0 <= self.validation_share < 1, f"validation_share must be in [0, 1), but is {self.validation_share}")
        # The table counts a clip's parts in 16 bits, and a clip may last a day.
        require(2 <= self.max_seconds <= 3600, f"max_seconds must be in [2, 3600], but is {self.max_seconds}")
        require(self.shard_megabytes > 0, f"shard_megabytes must be above 0, but is {self.shard_megabytes}")
        require(self.processes >= 1, f"processes must be at least 1, but is {self.processes}")


def licence_of(name: str, source: Source) -> str:
    """Return the licence of a corpus's clips: as given, else the catalog's, else ``unknown``."""
    reader = source.reader or name
    catalogued = CATALOG[reader].licence if reader in CATALOG else "unknown"
    return source.licence or catalogued


def _check_source(name: str, source: Source) -> None:
    address = ADDRESS.match(str(source.folder)) and not source.folder.exists()
    remedy = "get the files first, and name their folder"
    require(not address, f"{name}: {str(source.folder)!r} is an address or a command, not a folder: {remedy}")
    if source.dataset is None:
        require(not source.subset, f"{name} has a subset, but no dataset: name the dataset too")
        return
    own = source.reader not in (None, "audiofolder") or source.pattern is not None
    require(not own, f"{name} is a dataset, which takes no reader and no pattern: leave them out")
    unknown = sorted(source.columns.keys() - {"audio", *USUAL})
    require(not unknown, f"{name}: columns names {', '.join(unknown)}; it may name audio, {', '.join(USUAL)}")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)
