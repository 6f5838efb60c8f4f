"""As in the released archive: two decimals, and small boxes may collapse."""

from mmrs.instructions.dialects.fractions import FractionDialect

DIALECT = FractionDialect("mmrs1m", decimals=2, widen_degenerate=False)
