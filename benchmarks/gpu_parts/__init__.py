"""The parts of ``gpu.py``: each yields figures as they become known, and runs in a separate process."""
