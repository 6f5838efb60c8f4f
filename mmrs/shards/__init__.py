"""WebDataset shards: tar writer, side index, manifest, random-access reader."""
