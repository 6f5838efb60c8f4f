"""Fetch: catalogue of downloads -> plan -> checked download -> unpacked layout. Knows services and no single source."""
