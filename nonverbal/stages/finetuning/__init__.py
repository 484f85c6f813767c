"""Fine-tuning: an encoder trained on the labels of clips, in the folds of a protocol."""
