"""Encoders as fine-tuning trains them: all hidden states of a batch's waveforms, each row as if it were alone."""
