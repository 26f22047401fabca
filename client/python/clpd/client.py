"""The blocking client: one connection, any number of requests under way on it. For one thread at a time."""
from __future__ import annotations

import collections
import os
import select
import socket
import time
from types import TracebackType
from typing import Any, Deque, Dict, List, Optional, Sequence, Set, Tuple, Type, Union

from . import pictures, wire
from .errors import ClpdError, ConnectionLost, Refused, ShuttingDown
from .wire import Buffer, Result

Answer = Union[Result, Dict[str, Any], Refused]


class Client:
    """A connection to clpd; connects when first needed, and again after it was lost.

    path      of the socket; default $CLPD_SOCKET, else /run/clpd/clpd.sock
    timeout   seconds without any byte from or to clpd before `ConnectionLost` is raised
    patience  seconds for which `classify` and `infer` ask again when clpd goes away under them (a restart, a crash),
              as long as nothing else is under way on the connection; 0: `ConnectionLost` at once
    """

    def __init__(self, path: Union[str, "os.PathLike[str]", None] = None, timeout: float = 30.0,
                 patience: float = 10.0) -> None:
        self.path, self.timeout, self.patience = wire.socket_path(path), timeout, patience
        self._was_connected = False
        self._socket: Optional[socket.socket] = None
        self._next = 1
        self._inbox = bytearray()
        self._waiting: Set[int] = set()  # ids without an answer yet
        self._answers: Dict[int, Answer] = {}  # of requests that nobody collected yet
        self._order: Deque[int] = collections.deque()  # the ids of those, as they came
        self._shapes: Dict[str, List[int]] = {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; what waits is dropped without being computed."""
        if self._socket:
            self._socket.close()
        self._socket = None
        self._inbox.clear()
        self._waiting.clear()
        self._answers.clear()
        self._order.clear()
        self._shapes.clear()

    # --- asking ---

    def classify(self, model: str, picture: Buffer, top_k: int = 5, *, deadline: Optional[float] = None) -> Result:
        """The best classes of uint8 pictures.

        picture   an array [H,W,C] or [N,H,W,C] of uint8; or bytes: pixels of the model's size, or (with Pillow) a
                  JPEG or PNG file. R, G, B whatever the network wants: clpd knows
        deadline  seconds after which an answer is of no use any more: `Deadline`
        """
        shape = self._shape(model) if memoryview(picture).ndim == 1 else None
        if shape and wire.is_encoded(picture):
            picture = pictures.decode(bytes(picture), shape)
        data, dims = wire.pictures_of(picture, shape)
        return self._ask(model, data, dims, wire.U8, top_k, False, deadline)

    def infer(self, model: str, data: Buffer, dims: Optional[Sequence[int]] = None, format: Optional[int] = None, *,
              top_k: int = 0, scores: bool = True, deadline: Optional[float] = None) -> Result:
        """All scores of a tensor: `F32` N,C,H,W as the network wants it, or `U8` N,H,W,C pictures.

        Arrays of float32 and uint8 say dims and format themselves; flat data need dims, and bytes of floats format."""
        flat, dims, fmt = wire.tensor_of(data, dims, format)
        return self._ask(model, flat, dims, fmt, top_k, scores, deadline)

    def submit(self, model: str, data: Buffer, dims: Optional[Sequence[int]] = None, format: Optional[int] = None, *,
               top_k: int = 0, scores: bool = True, deadline: Optional[float] = None) -> int:
        """Like `infer`, but doesn't wait for the answer: gives the id that `collect` takes.

        Answers are read while the request is being written, so any number may be under way. The data may be
        changed once this returns."""
        flat, dims, fmt = wire.tensor_of(data, dims, format)
        return self._infer(model, flat, dims, fmt, top_k, scores, deadline)

    def collect(self, ident: Optional[int] = None) -> Tuple[int, Result]:
        """Waits for the answer to `submit`'s `ident`, or for the next one to come; gives id and result.

        A refusal is raised, with the id in its attribute `id`."""
        if ident is None:
            if not self._order and not self._waiting:
                raise ValueError("nothing is under way")
            while not self._order:
                self._turn()
            ident = self._order[0]
        answer = self._take(ident)
        if isinstance(answer, Refused):
            answer.id = ident  # type: ignore[attr-defined]
            raise answer
        if not isinstance(answer, Result):
            raise ClpdError("clpd answered a request with another one's answer")
        return ident, answer

    def pending(self) -> int:
        """How many requests wait for `collect`."""
        return len(self._waiting) + len(self._order)

    def status(self) -> Dict[str, Any]:
        """The STATUS document of docs/protocol.md: counters, queue, the guard's state."""
        return self._document(wire.STATUS)

    def models(self) -> Dict[str, Any]:
        """The MODELS document: `models`, what is served, and `files`, what the guard said of each file."""
        return self._document(wire.MODELS)

    # --- the inside ---

    def _shape(self, model: str) -> List[int]:
        """Of one item, without the batch. Remembered; a model that changed its shape answers BadShape, and is then asked again."""
        if model not in self._shapes:
            shape = wire.shape_of(self.models(), model)
            if shape is None:
                raise wire.no_model(model)
            self._shapes[model] = shape
        return self._shapes[model]

    def _infer(self, model: str, data: memoryview, dims: Sequence[int], fmt: int, top_k: int, scores: bool,
               deadline: Optional[float]) -> int:
        ident = self._new_id()
        head = wire.infer_head(ident, model, dims, fmt, data.nbytes, top_k, scores, deadline)
        self._send(ident, head, data)
        return ident

    def _ask(self, model: str, data: memoryview, dims: Sequence[int], fmt: int, top_k: int, scores: bool,
             deadline: Optional[float]) -> Result:
        """One question, asked again where clpd went away before it had answered: that changes nothing but the time."""
        end = time.monotonic() + self.patience
        alone = self._was_connected and self.pending() == 0
        while True:
            try:
                return self._result(self._infer(model, data, dims, fmt, top_k, scores, deadline))
            except (ConnectionLost, ShuttingDown):
                if not alone or time.monotonic() >= end:
                    raise
                self.close()
                time.sleep(0.01)

    def _result(self, ident: int) -> Result:
        try:
            return self.collect(ident)[1]
        except Refused as e:
            if e.status == 4:
                self._shapes.clear()
            raise

    def _document(self, kind: int) -> Dict[str, Any]:
        ident = self._new_id()
        self._send(ident, wire.frame(kind, ident), memoryview(b""))
        answer = self._take(ident)
        if isinstance(answer, Refused):
            raise answer
        if isinstance(answer, Result):
            raise ClpdError("clpd answered a question with another one's answer")
        return answer

    def _new_id(self) -> int:
        self._next += 1
        return self._next - 1

    def _take(self, ident: int) -> Answer:
        if ident not in self._waiting and ident not in self._answers:
            raise ValueError(f"no request {ident} is under way")
        while ident not in self._answers:
            self._turn()
        self._order.remove(ident)
        return self._answers.pop(ident)

    def _connect(self) -> socket.socket:
        if self._socket:
            return self._socket
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(self.timeout)
        try:
            s.connect(self.path)
        except OSError as e:
            s.close()
            raise ConnectionLost(f"no clpd answers at {self.path}: {e}") from e
        s.setblocking(False)
        self._socket, self._was_connected = s, True
        return s

    def _lose(self, why: str) -> ConnectionLost:
        self.close()
        return ConnectionLost(f"{self.path}: {why}")

    def _wait(self, events: int) -> int:
        """Until the socket is ready for one of `events`; which ones."""
        poll = select.poll()
        poll.register(self._connect(), events)
        ready = poll.poll(self.timeout * 1000)
        if not ready:
            raise self._lose(f"clpd did nothing for {self.timeout:g} s")
        return ready[0][1]

    def _send(self, ident: int, head: bytes, data: memoryview) -> None:
        """Writes a frame, and reads meanwhile: clpd may stop taking requests until its answers are taken."""
        s = self._connect()
        self._waiting.add(ident)
        try:
            self._write(s, [memoryview(head), data])
        except BaseException:  # Ctrl-C too: half a frame is on its way, and nothing may follow it
            self.close()
            raise

    def _write(self, s: socket.socket, parts: List[memoryview]) -> None:
        while parts:
            try:
                sent = s.sendmsg(parts)
            except BlockingIOError:
                if self._wait(select.POLLIN | select.POLLOUT) & (select.POLLIN | select.POLLHUP):
                    self._read()
                continue
            except OSError as e:
                self._read_last()
                raise self._lose(str(e)) from e
            while parts and sent >= parts[0].nbytes:
                sent -= parts.pop(0).nbytes
            if parts:
                parts[0] = parts[0][sent:]

    def _read_last(self) -> None:
        """What clpd said before it closed the connection, if it was the reason for that."""
        try:
            while self._read():
                pass
        except ConnectionLost:
            return

    def _turn(self) -> None:
        """Waits for some bytes and takes in the answers that they complete."""
        if not self._socket:
            raise ConnectionLost(f"{self.path}: the connection was lost")
        self._wait(select.POLLIN)
        self._read()

    def _read(self) -> bool:
        """Takes in what is there. False: nothing is."""
        if not self._socket:
            raise ConnectionLost(f"{self.path}: the connection was lost")
        try:
            part = self._socket.recv(1 << 18)
        except BlockingIOError:
            return False
        except OSError as e:
            raise self._lose(str(e)) from e
        if not part:
            raise self._lose("clpd closed the connection")
        self._inbox += part
        while self._frame():
            pass
        return True

    def _frame(self) -> bool:
        if len(self._inbox) < wire.HEADER.size:
            return False
        try:
            kind, ident, size = wire.read_header(bytes(self._inbox[:wire.HEADER.size]))
            end = wire.HEADER.size + size
            if len(self._inbox) < end:
                return False
            answer = wire.read_answer(kind, bytes(memoryview(self._inbox)[wire.HEADER.size:end]))
        except ClpdError:
            self.close()
            raise
        del self._inbox[:end]
        if ident in self._waiting:
            self._waiting.remove(ident)
            self._answers[ident] = answer
            self._order.append(ident)
        elif isinstance(answer, Refused):  # id 0: the connection itself is refused
            self.close()
            raise answer
        return True
