"""A client of the shared-memory ring in Python, as client/ring.h describes it."""
import mmap
import os
import socket
import struct
import time

from harness import ERROR, HEADER, INFER_BODY, MAGIC, PATIENCE, F32, Client, Reply, INFER_REPLY

RING_OPEN, RING_REPLY = 16, 17
OPEN = struct.Struct("<IIQQQ")
INFO = struct.Struct("<IIQIIQQQQQ")
REQUEST = struct.Struct("<QIIQQ")
ANSWER = struct.Struct("<QII")
SUBMITTED, CLIENT_SLEEPS, ANSWERED, DAEMON_SLEEPS, CLOSED = 128, 256, 384, 512, 640


class Refused(Exception):
    pass


class Ring:
    def __init__(self, path, slots=8, tensor_bytes=1 << 16, reply_bytes=0):
        self.client = Client(path)
        self.client.send(RING_OPEN, OPEN.pack(slots, 0, tensor_bytes, reply_bytes, 0))
        data, fds, _, _ = socket.recv_fds(self.client.socket, HEADER.size, 2)
        magic, _, kind, _, ident, size, _ = HEADER.unpack(data)
        assert magic == MAGIC
        body = self.client.receive_exactly(size)
        if kind == ERROR:
            reply = Reply(INFER_REPLY, ident, body)
            raise Refused(reply.status, reply.text)
        assert kind == RING_REPLY and len(fds) == 2, (kind, fds)
        (_, self.slots, self.bytes, self.requests_at, self.answers_at, self.slots_at, self.slot_bytes, self.tensor_at,
         self.tensor_room, _) = INFO.unpack(body)
        self.memory = mmap.mmap(fds[0], self.bytes)
        self.words = memoryview(self.memory).cast("I")  # struct would write a counter byte by byte
        os.close(fds[0])
        self.bell = fds[1]
        self.submitted = self.seen = 0

    def close(self):
        self.client.close()
        os.close(self.bell)
        self.words.release()
        self.memory.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def word(self, at):
        return self.words[at // 4]

    def put_word(self, at, n):
        self.words[at // 4] = n & 0xFFFFFFFF

    def submit(self, slot, model, dims, tensor, fmt=F32, top_k=0, scores=True, timeout_us=0, size=None, reserved=0):
        dims = list(dims) + [0] * (6 - len(dims))
        if slot < self.slots:
            at = self.slots_at + slot * self.slot_bytes + self.tensor_at
            self.memory[at:at + len(tensor)] = bytes(tensor)
        request = REQUEST.pack(slot + 5000, slot, reserved, len(tensor) if size is None else size, 0)
        infer = INFER_BODY.pack(model.encode(), timeout_us, top_k, 1 if scores else 0, fmt, *dims)
        at = self.requests_at + self.submitted % self.slots * 128
        self.memory[at:at + 128] = request + infer
        self.submitted += 1
        self.put_word(SUBMITTED, self.submitted)
        self.ring()

    def ring(self):
        os.write(self.bell, struct.pack("<Q", 1))  # always: Python has no fences

    def receive(self):
        end = time.monotonic() + PATIENCE
        while self.word(ANSWERED) == self.seen & 0xFFFFFFFF:
            if self.word(CLOSED) or time.monotonic() > end:
                raise ConnectionError(f"the ring is closed: {self.word(CLOSED)}")
            time.sleep(0.0001)
        ident, slot, size = ANSWER.unpack_from(self.memory, self.answers_at + self.seen % self.slots * 16)
        self.seen += 1
        at = self.slots_at + slot * self.slot_bytes
        body = bytes(self.memory[at:at + size])
        reply = Reply(INFER_REPLY, ident, body)
        reply.slot, reply.body = slot, body
        return reply

    def infer(self, *args, slot=0, **kwargs):
        self.submit(slot, *args, **kwargs)
        reply = self.receive()
        assert reply.id == slot + 5000 and reply.slot == slot
        return reply
