"""WebDataset tars: each audio part of a sample is a clip, which the sample's other parts describe.

Tars are listed only by their headers and read in place (``nonverbal.data.reading.tars``); ``webdataset`` determines
which tars braces name, and a member's key and part. Its own reader is not used, because it would read all of every tar
to list it, mistake a damaged header for the end, drop a second member of the same name, and run what an address names.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from nonverbal.data.corpora.base import FIELDS, Found, Reading, Skipped, clip
from nonverbal.data.corpora.listing import HIDDEN, files, leaves
from nonverbal.data.corpora.metadata import SPLITS
from nonverbal.data.corpora.names import hidden, is_audio
from nonverbal.data.corpora.samples import Places, Sample, Uses, places_of, unread
from nonverbal.data.reading import tars
from nonverbal.errors import UserError

ADDRESS = re.compile(r"[A-Za-z][\w+.-]*:")
"""Beginning of what webdataset would fetch or run."""


def named_tars(path: Path) -> tuple[Path, str] | None:
    """Divide ``FOLDER/{000..127}.tar`` into the folder and the names, with braces; None if it names no tars."""
    if path.is_dir() or not tars.NAME.search(path.name):
        return None
    first = next((i for i, part in enumerate(path.parts) if "{" in part), len(path.parts) - 1)
    return Path(*path.parts[:first]), "/".join(path.parts[first:])


def holds_tars(folder: Path) -> bool:
    """Whether a folder contains tars, and no audio beside them."""
    found = list(files(folder))
    return any(tars.NAME.search(path) for path in found) and not any(map(is_audio, found))


def read_webdataset(
    folder: Path, name: str, pattern: str | None, columns: Mapping[str, str], say: Callable[[str], None]
) -> Reading:
    """Read the tars in a folder. A missing or damaged tar is a clip that cannot be decoded, besides its other clips.

    Args:
        folder: contains the tars.
        name: the corpus's name.
        pattern: names of tars relative to it, with braces; None for all that exist.
        columns: what gives a field: a part (``txt``), or a value in a part with JSON (``json.speaker.id``).
        say: is called with a message that says what the parts were used as, and which were not used.

    Raises:
        UserError: there are no tars, they contain no audio, or no sample gives a field in ``columns``.
    """
    unknown = sorted(columns.keys() - set(FIELDS))
    if unknown:
        raise UserError(f"{name}: columns of {', '.join(unknown)}; they may be of {', '.join(FIELDS)}")
    places = places_of(columns)
    uses = Uses()
    any_clip = False
    example: Sample | None = None
    for file in _files(folder, pattern):
        any_clip |= isinstance(file, Found)
        if not isinstance(file, Sample):
            yield file
            continue
        path = file.tar.relative_to(folder).as_posix()
        clips = list(_clips(file, path, name, places))
        if clips:
            any_clip, example = True, example or file
            uses.add(file)
        yield from clips
        yield from _others(file, path)
    if not any_clip:
        raise UserError(f"{folder} holds no audio in tars: expected samples such as KEY.flac and KEY.json")
    if example is not None:
        _refuse_unsaid(name, {key: column for key, column in columns.items() if key not in uses.of_fields}, example)
        say(uses.told())


def _files(folder: Path, pattern: str | None) -> Iterator[Found | Skipped | Sample]:
    """Yield the samples of all tars, and a row for each part that belongs to none."""
    for path in list(files(folder)) if pattern is None else _expanded(folder, pattern):
        if not tars.NAME.search(path):
            yield Skipped(path, "not a tar")
        elif leaves(folder, path):
            yield Skipped(path, "a link that leaves the folder")
        elif not tars.is_tar(folder / path):
            # It is reported as missing when it is to be decoded.
            yield Found(path)
        else:
            yield from _members(folder / path, path)


def _expanded(folder: Path, pattern: str) -> list[str]:
    from webdataset.shardlists import expand_urls

    if "::" in pattern or "$" in pattern or ADDRESS.match(pattern):
        raise UserError(f"{pattern!r} is an address, a command or a list of them: name tars in {folder}, with braces")
    try:
        names = list(dict.fromkeys(expand_urls(pattern)))
    except ValueError as error:
        raise UserError(f"the braces in {pattern!r} cannot be read: {error}") from error
    for path in names:
        if path.startswith("/") or ".." in PurePosixPath(path).parts or not tars.NAME.search(path):
            raise UserError(f"{pattern!r} names {path!r}, which is not a tar in {folder}")
    if not any((folder / path).exists() for path in names):
        raise UserError(f"{folder / pattern} names {len(names)} tars, of which none is there, such as {names[0]}")
    return names


def _members(tar: Path, path: str) -> Iterator[Found | Skipped | Sample]:
    try:
        listed = tars.listing(tar)
    except PermissionError:
        yield Found(path)
        return
    except OSError as error:
        raise unread(tar, error) from error
    if listed.damage is not None:
        # The tar's own row: what is wrong with it is reported when it is to be decoded.
        yield Found(path)
    elif not listed.members and not listed.refused:
        yield Skipped(path, "a tar without files")
    yield from (Skipped(f"{path}/{member}", reason) for member, reason in listed.refused.items())
    yield from _samples(tar, path, listed.members)


def _samples(tar: Path, path: str, members: Mapping[str, tars.Member]) -> Iterator[Skipped | Sample]:
    from webdataset.tariterators import base_plus_ext

    last = None
    by_key: dict[str, list[dict[str, str]]] = defaultdict(list)
    for member, (name, *_) in members.items():
        key, part = base_plus_ext(name)
        if key is None or hidden(name):
            yield Skipped(f"{path}/{member}", HIDDEN if hidden(name) else "its name has no key")
            continue
        if key != last or part.lower() in by_key[key][-1]:
            by_key[key].append({})
        by_key[key][-1][part.lower()] = member
        last = key
    for key, runs in by_key.items():
        yield from (Sample(tar, key, parts) for parts in _joined(runs))


def _joined(runs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Join separate runs of one key, unless a part occurs twice: webdataset requires parts to be side by side."""
    joined: list[dict[str, str]] = []
    for run in runs:
        if joined and not joined[-1].keys() & run.keys():
            joined[-1] |= run
        else:
            joined.append(run)
    return joined


def _clips(sample: Sample, tar: str, name: str, places: Mapping[str, Places]) -> Iterator[Found]:
    for part, path in sample.paths.items():
        if is_audio(path):
            known = sample.known(part, places)
            attributes = sample.attributes(part)
            found = clip(
                name, f"{tar}/{path}", attributes, **{"split": _split_of(tar), "recording": sample.key, **known}
            )
            yield _unqualified(found, name, known) if sample.is_ours() else found


def _unqualified(found: Found, name: str, known: Mapping[str, object]) -> Found:
    """Keep the names that a clip of ours has in its own corpus, so that it stays with the clips that share them."""
    names = {key: getattr(found, key) for key in ("speaker", "session", "recording") if key in known}
    return Found(**{**vars(found), **{key: value.removeprefix(f"{name}:") for key, value in names.items()}})


def _others(sample: Sample, tar: str) -> Iterator[Skipped]:
    """Yield a row for each part that is not a clip, with its use or what is wrong with it."""
    lonely = not any(map(is_audio, sample.paths.values()))
    for name, path in sample.paths.items():
        if is_audio(path):
            continue
        part = sample.read.get(name)
        reason = "not audio" if part is None else "; ".join(part.problems) or "says what a clip is"
        yield Skipped(f"{tar}/{path}", "of a key without audio" if lonely else reason)


def _split_of(tar: str) -> str | None:
    """Return the split that names of folders, or else the name of the tar, show; None if they show none or several."""
    *folders, file = (re.split(r"[-._ 0-9]", step.lower()) for step in tar.split("/"))
    for words in ([word for folder in folders for word in folder], file):
        splits = {SPLITS[word] for word in words if word in SPLITS}
        if splits:
            return splits.pop() if len(splits) == 1 else None
    return None


def _refuse_unsaid(name: str, columns: Mapping[str, str], example: Sample) -> None:
    """Refuse columns that no sample gives, because a misspelt one would silently lose all labels."""
    if not columns:
        return
    part = example.part("json")
    keys = list(part.content) if part is not None and isinstance(part.content, dict) else []
    of_json = f", its json the keys {', '.join(map(repr, keys))}" if keys else ""
    raise UserError(
        f"{name}: no sample has one value of {', '.join(f'{key}: {column}' for key, column in columns.items())}; "
        f"{example.key!r} has the parts {', '.join(example.paths)}{of_json}; json.KEY.0 is the first of a list"
    )
