"""Archives of strangers, unpacked such that they can neither lead out of their folder nor fill the disk."""
