"""The one exception whose message is written for the person at the terminal."""


class UserError(ValueError):
    """Something the user can put right; the message says what was found, what was expected, and the remedy.

    The command line prints it as one line and exits with code 2. Anything else that escapes is our mistake.
    """
