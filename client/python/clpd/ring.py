"""The ring in shared memory: clpd's engine reads a tensor where it was written, and nothing is copied.

The layout and the handshake are those of client/ring.h. What Python has not is a memory fence, so this is what
stands in for each of the three that the handshake needs:

 - Who submits counts up `submitted` and then has to see whether clpd sleeps, with a full fence between. We don't
   look: every request rings the bell, whose lock in the kernel is passed before anybody is woken. One write(2) for
   a request is what that costs, and clpd ignores a bell while it is awake.
 - Who sleeps sets `client_sleeps` and then has to look once more, with a full fence between. FUTEX_WAIT does both:
   the kernel has a full barrier between its entry and its own look at the word (futex.c calls it barrier A), and
   sleeps only where the word has not changed.
 - What is written before a counter has to be seen before it, what is read after a counter read after it. Processors
   of the x86 family keep that order by themselves, and no statement of Python moves across another's call into C.
   Elsewhere membarrier(2) is called, whose GLOBAL_EXPEDITED is a full fence of the caller in every process (the
   PRIVATE one returns at once where there is a single thread). That branch was never run on another processor.

A counter is written as one aligned word: an item of a memoryview of format "I" is. struct.pack_into writes bytes.
tests/model/ring.pml has this client as ALWAYS_RINGS.
"""
from __future__ import annotations

import mmap
import os
import platform
import select
import socket
import struct
import sys
import time
from types import TracebackType
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Type, Union

from . import wire
from .errors import ClpdError, ConnectionLost, Refused, refusal
from .wire import Buffer, Result

RING_OPEN, RING_REPLY = 16, 17
RING_MAGIC, RING_VERSION, MOST_SLOTS = 0x52504C43, 1, 1024
OPEN = struct.Struct("<IIQQQ")
INFO = struct.Struct("<IIQIIQQQQQ")
ASK = struct.Struct("<QIIQQ")
ANSWER = struct.Struct("<QII")
SUBMITTED, CLIENT_SLEEPS, ANSWERED, CLOSED = 128 // 4, 256 // 4, 384 // 4, 640 // 4  # words of the head
HEAD_BYTES = 768
LOOKS = 64  # at `answered` before we sleep: some microseconds, an answer of a small network
LOOK_S = 0.1  # a sleeper sees so often whether clpd is still there
FUTEX_WAIT = 0
ONE = (1).to_bytes(8, "little")  # to the bell
EXPEDITED = 2  # MEMBARRIER_CMD_GLOBAL_EXPEDITED
#            machine: futex, membarrier; of 64 bits
CALLS = {"x86_64": (202, 324), "aarch64": (98, 283), "riscv64": (98, 283)}
KEEPS_ORDER = ("x86_64", "i686")


class _Kernel:
    """The two system calls that the standard library has no function for."""

    def __init__(self) -> None:
        self.machine = platform.machine()
        if sys.byteorder != "little":
            raise OSError("rings are for little-endian machines; use Client")
        numbers: Tuple[Optional[int], Optional[int]] = (None, None)
        self.futex, membarrier = CALLS.get(self.machine, numbers) if struct.calcsize("P") == 8 else numbers
        self._syscall: Any = None
        try:
            import ctypes
            self._syscall = ctypes.CDLL(None, use_errno=True).syscall
            self._syscall.restype = ctypes.c_long
            self._long, self._word = ctypes.c_long, ctypes.c_uint32

            class Timespec(ctypes.Structure):
                _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
            self._timespec, self._reference = Timespec, ctypes.byref
        except (ImportError, OSError, AttributeError):
            self.futex = None  # we sleep by the clock then
        self.fence: Any = None  # none is needed
        if self.machine not in KEEPS_ORDER:
            number = membarrier or 0
            if not number or not self._syscall or self._membarrier(number, 0) & EXPEDITED == 0:
                raise OSError("rings need membarrier(2) on this machine; use Client")
            self.fence = lambda: self._membarrier(number, EXPEDITED)

    def _membarrier(self, number: int, command: int) -> int:
        return max(0, int(self._syscall(self._long(number), self._long(command), self._long(0), self._long(0))))

    def word(self, memory: mmap.mmap, at: int) -> Any:
        """Something to sleep on; None: there is no futex here."""
        return self._word.from_buffer(memory, at) if self.futex is not None else None

    def wait(self, word: Any, value: int, seconds: float) -> None:
        """Until the word is not `value` any more, somebody wakes us, or the time is up."""
        t = self._timespec(int(seconds), int(seconds % 1 * 1e9))
        self._syscall(self._long(self.futex or 0), self._reference(word), self._long(FUTEX_WAIT),
                      self._word(value), self._reference(t), None, self._long(0))


class Slot:
    """A place for one tensor in the shared memory. Write it, submit it, read it again or give it back.

    `memory` is writable, all of the slot's room; it is clpd's between `submit` and `collect`."""

    def __init__(self, ring: "Ring", number: int, memory: memoryview) -> None:
        self._ring, self.number, self.memory = ring, number, memory
        self._mine = False  # taken, and not under way
        self._generation = 0

    def view(self, dims: Sequence[int], format: int) -> memoryview:
        """The memory as a tensor of these dimensions: items are written as `view[0, y, x, c]`."""
        kind = "f" if format == wire.F32 else "B"
        return self.memory[:_bytes_of(dims, format)].cast(kind, list(dims))

    def array(self, dims: Sequence[int], format: int) -> Any:
        """The same as a NumPy array, without a copy: `array[...] = frame`, or the `out=` of what makes it."""
        import numpy
        kind = numpy.float32 if format == wire.F32 else numpy.uint8
        return numpy.frombuffer(self.memory, kind, count=_product(dims)).reshape(dims)

    def give_back(self) -> None:
        """The slot is free for the next `take`."""
        self._ring._give(self)


def _product(dims: Sequence[int]) -> int:
    n = 1
    for d in dims:
        n *= d
    return n


def _bytes_of(dims: Sequence[int], format: int) -> int:
    return _product(dims) * (4 if format == wire.F32 else 1)


class _Plan(NamedTuple):
    version: int
    slots: int
    bytes: int
    requests_at: int
    answers_at: int
    slots_at: int
    slot_bytes: int
    tensor_at: int
    tensor_room: int
    reserved: int

    def is_sound(self, size: int) -> bool:
        """Whether all of it lies in the memory."""
        n = self.slots
        return (self.version == RING_VERSION and 0 < n <= MOST_SLOTS and n & (n - 1) == 0 and self.bytes == size
                and HEAD_BYTES <= self.requests_at <= size - 128 * n and self.requests_at % 8 == 0
                and self.answers_at <= size - 16 * n and self.answers_at % 8 == 0
                and self.slots_at + n * self.slot_bytes <= size and self.tensor_at > wire.REPLY.size
                and 0 < self.tensor_room and self.tensor_at + self.tensor_room <= self.slot_bytes
                and (self.slots_at | self.slot_bytes | self.tensor_at) & 63 == 0)


class Ring:
    """Shared memory with clpd, for one thread at a time.

        with Ring(tensor_bytes=48 * 48 * 3) as ring:
            slot = ring.take()
            slot.array((1, 48, 48, 3), U8)[...] = frame
            ring.submit(slot, "signs", (1, 48, 48, 3), U8, top_k=1)
            slot, result = ring.collect()
            slot.give_back()

    path          of the stream socket; default $CLPD_SOCKET, else /run/clpd/clpd.sock
    tensor_bytes  of the largest tensor
    slots         tensors that may be under way: a power of two
    reply_bytes   of the largest answer; 0: what a top 100 with labels takes
    """

    def __init__(self, path: Union[str, "os.PathLike[str]", None] = None, *, tensor_bytes: int, slots: int = 8,
                 reply_bytes: int = 0, timeout: float = 30.0) -> None:
        self.path, self._kernel = wire.socket_path(path), _Kernel()
        self._socket = socket.socket(socket.AF_UNIX)
        self._bell = -1
        self._memory: Optional[mmap.mmap] = None
        self._view = self._words = memoryview(b"")
        self._word: Any = None
        self._slots: List[Slot] = []
        self._submitted = self._seen = self._pending = 0
        try:
            self._open(tensor_bytes, slots, reply_bytes, timeout)
        except BaseException:
            self.close()
            raise
        self._free = self._slots[::-1]

    def __enter__(self) -> "Ring":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Ends the ring; what waits is dropped. Views and arrays that are still held keep the memory, not the ring."""
        self._socket.close()
        if self._bell >= 0:
            os.close(self._bell)
        self._bell, self._word = -1, None
        for slot in self._slots:
            try:
                slot.memory.release()
            except BufferError:  # somebody's array
                pass
        self._words.release()
        self._view.release()
        if self._memory is not None:
            try:
                self._memory.close()
            except BufferError:
                pass  # goes with the last array
        self._memory, self._slots = None, []

    # --- asking ---

    def take(self) -> Slot:
        """A free slot. ValueError where all are in use: collect one, or give one back."""
        if not self._free:
            raise ValueError(f"all {len(self._slots)} slots are in use")
        slot = self._free.pop()
        slot._mine = True
        return slot

    def submit(self, slot: Slot, model: str, dims: Sequence[int], format: int, *, top_k: int = 0,
               scores: bool = True, deadline: Optional[float] = None) -> None:
        """Asks for what was written into the slot, which is clpd's from here to `collect`."""
        self._check()
        size = _bytes_of(dims, format)
        if slot._ring is not self or not slot._mine:
            raise ValueError("this slot is not yours: it waits for its answer, or was given back")
        if size > len(slot.memory):
            raise ValueError(f"the tensor has {size} bytes; this ring's slots have room for {len(slot.memory)}")
        infer = wire.infer_head(0, model, dims, format, size, top_k, scores, deadline)[wire.HEADER.size:]
        slot._generation = slot._generation % 0xFFFFFFFF + 1
        slot._mine = False
        at = self._plan.requests_at + self._submitted % self._plan.slots * 128
        self._view[at:at + 128] = ASK.pack(slot._generation << 32 | slot.number, slot.number, 0, size, 0) + infer
        self._submitted = self._submitted + 1 & 0xFFFFFFFF
        self._pending += 1
        if self._kernel.fence:
            self._kernel.fence()
        self._words[SUBMITTED] = self._submitted
        os.write(self._bell, ONE)

    def collect(self, timeout: Optional[float] = None) -> Tuple[Slot, Result]:
        """Waits for the next answer, in whatever order they come. The slot is yours again.

        A refusal is raised, with the slot in its attribute `slot`. TimeoutError: none came within `timeout` seconds."""
        if not self._pending:
            raise ValueError("nothing is under way")
        end = None if timeout is None else time.monotonic() + timeout
        for _ in range(LOOKS):
            if self._words[ANSWERED] != self._seen:
                break
        else:
            self._sleep(end)
        if self._kernel.fence:
            self._kernel.fence()
        return self._read()

    def infer(self, model: str, data: Buffer, dims: Optional[Sequence[int]] = None, format: Optional[int] = None, *,
              top_k: int = 0, scores: bool = True, deadline: Optional[float] = None) -> Result:
        """As `Client.infer`, one at a time: copies the data into a slot, and waits. `take`, `submit` and `collect`
        copy nothing."""
        flat, dims, fmt = wire.tensor_of(data, dims, format)
        if self._pending:
            raise ValueError("submitted requests are still under way: collect them first")
        slot = self.take()
        try:
            if flat.nbytes <= len(slot.memory):  # else submit says what is wrong
                slot.memory[:flat.nbytes] = flat
            self.submit(slot, model, dims, fmt, top_k=top_k, scores=scores, deadline=deadline)
            return self.collect()[1]
        finally:
            if slot._mine:
                slot.give_back()

    def pending(self) -> int:
        """How many requests wait for `collect`."""
        return self._pending

    # --- the inside ---

    def _give(self, slot: Slot) -> None:
        if slot._ring is not self or not slot._mine:
            raise ValueError("this slot is not yours to give back")
        slot._mine = False
        self._free.append(slot)

    def _open(self, tensor_bytes: int, slots: int, reply_bytes: int, timeout: float) -> None:
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(self.path)
            self._socket.sendall(wire.frame(RING_OPEN, 1, OPEN.size) + OPEN.pack(slots, 0, tensor_bytes, reply_bytes, 0))
            data, fds, _, _ = socket.recv_fds(self._socket, wire.HEADER.size, 2)
        except OSError as e:
            raise ConnectionLost(f"no clpd answers at {self.path}: {e}") from e
        try:
            kind, size, body = self._receive(data)
            if kind == wire.ERROR and size >= wire.REPLY.size:
                text = body[wire.REPLY.size:].split(b"\0")[0].decode(errors="replace")
                raise refusal(wire.REPLY.unpack_from(body)[0], text)
            if kind != RING_REPLY or size != INFO.size or len(fds) != 2:
                raise ClpdError("what answers there has no rings")
            self._map(fds, _Plan(*INFO.unpack(body)))
        finally:
            for fd in fds:
                if fd != self._bell:
                    os.close(fd)

    def _receive(self, data: bytes) -> Tuple[int, int, bytes]:
        def exactly(data: bytes, n: int) -> bytes:
            while len(data) < n:
                part = self._socket.recv(n - len(data))
                if not part:
                    raise ConnectionLost(f"{self.path}: clpd closed the connection")
                data += part
            return data
        try:
            kind, _, size = wire.read_header(exactly(data, wire.HEADER.size))
            return kind, size, exactly(b"", size)
        except OSError as e:
            raise ConnectionLost(f"{self.path}: {e}") from e

    def _map(self, fds: Sequence[int], plan: _Plan) -> None:
        if not plan.is_sound(os.fstat(fds[0]).st_size):
            raise ClpdError("clpd describes a ring that is not in its memory")
        self._memory, self._plan, self._bell = mmap.mmap(fds[0], plan.bytes), plan, fds[1]
        self._view = memoryview(self._memory)
        self._words = self._view[:HEAD_BYTES].cast("I")
        if self._words[0] != RING_MAGIC:
            raise ClpdError("clpd's memory is no ring")
        self._word = self._kernel.word(self._memory, 4 * ANSWERED)
        for i in range(plan.slots):
            at = plan.slots_at + i * plan.slot_bytes + plan.tensor_at
            self._slots.append(Slot(self, i, self._view[at:at + plan.tensor_room]))

    def _check(self) -> None:
        """Whether clpd is still there."""
        if self._memory is None:
            raise ValueError("the ring is closed")
        closed = self._words[CLOSED]
        if closed:
            raise refusal(closed, "clpd closed the ring") if closed != 9 else ConnectionLost("clpd is stopping")

    def _check_peer(self) -> None:
        self._check()
        watch = select.poll()
        watch.register(self._socket, select.POLLRDHUP)
        if watch.poll(0):
            raise ConnectionLost(f"{self.path}: clpd closed the connection")

    def _sleep(self, end: Optional[float]) -> None:
        nap = 20e-6
        while self._words[ANSWERED] == self._seen:
            left = LOOK_S if end is None else min(end - time.monotonic(), LOOK_S)
            if left <= 0:
                raise TimeoutError("no answer from clpd in time")
            if self._word is None:
                time.sleep(min(nap, left))
                nap = min(2 * nap, 1e-3)
            else:
                self._words[CLIENT_SLEEPS] = 1
                try:
                    self._kernel.wait(self._word, self._seen, left)
                finally:
                    self._words[CLIENT_SLEEPS] = 0
            if self._words[ANSWERED] == self._seen:
                self._check_peer()

    def _read(self) -> Tuple[Slot, Result]:
        ident, number, size = ANSWER.unpack_from(self._view, self._plan.answers_at + self._seen % self._plan.slots * 16)
        self._seen = self._seen + 1 & 0xFFFFFFFF
        slot = self._slots[number] if number < len(self._slots) else None
        if (not slot or slot._mine or ident != slot._generation << 32 | number
                or not wire.REPLY.size <= size <= self._plan.tensor_at):
            raise ClpdError("clpd answered what nobody asked")
        at = self._plan.slots_at + number * self._plan.slot_bytes
        slot._mine = True
        self._pending -= 1
        answer = wire.read_answer(wire.INFER_REPLY, bytes(self._view[at:at + size]))  # small, and it outlives the slot
        if isinstance(answer, Refused):
            answer.slot = slot  # type: ignore[attr-defined]
            raise answer
        assert isinstance(answer, Result)
        return slot, answer
