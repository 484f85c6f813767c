"""``python -m nonverbal`` does the same as ``nonverbal``."""

import os
import sys

# Python searches the current folder first, where a file such as yaml.py would be imported instead of a library.
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if not sys.flags.safe_path and os.path.realpath(sys.path[0]) != ROOT:
    del sys.path[0]

from nonverbal.cli import main  # noqa: E402

main()
