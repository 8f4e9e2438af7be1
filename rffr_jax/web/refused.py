"""An upload that gets no answer, with the status and the line that say why."""


class RefusedError(Exception):
    """Told to the uploader as it is: no path and no detail of the machine is in it.

    Attributes:
      status: of HTTP.
      reason: one line.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


DIED = "the scoring process died on this file"
FULL = "too many uploads are waiting; try again later"
FULL_FOR_SENDER = "too many uploads from your address are waiting; try again later"
STOPPING = "the server is stopping"
