"""What a model was trained on: the corpora of its shards, with hours and licences, and its starting checkpoint.

The training data of a run that continues another include those of the other run. Folders of shards are searched for at
the path in the run and among those that are given, and are recognised by the hash of their index.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nonverbal.data.corpora import CATALOG
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import INITIALISED
from nonverbal.evaluation.encoders.listing import heard_by
from nonverbal.evaluation.plots import is_number
from nonverbal.families import FAMILIES
from nonverbal.files import sha256_of
from nonverbal.licences import Terms, strictest
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.release.terms import NOBODY, Source, terms_of
from nonverbal.report.origins import read_file
from nonverbal.tasks.labels_seen import LabelsSeen, labels_seen_by, seen_by

Use = Literal["pretraining", "fine-tuning"]

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

NOT_HERE = "a folder or file that is not available"
"""Remark on the terms of a starting checkpoint that is neither on this disk nor known to be on the Hub."""


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus of a model's training data, as in its shards."""

    name: str
    use: Use
    clips: int
    hours: float
    """Hours of training clips."""
    validation_clips: int
    validation_hours: float
    licence: str
    """All licences of its clips, as in the manifest."""
    terms: Terms
    home: str
    """Where the corpus comes from, as in the catalog; empty for other folders."""
    dataset: str
    """Its id on the Hub, if it was read from there; otherwise empty."""
    weight: float | None
    """Sampling weight of its clips, if the recipe sets one; 0: never drawn."""


@dataclass(frozen=True)
class StartFacts:
    """A starting checkpoint that was not trained by a run on this disk."""

    name: str
    """Its id on the Hub, or the last part of its path."""
    on_hub: bool
    heard: str
    """Its training data, in words."""
    terms: Terms


@dataclass(frozen=True)
class Trained:
    """What a model was trained on."""

    corpora: list[CorpusFacts] = field(default_factory=list)
    starts: list[StartFacts] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Sentences on what is not known."""
    data_sha256: list[str] = field(default_factory=list)
    """Hash of the index of each folder of shards."""
    clips: list[Clip] = field(default_factory=list)
    """The clips of its pretraining."""
    folders: list[Path] = field(default_factory=list)
    """The folders of shards that were found."""
    names: frozenset[str] = frozenset()
    """Speakers of all clips, named as in the manifests. None of these names may be published."""

    @property
    def complete(self) -> bool:
        """Whether ``clips`` are everything that the model was pretrained on."""
        return not (self.missing or self.starts)

    @property
    def sources(self) -> list[Source]:
        """Checkpoints and corpora that the model was made from, each once, without corpora that were never drawn."""
        found: dict[tuple[str, str], Source] = {}
        for start in self.starts:
            found.setdefault(
                ("checkpoint", start.name), Source(start.name, "checkpoint", start.terms.identifier, start.terms)
            )
        heard: dict[str, list[CorpusFacts]] = {}
        for corpus in self.corpora:
            if corpus.weight != 0:
                heard.setdefault(corpus.name, []).append(corpus)
        # Two folders of shards may use one name for different clips.
        for name, own in heard.items():
            licence = ", ".join(dict.fromkeys(one.licence for one in own))
            found["corpus", name] = Source(name, "corpus", licence, strictest(*(one.terms for one in own)))
        return list(found.values())

    def joined(self, other: "Trained") -> "Trained":
        """Return the training data of both."""
        return Trained(
            [*self.corpora, *other.corpora],
            [*self.starts, *other.starts],
            [*self.missing, *other.missing],
            [*self.data_sha256, *other.data_sha256],
            [*self.clips, *other.clips],
            [*self.folders, *other.folders],
            self.names | other.names,
        )


def trained(run: Path, data: Sequence[Path] = (), base_model: str | None = None) -> Trained:
    """Return what a run's model was trained on, including the runs that it continued.

    Args:
        run: a run of ``nonverbal pretrain`` or ``nonverbal finetune``.
        data: folders of shards, which may be those of the run or of a run that it continued.
        base_model: Hub id of the checkpoint that the first of these runs started from, if that run names a folder.

    Raises:
        UserError: a file of a run or of shards is damaged, or ``base_model`` is given although the first run started
            from random weights.
    """
    found = _trained(run, data, base_model, frozenset())
    if base_model is not None and not found.starts:
        raise UserError(f"--base_model is {base_model}, but {run} started from random weights; leave it out")
    return found


def _trained(run: Path, data: Sequence[Path], base_model: str | None, later: frozenset[Path]) -> Trained:
    recipe = read_file(run / "recipe.yaml", dict)
    use: Use = "pretraining" if str(recipe.get("family")) in FAMILIES else "fine-tuning"
    own = _of_shards(run, recipe, use, data)
    init = str(init_of(recipe) or "")
    if not init or init.startswith(INITIALISED):
        return own
    before = _run_of(init, run)
    if before is not None and before not in later:
        return _trained(before, data, base_model, later | {run.resolve()}).joined(own)
    return _started(init, base_model).joined(own)


def init_of(recipe: dict[str, Any]) -> str | None:
    """Return what a run's recipe names as its starting checkpoint; None for random weights."""
    group = recipe.get(str(recipe.get("family")), recipe)
    found = group.get("init") if isinstance(group, dict) else None
    return None if found is None else str(found)


def start_named(name: str, given: bool = False) -> StartFacts:
    """Return what is known about a checkpoint from its name, which is a Hub id or a path.

    A path may look like a Hub id. A name counts as a Hub id if it is in the toolkit's list, or was given as one.

    Args:
        name: the name in a recipe, or the value of ``--base_model``.
        given: whether it is the value of ``--base_model``.
    """
    known = CHECKPOINTS.get(name)
    if known is not None:
        return StartFacts(name, True, heard_by(known), known.terms)
    here = os.path.exists(name)
    on_hub = given and not here and HUB_ID.fullmatch(name) is not None
    remark = "a folder or file without terms" if here else "not in the toolkit's list" if on_hub else NOT_HERE
    return StartFacts(name if on_hub else Path(name).name, on_hub, "not known", Terms(NOBODY, False, remark=remark))


def _started(init: str, base_model: str | None) -> Trained:
    """Return a starting checkpoint that was not trained by a run on this disk, and whether it is missing."""
    start = start_named(base_model or init, base_model is not None)
    lost = (
        f"The training started from {start.name}, which was not available for this release, so the training "
        "data and the terms of that checkpoint are not known."
    )
    return Trained(starts=[start], missing=[lost] if start.terms.remark == NOT_HERE else [])


def _run_of(init: str, run: Path) -> Path | None:
    """Return the run whose encoder or model is ``init``, a path as given to ``run``; None if it belongs to no run."""
    for place in (Path(), *run.resolve().parents):
        found = place / init
        for folder in (found, found.parent):
            # pathlib raises at a name that is too long.
            if os.path.isfile(folder / "recipe.yaml") and os.path.isfile(found / "config.json") | (folder == found):
                return folder.resolve()
    return None


def _of_shards(run: Path, recipe: dict[str, Any], use: Use, data: Sequence[Path]) -> Trained:
    said = read_file(run / "data.json", dict) if (run / "data.json").is_file() else {}
    named = recipe.get("data")
    folders = [str(name) for name in (named if isinstance(named, list) else [named]) if name is not None]
    # Fine-tuning uses only those clips of its shards that have one of its classes.
    seen = None if use == "pretraining" else labels_seen_by(run / "model") or seen_by(run)
    unsaid = "The run does not state its training data, so this release could not be searched for speakers' names."
    found = Trained(missing=[] if folders else [unsaid])
    for name in folders:
        sha256 = said.get(name)
        shards = _shards(name, run, sha256, data)
        if shards is None:
            lost = (
                f"The shards {Path(name).name} of the training data were not available for this release, so "
                "their corpora, hours and licences are not known, and this release could not be searched for the names "
                "of their speakers."
            )
            found = found.joined(Trained(missing=[lost], data_sha256=[sha256] if isinstance(sha256, str) else []))
        else:
            found = found.joined(_of_folder(shards, recipe, use, seen))
    return found


def _shards(name: str, run: Path, sha256: object, data: Sequence[Path]) -> ShardFolder | None:
    """Return the folder of shards with a hash. A path is relative to a folder above the run, where it was started."""
    for place in (Path(name), *(parent / name for parent in run.resolve().parents), *data):
        index = place / "index.json"
        if os.path.isfile(index) and (sha256 is None or sha256_of(index) == sha256):
            return open_shards(place)
    return None


def _of_folder(shards: ShardFolder, recipe: dict[str, Any], use: Use, seen: LabelsSeen | None) -> Trained:
    clips = shards.clips()
    batches = recipe.get("batches")
    weights = batches.get("weights") if isinstance(batches, dict) else None
    prepared = shards.folder / "recipe.yaml"
    given = read_file(prepared, dict).get("corpora", {}) if prepared.is_file() else {}
    ledger = shards.folder / "ledger.json"
    readers = read_file(ledger, dict) if ledger.is_file() else {}
    # Fine-tuning divides the clips of both splits again.
    split = shards.rows("train") if use == "pretraining" else np.arange(len(shards.table))
    used = np.array([seen is None or seen.holds(clip) for clip in clips], dtype=bool)
    split = split[used[shards.table["clip"][split]]]
    rest = np.setdiff1d(shards.rows("validation"), split) if use == "pretraining" else split[:0]
    corpora = [
        _corpus(
            name,
            use,
            _amount(shards, split, clips, name),
            _amount(shards, rest, clips, name),
            Counter(clip.licence for clip, own in zip(clips, used, strict=True) if own and clip.corpus == name),
            str(row.get("reader", name)) if isinstance(row := readers.get(name), dict) else name,
            given.get(name) if isinstance(given, dict) else None,
            weights.get(name) if isinstance(weights, dict) else None,
        )
        for name in shards.corpora
    ]
    private = {clip.speaker for clip in clips if clip.speaker}
    heard = clips if use == "pretraining" else []
    present = [corpus for corpus in corpora if corpus.clips or corpus.validation_clips]
    return Trained(present, [], [], [shards.sha256], heard, [shards.folder], frozenset(private))


def _amount(shards: ShardFolder, rows: np.ndarray, clips: list[Clip], corpus: str) -> tuple[int, float]:
    """Return the number of clips and the hours of a corpus in some rows of the table."""
    own = np.array([clip.corpus == corpus for clip in clips], dtype=bool)
    table = shards.table[rows]
    table = table[own[table["clip"]]] if len(table) else table
    return len(np.unique(table["clip"])), float(table["samples"].sum(dtype=np.int64)) / SAMPLE_RATE / 3600


def _corpus(
    name: str,
    use: Use,
    train: tuple[int, float],
    validation: tuple[int, float],
    licences: Counter[str],
    reader: str,
    given: object,
    weight: object,
) -> CorpusFacts:
    texts = [text for text, _ in licences.most_common()]
    known = CATALOG.get(reader)
    terms = strictest(*(terms_of(text, reader) for text in texts)) if texts else Terms(NOBODY, False)
    dataset = given.get("dataset") if isinstance(given, dict) else None
    return CorpusFacts(
        name,
        use,
        *train,
        *validation,
        ", ".join(text or "not stated" for text in texts),
        terms if len(texts) < 2 else replace(terms, identifier=""),
        known.home if known else "",
        dataset if isinstance(dataset, str) and HUB_ID.fullmatch(dataset) and not os.path.exists(dataset) else "",
        float(weight) if isinstance(weight, int | float) and is_number(weight) else None,
    )


def data_sha256(found: Sequence[str]) -> str | None:
    """Return one hash for all folders of shards: that of a single folder, or of the lines of all; None if unknown."""
    if len(found) < 2:
        return found[0] if found else None
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def check_data(data: Sequence[Path]) -> None:
    """Refuse folders without shards.

    Raises:
        UserError: the message names the first such folder.
    """
    for folder in data:
        if not (folder / "index.json").is_file():
            raise UserError(
                f"--data: {folder} is not a folder of shards: it has no index.json; give a folder that prepare wrote"
            )
