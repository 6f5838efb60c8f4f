"""New data sets of the shards of finished ones, which are reused byte for byte: `mmrs merge` and `mmrs split`."""
