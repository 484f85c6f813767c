"""The one exception whose message is written for the person at the terminal."""

from typing import Any


class UserError(ValueError):
    """A mistake that the user can correct; the message says what was found, what was expected, and the remedy.

    The command line prints it as one line and exits with code 2. Any other exception is a bug.
    """


def check_ranges(settings: Any, group: str, *ranges: tuple[str, bool, str]) -> None:
    """Refuse settings that are out of their ranges.

    Args:
        settings: has them as attributes.
        group: prefix of their names on the command line.
        ranges: for each setting, its name, whether it is in its range, and the range in words, such as ``at least 1``.

    Raises:
        UserError: a setting is out of its range; names the first.
    """
    for name, is_within, words in ranges:
        if not is_within:
            raise UserError(f"{group}.{name} must be {words}, but is {getattr(settings, name)}")
