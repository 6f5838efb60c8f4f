"""What a part of the catalogue is at its service now: addresses, sizes, sums. One module per service."""
