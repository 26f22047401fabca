"""Asks clpd, the inference daemon, over its Unix socket.

    from clpd import Client

    with Client() as c:                                  # $CLPD_SOCKET, else /run/clpd/clpd.sock
        for best in c.classify("signs", picture, top_k=3).top[0]:
            print(best.label, best.probability)

`Client` is for one thread at a time, `AsyncClient` for asyncio, `Ring` for shared memory with clpd. They need the standard library alone; NumPy arrays
go in as they are (anything with the buffer protocol does), and `Result.array()` gives one back.
"""
from .aio import AsyncClient
from .client import Client
from .errors import (BadRequest, BadShape, Busy, ClpdError, ConnectionLost, Deadline, Forbidden, Internal, NoModel,
                     Refused, ShuttingDown, TooLarge)
from .ring import Ring, Slot
from .wire import DEFAULT_PATH, F32, U8, Best, Result

__version__ = "0.1.0"
__all__ = ["AsyncClient", "BadRequest", "BadShape", "Best", "Busy", "Client", "ClpdError", "ConnectionLost", "Deadline",
           "DEFAULT_PATH", "F32", "Forbidden", "Internal", "NoModel", "Refused", "Result", "Ring", "ShuttingDown", "Slot", "TooLarge",
           "U8"]
