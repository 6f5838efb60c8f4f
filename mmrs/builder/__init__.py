"""Build: recipe -> plan -> one shard at a time -> manifest. A shard is the unit of work, of retry and of resume."""
