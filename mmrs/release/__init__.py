"""The official MMRS-1M archive: reading it, keeping it byte for byte, auditing it, comparing a rebuild with it."""
