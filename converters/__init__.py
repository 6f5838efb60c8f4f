"""Source data sets, in the layout their users download, to validated annotations: one lazily imported module each."""

from converters.base import Converter, get
from converters.catalog import SourceFacts, facts, names

__all__ = ["Converter", "SourceFacts", "facts", "get", "names"]
