"""What a program of one's own does with a finished data set: `mmrs.open` and all that hangs on it.

These names are kept: what they take and give changes with the first number of the version alone.
"""
