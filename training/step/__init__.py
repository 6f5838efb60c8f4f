"""One optimiser step on all ranks: ranks, sharding, attention, loss, optimiser."""
