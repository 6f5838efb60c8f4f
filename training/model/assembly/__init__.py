"""From pre-trained parts, or from nothing, to a whole model folder."""
