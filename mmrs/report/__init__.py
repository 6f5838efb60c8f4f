"""What a person reads of a finished data set: statistics, plots, an HTML page, the card of its publication."""
