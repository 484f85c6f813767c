"""The parts of ``finetune.py``: what is trained on, and both sides."""
