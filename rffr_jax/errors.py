"""The mistakes of a user, told in one line and answered with exit code 2."""


class UserError(Exception):
    """Something the person who runs the program can put right.

    The message is one line: what is wrong, where, and what to do. `rffr_jax.main` prints it
    without a traceback and ends with exit code 2.
    """


class BadImageError(Exception):
    """One file that cannot be used as an image; counted and named, never replaced in silence."""

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self):
        return type(self), (self.name, self.reason)
