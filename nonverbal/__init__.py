"""Self-supervised pretraining and honest evaluation for human sounds that are not words."""

__version__ = "0.1.0"
