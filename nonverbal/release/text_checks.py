"""Checks of a released folder's texts: no paths of a machine, no tokens, no names of speakers."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from nonverbal.data.manifest import read_manifest
from nonverbal.errors import UserError
from nonverbal.release.contents import Contents
from nonverbal.release.file_checks import texts_in
from nonverbal.release.findings import Finding
from nonverbal.release.tokens import TOKENS
from nonverbal.text import one_line, size

LARGEST = 50_000_000
"""Largest number of bytes of a file that is read as text."""

_FOLDERS = (
    "home|Users|root|mnt|media|scratch|tmp|var|opt|srv|data|datasets|work|workspace|gpfs|lustre|nfs|beegfs|storage|"
    "project|projects|private|export|shared|content|kaggle|cluster|net|vol|volumes|Volumes|fsx|efs|users"
)

PATHS = re.compile(
    rf"(?<![\w.:/~$)}}\]>-])/(?:{_FOLDERS})/[\w.@+-][^\s\"'`<>)\]]*"
    r"|\bfile://[^\s\"'`<>)\]]+"
    r"|\b[A-Za-z]:\\{1,2}[\w.@ +-]+\\[^\s\"'`<>]*"
)
"""Paths of a machine within a text. The part of an address after the host is not matched."""

ALONE = re.compile(r"(/[\w.@+-]+/|~/|\.\.?/)[\w.@+-]{2}")
"""Beginning of a JSON string that consists of a path only."""

SHORTEST = 4
"""Smallest number of letters of a name that is searched for without its corpus; shorter names occur by chance."""

PEOPLE = (
    "adult anon anonymous baby boy caller child client control actor actress donor elder female girl group guest "
    "healthy human infant male member mother father newborn other patient person participant sick singer somebody "
    "someone speaker student subject talker teacher tester unknown user voice volunteer woman first second third "
    "three four five six seven eight nine left right middle high low young old happy sad angry neutral cough laugh "
    "breath crying test train validation sample session recording"
)
"""Words that corpora use in place of speakers' names."""

SHOWN = 4
"""Number of characters of a token that a finding shows."""

REMEDY = "remove it, and release again"


def check_sizes(found: Contents) -> Iterator[Finding]:
    """Find files that are too large to be searched."""
    for name in found.files:
        count = (found.folder / name).stat().st_size
        if not name.endswith(".safetensors") and count > LARGEST:
            expected = f"at most {size(LARGEST)}, apart from safetensors"
            yield Finding("too large", False, name, size(count), expected, "remove it, or search it yourself")


def check_paths(found: Contents) -> Iterator[Finding]:
    """Find paths of the machine on which a release was made."""
    for name, text, whole in texts_of(found):
        paths = [match[0] for match in PATHS.finditer(text)]
        if not paths and whole and ALONE.match(text):
            paths = [text]
        for path in dict.fromkeys(paths):
            yield Finding("local path", False, name, one_line(path), "no path of a machine", REMEDY)


def check_tokens(found: Contents) -> Iterator[Finding]:
    """Find tokens, keys and passwords. A finding shows only a part of them."""
    for name, text, _ in texts_of(found):
        for token in dict.fromkeys(match[0] for match in TOKENS.finditer(text)):
            # For a name with a password, only the name is shown.
            shown = f"{token.partition(':')[0][:SHOWN]}... ({len(token)} characters)"
            remedy = "revoke it where it was created; then remove it, and release again"
            yield Finding("token", False, name, shown, "no token, key or password", remedy)


def check_names(found: Contents, names: Iterable[str]) -> Iterator[Finding]:
    """Find names of speakers in all texts except code.

    Args:
        found: the folder.
        names: names as in manifests, ``corpus:name``, or without a corpus. A name of fewer than ``SHORTEST`` letters,
            of digits only, or that is an ordinary word, is searched for only with its corpus.
    """
    forms = {form for name in names for form in _forms(name)}
    for file, text, _ in texts_of(found):
        if file.endswith(".py"):
            continue
        plain = folded(text)
        for form in sorted(forms):
            if form in plain and re.search(rf"(?<!\w){re.escape(form)}(?!\w)", plain):
                remedy = "remove it; if it is an ordinary word or a licence requires it, leave it out of the list"
                yield Finding("name", False, file, form, "no speaker's name", remedy)


def names_in(path: Path) -> list[str]:
    """Return the speakers in a manifest (``.jsonl``), or the lines of a list.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix == ".jsonl":
        return sorted({clip.speaker for clip in read_manifest(path) if clip.speaker})
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(
            f"the names in {path} cannot be read ({error}); give a manifest.jsonl or a text file"
        ) from error
    return sorted({line.strip() for line in lines if line.strip()})


def texts_of(found: Contents) -> Iterator[tuple[str, str, bool]]:
    """Yield file, text, and whether the text is a whole JSON string. For weights, the text is their metadata."""
    for name in found.files:
        path = found.folder / name
        if name.endswith(".safetensors"):
            yield from ((name, text, True) for text in _beside(path))
        elif path.stat().st_size <= LARGEST:
            text = path.read_bytes().decode("utf-8", "replace")
            yield name, text, False
            # Strings are also searched with their escapes decoded.
            yield from ((name, inner, True) for inner in texts_in(_parsed(text), keys=True) if name.endswith(".json"))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _beside(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return [text for item in (file.metadata() or {}).items() for text in item]
    except (SafetensorError, OSError):
        return []


def _forms(name: str) -> list[str]:
    alone = name.partition(":")[2] or name
    telling = len(alone) >= SHORTEST and not alone.isdigit() and folded(alone) not in ordinary_words()
    return [folded(form) for form in dict.fromkeys((name, alone)) if telling or ":" in form]


@cache
def ordinary_words() -> frozenset[str]:
    """Return words that do not count as names: ``PEOPLE``, and all words in this package, which cards may contain."""
    sources = [path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".j2")]
    texts = [PEOPLE, *(path.read_text(encoding="utf-8") for path in sources)]
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", folded(text)))


def folded(text: str) -> str:
    """Return a text in the form in which names are compared: case folded, with composed accents."""
    return unicodedata.normalize("NFC", text).casefold()
