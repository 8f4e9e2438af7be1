"""An upload that is refused, with a status and a reason."""


class RefusedError(Exception):
    """Sent to the uploader unchanged, so it holds no path and no detail of the machine.

    Attributes:
      status: of HTTP.
      reason: one line.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


def server_stops() -> RefusedError:
    """Of uploads that a server gets, or still has, when it stops."""
    return RefusedError(503, "the server stops and takes no more files; try again later")
