"""All drawings of the site, by the name that a page calls them."""

from __future__ import annotations

from docs.hooks.drawn.architecture import architecture

DRAWINGS = {"architecture": architecture}
