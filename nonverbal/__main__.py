"""``python -m nonverbal`` is ``nonverbal``."""

from nonverbal.cli import main

main()
