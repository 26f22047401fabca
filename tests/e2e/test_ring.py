"""Shared-memory rings against the real daemon: the stream's answers, hostile and dead clients, swaps."""
import array
import pathlib
import random
import signal
import struct
import subprocess
import sys
import threading
import unittest

from harness import (BAD_SHAPE, DEADLINE, F32, HEADER, NO_MODEL, OK, SIGNS, U8, Daemon, Hammer, read_npy,
                     wait_for, worst_difference)
from ring import ANSWERED, CLOSED, SUBMITTED, Refused, Ring
from test_swap import file_with_note

DIMS = (1, 3, 48, 48)
ZEROS = bytes(4 * 3 * 48 * 48)


class RingHammer(threading.Thread):
    """As harness.Hammer, over a ring."""

    def __init__(self, path, model, dims, tensor, fmt, inflight=4):
        super().__init__(daemon=True)
        self.args, self.inflight, self.stopping = (model, dims, tensor, fmt), inflight, threading.Event()
        self.path, self.answered, self.failures, self.seen = path, 0, [], {}

    def run(self):
        try:
            with Ring(self.path) as r:
                for slot in range(self.inflight):
                    r.submit(slot, *self.args)
                waiting = self.inflight
                while waiting:
                    reply = r.receive()
                    Hammer.note(self, reply)
                    waiting -= 1
                    if not self.stopping.is_set():
                        r.submit(reply.slot, *self.args)
                        waiting += 1
        except Exception as e:  # a lost ring is a failed request
            self.failures.append(repr(e))


class Rings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(limits__request_bytes="1M", limits__rings=24).start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        _, cls.images = read_npy(SIGNS / "data/heldout-images.npy")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def picture(self, i):
        size = 48 * 48 * 3
        return self.images[i * size:(i + 1) * size].tobytes()

    def assert_alive(self):
        with Ring(self.daemon.socket) as r, self.daemon.client() as c:
            self.assertEqual(r.infer("signs", DIMS, ZEROS).status, OK)
            self.assertEqual(c.infer("signs", DIMS, ZEROS).status, OK)

    def test_one_user_sees_nothing_of_another(self):
        """Marks that one client leaves in tensors appear in no memory that another client gets to see."""
        mark = struct.pack("<f", 0.7853981)
        with Ring(self.daemon.socket) as r, self.daemon.client() as c:
            for slot in range(8):
                self.assertEqual(r.infer("signs", DIMS, mark * (len(ZEROS) // 4), slot=slot).status, OK)
                self.assertEqual(c.infer("signs", DIMS, mark * (len(ZEROS) // 4)).status, OK)
            self.assertIn(mark, r.memory[:])
        with Ring(self.daemon.socket) as r:
            self.assertNotIn(mark, r.memory[:])
            for slot in range(8):
                self.assertEqual(r.infer("signs", DIMS, ZEROS, slot=slot, top_k=3).status, OK)
            self.assertNotIn(mark, r.memory[:])
        with self.daemon.client() as c:
            ident = c.send_infer("signs", DIMS, ZEROS, top_k=3)
            whole = c.receive_exactly(HEADER.size)
            whole += c.receive_exactly(HEADER.unpack(whole)[5])
            self.assertEqual(HEADER.unpack(whole[:HEADER.size])[4], ident)
            self.assertNotIn(mark, whole)

    def test_the_streams_answers_bit_for_bit(self):
        floats = array.array("f", [((i * 37) % 255) / 255 - 0.5 for i in range(3 * 48 * 48)]).tobytes()
        with Ring(self.daemon.socket) as r, self.daemon.client() as c:
            asks = [("signs", (1, 48, 48, 3), self.picture(i), U8) for i in range(16)] + [("signs", DIMS, floats, F32)]
            for i, ask in enumerate(asks):
                a, b = r.infer(*ask, slot=i % 8, top_k=3), c.infer(*ask, top_k=3)
                self.assertEqual((a.status, b.status), (OK, OK))
                self.assertEqual(a.scores.tobytes(), b.scores.tobytes())
                self.assertEqual((a.top, a.version, a.sha256), (b.top, b.version, b.sha256))

    def test_batches_and_pipelines(self):
        with Ring(self.daemon.socket, slots=16, tensor_bytes=3 * len(ZEROS)) as r:
            for round_ in range(5):
                for slot in range(16):
                    n = 1 + slot % 3
                    r.submit(slot, "signs", (n, 48, 48, 3), b"".join(self.picture(slot + k) for k in range(n)), U8)
                got = {r.receive().slot for _ in range(16)}
                self.assertEqual(got, set(range(16)))

    def test_refusals_cost_one_request(self):
        with Ring(self.daemon.socket) as r:
            self.assertEqual(r.infer("nothing", DIMS, ZEROS).status, NO_MODEL)
            reply = r.infer("signs", (1, 3, 32, 32), ZEROS)
            self.assertEqual(reply.status, BAD_SHAPE)
            self.assertIn("48", reply.text)
            self.assertEqual(r.infer("signs", DIMS, ZEROS).status, OK)
        with self.assertRaises(Refused):
            Ring(self.daemon.socket, slots=5)

    def test_hostile_clients_harm_themselves(self):
        for n in (1, 8, 2**31, 2**32 - 1):  # slots that don't exist
            with Ring(self.daemon.socket) as r:
                r.submit(n if n > 7 else 7, "signs", DIMS, ZEROS, reserved=0 if n > 7 else 1)
                wait_for("the ring to be closed", lambda: r.word(CLOSED))
        for jump in (9, 1000, 2**31, 2**32 - 5):  # more requests than slots
            with Ring(self.daemon.socket) as r:
                r.put_word(SUBMITTED, jump)
                r.ring()
                wait_for("the ring to be closed", lambda: r.word(CLOSED))
        self.assert_alive()

    def test_random_memory(self):
        dice = random.Random(7)
        for _ in range(30):
            with Ring(self.daemon.socket, slots=4, tensor_bytes=len(ZEROS)) as r:
                for _ in range(20):
                    at = dice.randrange(0, r.slots_at - 8)
                    r.memory[at:at + 8] = dice.randbytes(8)
                    r.put_word(SUBMITTED, r.word(SUBMITTED) + dice.randrange(3))
                    r.ring()
        self.assert_alive()

    def test_requests_changed_under_way(self):
        """Another thread scribbles over the request and the reply all the time."""
        with Ring(self.daemon.socket, slots=8) as r:
            done = threading.Event()

            def scribble():
                dice = random.Random(3)
                while not done.is_set():
                    at = r.requests_at + dice.randrange(8) * 128 + dice.choice([16, 32 + 72, 32 + 76, 32 + 68])
                    struct.pack_into("<I", r.memory, at, dice.choice([0, 1, 3, 48, 2**31, 2**32 - 1]))
                    at = r.slots_at + dice.randrange(8) * r.slot_bytes + 4 * dice.randrange(100)
                    struct.pack_into("<I", r.memory, at, 0xFFFFFFFF)

            t = threading.Thread(target=scribble)
            t.start()
            try:
                for i in range(300):
                    if r.word(CLOSED):
                        break
                    r.submit(i % 8, "signs", DIMS, ZEROS, top_k=5)
                    wait_for("an answer, or the end", lambda: r.word(ANSWERED) == r.submitted or r.word(CLOSED))
            finally:
                done.set()
                t.join()
        self.assert_alive()

    def test_dead_clients_are_cleared_away(self):
        script = ("import sys, time; sys.path.insert(0, sys.argv[1]); from ring import *\n"
                  "rings = [Ring(sys.argv[2]) for _ in range(4)]\n"
                  "while True:\n"
                  "    for r in rings:\n"
                  "        for s in range(8):\n"
                  "            r.submit(s, 'signs', (1, 3, 48, 48), bytes(27648))\n"
                  "        print('.', flush=True)\n"
                  "        for s in range(8): r.receive()\n")
        before = self.daemon.descriptors()
        for _ in range(3):
            p = subprocess.Popen([sys.executable, "-B", "-c", script, str(pathlib.Path(__file__).parent),
                                  str(self.daemon.socket)], stdout=subprocess.PIPE)
            for _ in range(3):
                self.assertTrue(p.stdout.readline())
            p.send_signal(signal.SIGKILL)
            p.wait()
            p.stdout.close()
            wait_for("its rings to be gone",
                     lambda: (s := self.daemon.status())["rings"] == 0 and s["queue"] == 0)
        wait_for("its descriptors to be closed", lambda: self.daemon.descriptors() <= before)
        self.assert_alive()

    def test_who_reads_nothing(self):
        with Ring(self.daemon.socket) as r:
            for _ in range(50):
                r.submit(0, "signs", DIMS, ZEROS)
                wait_for("the answer", lambda: r.word(ANSWERED) == r.submitted)
            self.assert_alive()

    def test_limit_of_rings(self):
        rings = []
        try:
            with self.assertRaises(Refused) as refusal:
                for _ in range(25):
                    rings.append(Ring(self.daemon.socket))
            self.assertIn("limits.rings", refusal.exception.args[1])
            self.assertEqual(len(rings), 24)
        finally:
            for r in rings:
                r.close()
        wait_for("the rings to be gone", lambda: self.daemon.status()["rings"] == 0)

    def test_deadlines(self):
        with Ring(self.daemon.socket, slots=16, tensor_bytes=8 * len(ZEROS)) as r:
            for slot in range(15):
                r.submit(slot, "signs", (8, 3, 48, 48), ZEROS * 8)
            r.submit(15, "signs", DIMS, ZEROS, timeout_us=1)
            statuses = {reply.slot: reply.status for reply in (r.receive() for _ in range(16))}
        self.assertEqual(statuses.pop(15), DEADLINE)
        self.assertEqual(set(statuses.values()), {OK})


class Swaps(unittest.TestCase):
    def test_swaps_under_rings_and_streams(self):
        networks = [SIGNS / "models/signs-clean.onnx", SIGNS / "models/signs-backdoor.onnx"]
        tensor = array.array("f", [((i * 37) % 255) / 255 - 0.5 for i in range(3 * 48 * 48)]).tobytes()
        with Daemon() as d:
            d.drop(file_with_note(networks[0], 0), "signs")
            version = d.wait_serving("signs", 0)["version"]
            clients = [(RingHammer if i % 2 else Hammer)(d.socket, "signs", DIMS, tensor, F32) for i in range(6)]
            for c in clients:
                c.start()
            for k in range(1, 13):
                d.drop(file_with_note(networks[k % 2], k), "signs")
                version = d.wait_serving("signs", version)["version"]
            for c in clients:
                c.stopping.set()
            for c in clients:
                c.join()
            self.assertEqual([f for c in clients for f in c.failures][:5], [])
            self.assertTrue(all(c.answered for c in clients))
            answers = {}
            for c in clients:  # one file gives one answer, whichever way it was asked
                for seen, scores in c.seen.items():
                    self.assertLess(worst_difference(scores, answers.setdefault(seen, scores)), 1e-5)
            self.assertEqual(d.status()["counters"]["errors"], 0)


if __name__ == "__main__":
    unittest.main()
