"""Faults of a disk that a user can mend: what it lacks, and what to do."""

from __future__ import annotations

import errno

NO_ROOM = {
    errno.ENOSPC: ("the disk is full that has", "Make room"),
    errno.EDQUOT: ("the quota is used up in", "Make room"),
    errno.EFBIG: ("no larger file is allowed in", "Give a disk that takes it with --to, or raise `ulimit -f`"),
}
"""Error number -> what a disk lacks, up to the name of the folder, and the remedy."""
