"""The stream protocol against the real daemon: right answers, clear refusals, nothing taken down."""
import array
import os
import struct
import threading
import unittest

from harness import (BAD_FRAME, BAD_REQUEST, BAD_SHAPE, BUSY, DEADLINE, ERROR, F32, HEADER, INFER, INFER_REPLY, MAGIC,
                     NO_MODEL, OK, SIGNS, TOO_LARGE, U8, Client, Daemon, argmax_rows, read_npy, wait_for)

DIMS = (1, 3, 48, 48)
ZEROS = bytes(4 * 3 * 48 * 48)


class Serving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(limits__queue=64, limits__inflight=64, limits__request_bytes="1M").start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.drop(SIGNS / "models/signs-clean.folded.onnx", "folded", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        cls.daemon.wait_serving("folded")
        cls.shape, cls.images = read_npy(SIGNS / "data/heldout-images.npy")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def picture(self, i):
        size = 48 * 48 * 3
        return self.images[i * size:(i + 1) * size].tobytes()

    def assert_alive(self):
        with self.daemon.client() as c:
            self.assertEqual(c.infer("signs", DIMS, ZEROS).status, OK)

    def test_labels_and_probabilities(self):
        with self.daemon.client() as c:
            reply = c.infer("signs", (1, 48, 48, 3), self.picture(0), U8, top_k=3)
        self.assertEqual(reply.status, OK)
        row = reply.top[0]
        self.assertEqual(len(row), 3)
        self.assertEqual(row[0][0], argmax_rows((1, reply.classes), reply.scores)[0])
        self.assertEqual([r[1] for r in row], sorted(reply.scores, reverse=True)[:3])
        self.assertTrue(all(0 <= r[2] <= 1 and r[3] for r in row))
        self.assertGreater(reply.version, 0)
        self.assertGreater(reply.compute_ns, 0)

    def test_bytes_and_floats_are_one_picture(self):
        mean, std = self.normalisation()
        planes = array.array("f")
        for ch in range(3):
            planes.extend((p / 255 - mean[ch]) / std[ch] for p in self.picture(3)[ch::3])
        with self.daemon.client() as c:
            a = c.infer("signs", (1, 48, 48, 3), self.picture(3), U8)
            b = c.infer("signs", DIMS, planes.tobytes(), F32)
        self.assertTrue(all(abs(x - y) < 1e-4 * max(map(abs, b.scores)) for x, y in zip(a.scores, b.scores)))

    def normalisation(self):
        lines = (SIGNS / "models/signs.yaml").read_text().splitlines()
        pick = lambda key: [float(x) for x in next(l for l in lines if l.strip().startswith(key)).split("[")[1].split("]")[0].split(",")]
        return pick("mean:"), pick("std:")

    def test_pipelined_requests_to_two_models(self):
        with self.daemon.client() as c:
            sent = {c.send_infer("signs" if i % 2 else "folded", (1, 48, 48, 3), self.picture(i), U8): i for i in range(32)}
            replies = {}
            for _ in sent:
                r = c.receive()
                replies[sent[r.id]] = r
        self.assertEqual({r.status for r in replies.values()}, {OK})
        with self.daemon.client() as c:
            for i in (0, 7, 31):
                alone = c.infer("signs" if i % 2 else "folded", (1, 48, 48, 3), self.picture(i), U8)
                worst = max(abs(a - b) for a, b in zip(alone.scores, replies[i].scores))
                self.assertLess(worst, 1e-4 * max(map(abs, alone.scores)))

    def test_a_batch_larger_than_the_largest(self):
        n = 21
        with self.daemon.client() as c:
            many = c.infer("signs", (n, 48, 48, 3), b"".join(self.picture(i) for i in range(n)), U8, top_k=1)
            self.assertEqual((many.status, many.items, len(many.scores)), (OK, n, n * many.classes))
            for i in (0, 8, 20):
                self.assertEqual(many.top[i][0][0], c.infer("signs", (1, 48, 48, 3), self.picture(i), U8, top_k=1).top[0][0][0])

    def test_one_byte_at_a_time(self):
        with self.daemon.client() as c:
            small = HEADER.pack(MAGIC, 1, 3, 0, 77, 0, 0)
            for b in small:
                c.socket.sendall(bytes([b]))
            self.assertEqual(c.receive().id, 77)

    def test_refusals_where_the_stream_goes_on(self):
        cases = [("nothing", DIMS, ZEROS, F32, NO_MODEL, "nothing"),
                 ("signs", (1, 3, 32, 32), bytes(4 * 3 * 32 * 32), F32, BAD_SHAPE, "48"),
                 ("signs", (1, 32, 32, 3), bytes(3 * 32 * 32), U8, BAD_SHAPE, "48"),
                 ("signs", DIMS, ZEROS[:-4], F32, BAD_SHAPE, ""),
                 ("signs", DIMS, ZEROS + b"more", F32, BAD_SHAPE, ""),
                 ("signs", (0, 3, 48, 48), b"", F32, BAD_SHAPE, ""),
                 ("signs", (2**31, 3, 48, 48), ZEROS, F32, BAD_SHAPE, ""),
                 ("signs", DIMS, ZEROS, 9, BAD_REQUEST, "format"),
                 ("signs", (64, 3, 48, 48), bytes(64 * 4 * 3 * 48 * 48), F32, TOO_LARGE, "request_bytes")]
        with self.daemon.client() as c:
            for model, dims, data, fmt, status, words in cases:
                reply = c.infer(model, dims, data, fmt)
                self.assertEqual(reply.status, status, f"{dims} {fmt}: {reply.text}")
                self.assertIn(words, reply.text)
                self.assertEqual(c.infer("signs", DIMS, ZEROS).status, OK, "the stream goes on")
            ident = c.send(99, b"some body")
            reply = c.receive()
            self.assertEqual((reply.id, reply.status), (ident, BAD_REQUEST))
            self.assertEqual(c.infer("signs", DIMS, ZEROS).status, OK)

    def assert_closed(self, send):
        with self.daemon.client() as c:
            try:
                send(c)
                reply = c.receive()
                self.assertEqual(reply.kind, ERROR)
                self.assertIn(reply.status, (BAD_FRAME, TOO_LARGE))
                self.assertTrue(reply.text)
                c.receive()
            except ConnectionError:
                pass
            else:
                self.fail("the connection stays open")
        self.assert_alive()

    def test_what_closes_a_connection(self):
        self.assert_closed(lambda c: c.send(INFER, ZEROS, magic=0xDEADBEEF))
        self.assert_closed(lambda c: c.send(INFER, b"", version=9))
        self.assert_closed(lambda c: c.send(INFER, b"", size=2**63))
        self.assert_closed(lambda c: c.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))

    def test_random_bytes(self):
        for _ in range(50):
            with self.daemon.client() as c:
                try:
                    c.socket.sendall(os.urandom(4096))
                    while c.socket.recv(4096):
                        pass
                except OSError:
                    pass
        self.assert_alive()

    def test_a_client_that_leaves_in_the_middle(self):
        for cut in (1, 31, 32, 100, 128, 5000):
            with self.daemon.client() as c:
                header = HEADER.pack(MAGIC, 1, INFER, 0, 1, 96 + len(ZEROS), 0)
                c.socket.sendall((header + b"signs".ljust(64, b"\0") + struct.pack("<IHBB6I", 0, 0, 1, 0, *DIMS, 0, 0) + ZEROS)[:cut])
        for _ in range(20):  # and with answers on the way
            with self.daemon.client() as c:
                for _ in range(16):
                    c.send_infer("signs", DIMS, ZEROS)
        self.assert_alive()
        wait_for("the dead clients' requests to be gone", lambda: self.daemon.status()["queue"] == 0)

    def test_full_queue_answers_busy(self):
        # 64 requests may wait: 24 clients with 16 each are too many, and each gets an answer to every one.
        statuses, lock = [], threading.Lock()

        def flood():
            with self.daemon.client() as c:
                for _ in range(16):
                    c.send_infer("signs", (8, 3, 48, 48), ZEROS * 8)
                got = [c.receive().status for _ in range(16)]
            with lock:
                statuses.extend(got)

        threads = [threading.Thread(target=flood) for _ in range(24)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(statuses), 24 * 16)
        self.assertEqual(set(statuses) - {OK, BUSY}, set())
        self.assertIn(BUSY, statuses)
        self.assertIn(OK, statuses)
        self.assert_alive()

    def test_expired_deadline_is_not_computed(self):
        with self.daemon.client() as c:
            idents = [c.send_infer("signs", (8, 3, 48, 48), ZEROS * 8) for _ in range(20)]
            late = c.send_infer("signs", DIMS, ZEROS, timeout_us=1)
            replies = {r.id: r for r in (c.receive() for _ in range(21))}
        self.assertEqual(replies[late].status, DEADLINE)
        self.assertEqual({replies[i].status for i in idents}, {OK})


if __name__ == "__main__":
    unittest.main()
