"""All drawings of the site, by the name that a page calls them."""

from __future__ import annotations

from docs.hooks.drawn.architecture import architecture
from docs.hooks.drawn.learning import learning
from docs.hooks.drawn.streaming import packing, pointer, resume

DRAWINGS = {
    "architecture": architecture,
    "learning": learning,
    "packing": packing,
    "pointer": pointer,
    "resume": resume,
}
