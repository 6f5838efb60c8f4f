"""A finished data set in the files of other programs: one module per foreign format, one object in each.

Whoever leaves our text gets pixels of the stored image. What a format cannot hold is left out, counted by its reason,
and named in the `README.md` that lies in every export.
"""
