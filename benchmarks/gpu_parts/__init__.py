"""The parts of ``gpu.py``: each yields figures as they are known, and runs in a process of its own."""
