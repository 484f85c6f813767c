"""The parts of ``finetune.py``: the data and models, and both sides."""
