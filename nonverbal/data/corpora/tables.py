"""Tables by other people: text in any encoding, with any separator and line end, to rows, and values to text."""

import codecs
import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nonverbal.errors import UserError
from nonverbal.text import LINE_END, shown

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks, which show the encoding of a text. The mark of UTF-32 begins with that of UTF-16."""

WESTERN = "cp1252"
"""Windows's Western European encoding, in which all bytes but five are text."""

SEPARATORS = (",", ";", "\t")
"""Separators between the values of a row."""

SEPARATOR_LINE = re.compile(r'\A"?sep=(.)"?\s*?(?:\r\n|\r|\n)')
"""Excel's optional first line, which names the separator."""

BLANKS = "".join(chr(i) for i in range(0x3001) if chr(i).isspace()) + "\u200b\u200e\u200f\u2060\ufeff"
"""Characters that are invisible at the ends of a value: blanks of any kind, and characters without width."""

SPACES = r"[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+"
"""Blanks inside a value, which look alike."""

WHOLE = re.compile(r"([+-]?\d+)\.0+")
"""A whole number as software writes it in a column with a missing number."""

NOT_A_NUMBER = ("nan", "NaN")
"""What software writes for a missing number."""

BEHIND_QUOTES = r'( *"(?:[^"]|"")*") +(?=[{0}\r\n]|\Z)| *"(?:[^"]|"")*"|[^{0}\r\n]+'
"""Values of a row, by separator; if a value in double quotes is followed by blanks, the group is the value."""


def decode(data: bytes, errors: str = "strict") -> tuple[str, str]:
    """Return a text and its encoding: ``WESTERN`` if nothing else fits, for which ``errors`` applies.

    Raises:
        UnicodeDecodeError: it has bytes that are invalid in its encoding.
    """
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding), encoding
    # The first character of a table is Latin: a zero beside it is the other half of UTF-16.
    if b"\0" in data[:2]:
        encoding = "utf-16-be" if data.startswith(b"\0") else "utf-16-le"
        return data.decode(encoding), encoding
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return data.decode(WESTERN, errors), WESTERN


def stripped(text: str) -> str:
    """Return a text without invisible characters at its ends."""
    return text.strip(BLANKS)


def as_text(value: object) -> str | None:
    """Return a value of a clip as text in a single spelling: ``1`` for 1.0, one space for a run of blanks.

    Accents are composed as in Unicode's NFC: é is one character. None, NaN and blanks give None.

    Raises:
        ValueError: it is a list or similar, or infinite.
    """
    if isinstance(value, list | tuple | dict | set | bytes):
        raise ValueError(f"is {shown(str(value)[:60])}, but must be one text or number")
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"is {value}, but must be one text or number")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return re.sub(SPACES, " ", stripped(unicodedata.normalize("NFC", str(value)))) or None


def as_number(text: str) -> str | None:
    """Return a text that may be a number in a table without types: ``1`` for ``1.0``, None for ``nan``.

    Software writes whole numbers with a decimal point in a column with a missing number, and sometimes ``nan`` for it.
    """
    if text in NOT_A_NUMBER:
        return None
    match = WHOLE.fullmatch(text)
    return match[1] if match else text


def delimited(
    text: str, where: object, is_header: Callable[[Sequence[str]], bool] = any
) -> tuple[list[str], dict[int, list[str]]]:
    """Return the names of a table's columns, and its rows by number (from 1), without blank rows; values are stripped.

    Args:
        text: content of the table.
        where: its name, for errors.
        is_header: whether the names of columns that a separator gives can be those of this table. Of the separators for
            which this holds, the one that gives the most columns is used.

    Raises:
        UserError: no separator gives such a header, a quote is not closed, or a row has more or fewer values.
    """
    named = SEPARATOR_LINE.match(text)
    text = text[named.end() :] if named else text
    separators = (named[1],) if named else SEPARATORS
    headers = {separator: _header(text, separator) for separator in separators}
    good = [separator for separator in separators if is_header(headers[separator])]
    if not good:
        return max(headers.values(), key=len), {}
    separator = max(good, key=lambda separator: len(headers[separator]))
    return headers[separator], dict(_rows(text, separator, headers[separator], where))


def json_rows(text: str, where: object) -> Iterator[tuple[int, Any]]:
    """Yield the number, from 1, and the content of each line of JSON Lines that is not blank.

    Raises:
        UserError: a line is not JSON, or names a key twice.
    """
    for number, line in enumerate(LINE_END.split(text), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line, object_pairs_hook=once)
            # JSON can escape half of a character.
            json.dumps(content, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where} cannot be read: row {number}: {error}; each line is one JSON object") from error
        yield number, content


class KeyTwice(ValueError):
    """A JSON object names a key twice; most readers would take the last."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, for ``object_pairs_hook``.

    Raises:
        KeyTwice: a key occurs twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise KeyTwice(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content


def _reader(text: str, separator: str) -> Any:
    # Blanks before a quote mean as little as blanks after it, but Python's csv accepts only the former.
    if '" ' in text:
        text = re.sub(BEHIND_QUOTES.format(re.escape(separator)), lambda match: match[1] or match[0], text)
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)


def _header(text: str, separator: str) -> list[str]:
    """Return the first row that is not blank, without the columns at its end that have no name."""
    try:
        rows = ([stripped(cell) for cell in row] for row in _reader(text, separator))
        header = next((row for row in rows if any(row)), [])
    except csv.Error:
        return []
    while header and not header[-1]:
        header.pop()
    return header


def _rows(text: str, separator: str, header: list[str], where: object) -> Iterator[tuple[int, list[str]]]:
    number = -1
    reader = _reader(text, separator)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"{where}, row {max(number, 0) + 1}: {error}: a value that begins with a double quote must end with "
                "one, before the next separator; a quote inside it is written twice"
            ) from error
        if cells is None:
            return
        cells = [stripped(cell) for cell in cells]
        if number < 0 and not any(cells):
            continue
        number += 1
        if number == 0 or not any(cells):
            continue
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) != len(header):
            more = f"put a value that holds {separator!r} in double quotes"
            fewer = f"write {separator!r} for each value that is empty too"
            raise UserError(
                f"{where}, row {number}: {len(cells)} values ({', '.join(map(repr, cells))}) for {len(header)} columns "
                f"({', '.join(map(repr, header))}): {more if len(cells) > len(header) else fewer}"
            )
        yield number, cells
