"""Words in braces in a step's settings, and what they stand for, so that one step serves many corpora."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, Protocol

from nonverbal.errors import UserError

BRACES = re.compile(r"\{([^{}]*)\}")
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(?::.*)?")
"""Words in braces. Other text in braces, such as ``{000..127}``, is left unchanged."""

KINDS = ("data", "manifests", "path", "source", "step")
OF_LOOP = {"data": "corpus", "source": "model"}
"""Kinds that need no name within a loop, with the word of that loop."""

DROPPED = object()
"""The value of a setting that stands for nothing, and so is omitted."""

_HIDDEN = str.maketrans("{}", "\0\1")
_SHOWN = str.maketrans("\0\1", "{}")


class LeftOut(Exception):
    """A step cannot run; the message says why."""


class Lookup(Protocol):
    """Finds what words stand for."""

    def texts(self, kind: str, name: str) -> list[str]:
        """Return what ``{kind:name}`` stands for, which may be several texts or none.

        Raises:
            LeftOut: what it stands for is absent.
            UserError: there is no such name.
        """


def resolved(value: Any, loop: Mapping[str, str], lookup: Lookup, where: str) -> Any:
    """Return a setting with its words replaced; ``DROPPED`` if it stands for nothing.

    A text that stands for several texts becomes a list, which is spliced into the list that holds it, if any.

    Args:
        value: text, number, list or mapping.
        loop: what the words of the step's loops stand for.
        lookup: what other words stand for.
        where: the setting, for errors.

    Raises:
        LeftOut: something named is absent.
        UserError: a word or name is unknown.
    """
    if isinstance(value, str):
        texts = [text.translate(_SHOWN) for text in _expanded(value, loop, lookup, where)]
        return texts[0] if len(texts) == 1 else texts or DROPPED
    if isinstance(value, list):
        items = [resolved(item, loop, lookup, where) for item in value]
        pairs = zip(value, items, strict=True)
        flat = [
            one
            for was, item in pairs
            if item is not DROPPED
            for one in (item if isinstance(was, str) and isinstance(item, list) else [item])
        ]
        return DROPPED if value and not flat else flat
    if isinstance(value, dict):
        found = {key: resolved(item, loop, lookup, f"{where}.{key}") for key, item in value.items()}
        return {key: item for key, item in found.items() if item is not DROPPED}
    return value


def _expanded(text: str, loop: Mapping[str, str], lookup: Lookup, where: str) -> list[str]:
    """Return what a text stands for. Braces in inserted texts are hidden, so that they are not expanded again."""
    for match in BRACES.finditer(text):
        if not WORD.fullmatch(match[1]):
            continue
        before, after = text[: match.start()], text[match.end() :]
        return [
            whole
            for one in _meaning(match[1].translate(_SHOWN), loop, lookup, where)
            for whole in _expanded(before + one.translate(_HIDDEN) + after, loop, lookup, where)
        ]
    return [text]


def _meaning(word: str, loop: Mapping[str, str], lookup: Lookup, where: str) -> list[str]:
    if word in loop:
        return [loop[word]]
    kind, colon, name = word.partition(":")
    if colon and kind in KINDS:
        return lookup.texts(kind, name)
    if word in OF_LOOP:
        if OF_LOOP[word] not in loop:
            raise UserError(f"{where}: {{{word}}} needs a loop over {OF_LOOP[word]}; or give a name: {{{word}:NAME}}")
        return lookup.texts(word, loop[OF_LOOP[word]])
    words = [*loop, *OF_LOOP, *(f"{one}:NAME" for one in KINDS)]
    near = difflib.get_close_matches(word, words, 1)
    hint = f"did you mean {{{near[0]}}}?" if near else "the known words are " + ", ".join(f"{{{one}}}" for one in words)
    raise UserError(f"{where}: {{{word}}} is unknown; {hint}")
