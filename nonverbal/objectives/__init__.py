"""What an encoder is pretrained to do: masks, targets, losses."""
