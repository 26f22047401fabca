"""What can go wrong between a program and clpd, each with a class of its own."""
from __future__ import annotations

from typing import Dict, Type


class ClpdError(Exception):
    """Everything that this package raises, but for wrong arguments (ValueError, TypeError)."""


class ConnectionLost(ClpdError, ConnectionError):
    """No daemon answers, it went away, or it took too long. The next call connects again.

    `classify` and `infer` have asked again for as long as `patience` says; other requests that were under way are
    not sent again."""


class Refused(ClpdError):
    """clpd answered, and the answer is no. `status` is the number in docs/protocol.md, the text is clpd's."""
    status = 0

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status or type(self).status


class Busy(Refused):
    """Every slot is taken, or there are too many connections: try again later."""
    status = 1


class Deadline(Refused):
    """The time was up before the request could run; nothing was computed."""
    status = 2


class NoModel(Refused):
    """No model of that name is served now; `models()` says whether one is on its way."""
    status = 3


class BadShape(Refused):
    """Dimensions, format or length are not what the model takes; the text says what it takes."""
    status = 4


class BadRequest(Refused):
    """A field is out of range."""
    status = 5


class TooLarge(Refused):
    """The tensor, or its answer, is over limits.request_bytes."""
    status = 6


class Internal(Refused):
    """clpd failed; its log says more."""
    status = 8


class ShuttingDown(Refused):
    """clpd is stopping: connect again."""
    status = 9


class Forbidden(Refused):
    """The user of this process may not do this."""
    status = 10


_CLASSES: Dict[int, Type[Refused]] = {c.status: c for c in (Busy, Deadline, NoModel, BadShape, BadRequest, TooLarge,
                                                            Internal, ShuttingDown, Forbidden)}


def refusal(status: int, text: str) -> Refused:
    """The exception for a status that is not OK."""
    return _CLASSES.get(status, Refused)(text or f"status {status}", status)
