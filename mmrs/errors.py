"""The two kinds of error a command can end with, and the one kind that costs a single item only."""


class UserError(Exception):
    """A mistake that the user can mend: wrong path, wrong recipe, unknown name. The command exits with 2.

    The message names the object, its value and the next command to type.
    """


class RunFailure(Exception):
    """Work that started correctly and then failed: ceiling of bad items passed, digest mismatch. Exit code 1."""


class StorageFailure(RunFailure):
    """The place that is written to failed (full, unreachable, forbidden); asking it again at once is of no use."""


class BadItem(ValueError):
    """One image or its annotation cannot be used. Becomes a quarantine entry; never ends a build by itself.

    Args:
        reason: what is wrong, in a form a person can act on.
        path: the file at fault, as the user would find it.
        line: 1-based line of a text file, where one is known.
        remedy: what mends the file, where the fault itself says it.
    """

    def __init__(self, reason: str, path: str | None = None, line: int | None = None, remedy: str | None = None):
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.line = line
        self.remedy = remedy

    def __reduce__(self):
        return (type(self), (self.reason, self.path, self.line, self.remedy))
