"""The one exception whose message is written for the person at the terminal."""


class UserError(ValueError):
    """A mistake that the user can correct; the message says what was found, what was expected, and the remedy.

    The command line prints it as one line and exits with code 2. Any other exception is a bug.
    """
