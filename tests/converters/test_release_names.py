"""The release's aliases end in the names that converters have, so that a rebuild can be compared with it."""

import converters
from mmrs.release.names import normal, sources


def test_sources_of_the_release_are_spelt_as_in_the_catalogue():
    known = {normal(name): name for name in converters.names()}
    assert {name: known[normal(name)] for name in sources() if normal(name) in known} == {
        name: name for name in sources() if normal(name) in known
    }
    assert len(sources()) == 34 + 1  # both parts of RSVQA are named
