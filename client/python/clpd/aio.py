"""The client for asyncio: one connection, shared by any number of tasks of one event loop."""
from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Type, Union

from . import pictures, wire
from .errors import ClpdError, ConnectionLost, Refused
from .wire import Buffer, Result


class AsyncClient:
    """Like `Client`, with coroutines; tasks that ask at the same time share the connection and are batched by clpd.

    A task that is cancelled leaves the others alone: its answer is dropped when it comes. Connects when first needed,
    and again after the connection was lost; what was under way then gets `ConnectionLost`. Time limits are the
    caller's (`asyncio.wait_for`), or clpd's (`deadline`).
    """

    def __init__(self, path: Union[str, "os.PathLike[str]", None] = None) -> None:
        self.path = wire.socket_path(path)
        self._next = 1
        self._writer: Optional[asyncio.StreamWriter] = None
        self._reading: Optional["asyncio.Task[None]"] = None
        self._waiting: Dict[int, "asyncio.Future[Any]"] = {}
        self._lock = asyncio.Lock()
        self._shapes: Dict[str, List[int]] = {}

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection; what waits gets `ConnectionLost`."""
        reading, self._reading = self._reading, None
        self._drop(ConnectionLost(f"{self.path}: closed"))
        if reading:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def classify(self, model: str, picture: Buffer, top_k: int = 5, *,
                       deadline: Optional[float] = None) -> Result:
        """As `Client.classify`."""
        shape = await self._shape(model) if memoryview(picture).ndim == 1 else None
        if shape and wire.is_encoded(picture):
            picture = pictures.decode(bytes(picture), shape)
        data, dims = wire.pictures_of(picture, shape)
        return await self._infer(model, data, dims, wire.U8, top_k, False, deadline)

    async def infer(self, model: str, data: Buffer, dims: Optional[Sequence[int]] = None,
                    format: Optional[int] = None, *, top_k: int = 0, scores: bool = True,
                    deadline: Optional[float] = None) -> Result:
        """As `Client.infer`. The data must not change until it returns."""
        flat, dims, fmt = wire.tensor_of(data, dims, format)
        return await self._infer(model, flat, dims, fmt, top_k, scores, deadline)

    async def status(self) -> Dict[str, Any]:
        """As `Client.status`."""
        return await self._document(wire.STATUS)

    async def models(self) -> Dict[str, Any]:
        """As `Client.models`."""
        return await self._document(wire.MODELS)

    # --- the inside ---

    async def _shape(self, model: str) -> List[int]:
        if model not in self._shapes:
            shape = wire.shape_of(await self.models(), model)
            if shape is None:
                raise wire.no_model(model)
            self._shapes[model] = shape
        return self._shapes[model]

    async def _infer(self, model: str, data: memoryview, dims: Sequence[int], fmt: int, top_k: int, scores: bool,
                     deadline: Optional[float]) -> Result:
        ident = self._new_id()
        answer = await self._ask(ident, wire.infer_head(ident, model, dims, fmt, data.nbytes, top_k, scores, deadline),
                                 data)
        if not isinstance(answer, Result):
            raise ClpdError("clpd answered a request with another one's answer")
        return answer

    async def _document(self, kind: int) -> Dict[str, Any]:
        ident = self._new_id()
        answer = await self._ask(ident, wire.frame(kind, ident), memoryview(b""))
        if not isinstance(answer, dict):
            raise ClpdError("clpd answered a question with another one's answer")
        return answer

    def _new_id(self) -> int:
        self._next += 1
        return self._next - 1

    async def _ask(self, ident: int, head: bytes, data: memoryview) -> Any:
        future: "asyncio.Future[Any]" = asyncio.get_running_loop().create_future()
        try:
            async with self._lock:  # one frame after the other, and none while the socket is full
                writer = await self._connect()
                self._waiting[ident] = future
                try:
                    writer.write(head)
                    if data.nbytes:
                        writer.write(data)
                    await writer.drain()
                except OSError as e:
                    if not future.done():
                        future.set_exception(ConnectionLost(f"{self.path}: {e}"))
            answer = await future
        except Refused as e:
            if e.status == 4:
                self._shapes.clear()
            raise
        finally:
            self._waiting.pop(ident, None)
        return answer

    async def _connect(self) -> asyncio.StreamWriter:
        if self._writer:
            return self._writer
        try:
            reader, writer = await asyncio.open_unix_connection(self.path)
        except OSError as e:
            raise ConnectionLost(f"no clpd answers at {self.path}: {e}") from e
        self._writer = writer
        self._reading = asyncio.ensure_future(self._read(reader, writer))
        return writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        why: ClpdError = ConnectionLost(f"{self.path}: clpd closed the connection")
        try:
            while True:
                kind, ident, size = wire.read_header(await reader.readexactly(wire.HEADER.size))
                answer = wire.read_answer(kind, await reader.readexactly(size))
                future = self._waiting.get(ident)
                if ident == 0 and isinstance(answer, Refused):  # the connection itself is refused
                    why = answer
                    break
                if not future or future.done():
                    continue
                if isinstance(answer, Refused):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        except (OSError, EOFError):
            pass
        except ClpdError as e:
            why = e
        finally:
            if self._writer is writer:
                self._drop(why)

    def _drop(self, why: ClpdError) -> None:
        writer, self._writer = self._writer, None
        if writer:
            writer.close()
        self._shapes.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(why)
