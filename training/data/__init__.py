"""From shards to packs: selection, token lengths, epoch plan, stream pointer, loader and collation."""
