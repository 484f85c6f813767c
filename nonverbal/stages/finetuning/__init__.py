"""Fine-tuning: trains an encoder on the labels of clips, in the folds of a protocol."""
