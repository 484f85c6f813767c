"""The one exception whose message is written for the person at the terminal."""

from typing import Any


class UserError(ValueError):
    """Something the user can put right; the message says what was found, what was expected, and the remedy.

    The command line prints it as one line and exits with code 2. Anything else that escapes is our mistake.
    """


def check_ranges(settings: Any, group: str, *ranges: tuple[str, bool, str]) -> None:
    """Refuse settings that are out of their ranges.

    Args:
        settings: what has them as attributes.
        group: stands before their names on the command line.
        ranges: of each setting its name, whether it is in its range, and the range in words: at least 1.

    Raises:
        UserError: names the first that is not.
    """
    for name, is_within, words in ranges:
        if not is_within:
            raise UserError(f"{group}.{name} must be {words}, but is {getattr(settings, name)}")
