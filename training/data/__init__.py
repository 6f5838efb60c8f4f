"""From shards to packs: `planning` says which and in which order, the rest reads, decodes and collates them."""
