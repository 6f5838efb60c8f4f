"""Work inside a shard, shared: its samples in parts that several processes write, joined to the bytes of one."""
