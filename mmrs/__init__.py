"""The data core: records, geometry, images, instructions, shards and builds.

Knows no single data set and no torch. Imports point down only: ``cli -> training, converters -> mmrs``.
"""

__version__ = "0.1.0"
