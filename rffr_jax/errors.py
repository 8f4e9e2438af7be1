"""Errors for users: one line, and exit code 2."""


class UserError(Exception):
    """A mistake that the user can correct.

    The message is one line: what is wrong, where, and what to do. `rffr_jax.main` prints it
    without a traceback and ends with exit code 2.
    """


class BadImageError(Exception):
    """A file that cannot be used as an image; it is counted and named."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.name, self.reason)
