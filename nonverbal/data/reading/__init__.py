"""From files of sound to samples: containers, archives, decoders."""
