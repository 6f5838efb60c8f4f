"""Our default: three decimals, so that a box of one pixel in an image of 1,000 keeps its place, and always an area."""

from mmrs.instructions.dialects.fractions import FractionDialect

DIALECT = FractionDialect("mmrs", decimals=3, widen_degenerate=True)
