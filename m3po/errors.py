"""The errors that a user may see: each message is one sentence that names the item and the remedy.

Whatever else goes wrong is a bug: it is logged with its traceback and shown as such.
"""


class M3poError(Exception):
    """Base of every error meant for the user."""


class BadInputError(M3poError):
    """A file, row, image or option that cannot be used as it is."""


class UsageError(BadInputError):
    """An option or setting with a value that it does not take: wrong usage, exit code 2 on the command line."""


class BadImageError(BadInputError):
    """An image that cannot be decoded, is too large, or lies outside its folder."""


class WorkspaceError(M3poError):
    """The workspace is missing, not one, or open elsewhere."""


class StorageError(M3poError):
    """The database or the disk refused: full, read-only, damaged."""


class ModelError(M3poError):
    """A model folder that is none, cannot be loaded, or cannot do what is asked."""


class UnusableModelError(ModelError):
    """A model that does not exist or is of another kind: a run that names it can never go on."""


class NotAllowedError(M3poError):
    """Somebody asked for what their role does not allow, or did not log in."""


class JobError(M3poError):
    """A job cannot start, go on, or be found."""


class RunStopped(M3poError):
    """The user asked the job to stop; what was done until then is kept."""


class SearchCancelled(M3poError):
    """Nobody waits for this search any more: who asked searches for something else, or gave it up."""

    def __init__(self) -> None:
        super().__init__("The search was given up.")


class CannotHoldError(M3poError):
    """A row has what an export's format has no place for; the message says what: "several images"."""
