"""Bad input by every way in: the right status where one can be given, and the daemon goes on."""
import json
import os
import random
import socket
import unittest

from fixture import SIZE, TENSOR, Curl, Served, request
from harness import F32, OK, PATIENCE, SIGNS, wait_for

INFER = b"POST /v2/models/signs/infer HTTP/1.1\r\nHost: x\r\n"


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Served.take()
        cls.curl = Curl(["--unix-socket", str(cls.daemon.folder / "http.sock")], "http://clpd")

    @classmethod
    def tearDownClass(cls):
        Served.give()

    def tearDown(self):
        self.assertEqual(self.curl("/v2/models/signs/infer", body=request()).status, 200)
        self.assertIsNone(self.daemon.process.poll())

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(str(self.daemon.folder / "http.sock"))
        return s

    def say(self, data, end=True):
        """Everything that comes back until the other side closes."""
        with self.connect() as s:
            try:
                s.sendall(data)
                if end:
                    s.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            got = b""
            try:
                while part := s.recv(1 << 16):
                    got += part
            except OSError:
                pass
            return got

    def status(self, data):
        first = self.say(data).split(b"\r\n", 1)[0].split()
        return int(first[1]) if len(first) > 1 else None

    def infer_status(self, body, **headers):
        return self.curl("/v2/models/signs/infer", body=body, headers=headers).status

    def test_json_that_is_none(self):
        good = json.dumps(request()).encode()
        bad = [b"[" * 10000 + b"]" * 10000, b'{"a":' * 10000, b"{" * 100000, good[:-1], good + b"}", b"\xff\xfe" + good,
               good.replace(b"1.5", b"NaN", 1), good.replace(b"1.5", b"Infinity", 1), good.replace(b"1.5", b"1e999", 1),
               good.replace(b"1.5", b"0x10", 1), good.replace(b"1.5", b"01", 1), good.replace(b"1.5", b"null", 1),
               good.replace(b"1.5", b'"1.5"', 1), good.replace(b"1.5", b"1" * 1000, 1), b'"' + b"a" * 100000,
               b'{"inputs":[{"name":"\\ud800"}]}', good.replace(b'"input"', b'"in\\u0000put"')]
        for body in bad:
            self.assertEqual(self.infer_status(body), 400, body[:60])

    def test_deep_nesting_that_nobody_asked_for(self):
        good = json.dumps(request())
        self.assertEqual(self.infer_status((good[:-1] + ',"x":' + "[" * 10000 + "]" * 10000 + "}").encode()), 400)
        self.assertEqual(self.infer_status((good[:-1] + ',"x":' + "[" * 60 + "]" * 60 + "}").encode()), 200)

    def test_shapes(self):
        for shape in ([], [0], [-1, 3, 48, 48], [1, 3, 48], [1, 3, 48, 48, 1], [1] * 7, [2 ** 32], [2 ** 31] * 2,
                      [1.5, 3, 48, 48], ["1"], [2 ** 64], [[1]], {}, None, "1"):
            self.assertIn(self.infer_status(json.dumps(request(shape=shape)).encode()), (400, 413), shape)

    def test_numbers_out_of_range(self):
        for number in ("3.5e38", "-3.5e38", "1e39", "1e400", "1" + "0" * 40):
            body = json.dumps(request([0] * SIZE)).replace("0,", number + ",", 1).encode()
            self.assertEqual(self.infer_status(body), 400, number)
        body = json.dumps(request([0] * SIZE)).replace("[0,", "[1e-400,", 1).encode()
        self.assertEqual(self.infer_status(body), 200)  # rounds to 0
        self.assertEqual(self.infer_status(json.dumps(request([256] * SIZE, [1, 48, 48, 3], "UINT8")).encode()), 400)
        self.assertEqual(self.infer_status(json.dumps(request([-1] * SIZE, [1, 48, 48, 3], "UINT8")).encode()), 400)

    def test_endless_head(self):
        line = b"X-Long: " + b"a" * 1000 + b"\r\n"
        self.assertIn(self.status(b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + line * 1000), (400, 413, 431))
        self.assertIn(self.status(b"GET /" + b"a" * 100000), (400, 414, 431))
        self.assertIn(self.status(b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"x" * 100000), (400, 431))

    def test_lengths(self):
        for length in (b"-1", b"x", b"99999999999999999999999", b"1, 2"):
            self.assertIn(self.status(INFER + b"Content-Length: " + length + b"\r\n\r\n{}"), (400, 413), length)
        self.assertEqual(self.status(INFER + b"Content-Length: 999999999999\r\n\r\n{}"), 413)
        self.assertIn(self.status(INFER + b"Content-Length: 10\r\n\r\n{}"), (None, 400, 408))  # ends early

    def test_chunks(self):
        chunked = INFER + b"Transfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.status(chunked + b"2\r\n{}\r\n0\r\n\r\n"), 400)
        self.assertIn(self.status(chunked + b"zz\r\n{}\r\n0\r\n\r\n"), (None, 400))
        self.assertIn(self.status(chunked + b"FFFFFFFFFFFFFFFFF\r\n"), (None, 400, 413))
        body = b"10000\r\n" + b" " * 65536 + b"\r\n"
        self.assertEqual(self.status(chunked + body * 100 + b"0\r\n\r\n"), 413)
        self.assertIn(self.status(chunked + body * 1000), (None, 413))

    def test_pipelined_junk(self):
        get = b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        got = self.say(get * 50 + b"\r\n\r\n\0\1\2 nonsense\r\n\r\n")
        self.assertEqual(got.count(b'{"live":true}'), 50)
        got = self.say(get + INFER + b"Content-Length: 3\r\n\r\nabc" + get)
        self.assertEqual(got.count(b"HTTP/1.1 "), 3)

    def test_random_bytes(self):
        seed = random.Random(4)
        for _ in range(40):
            self.say(bytes(seed.randrange(256) for _ in range(seed.randrange(1, 2000))))
            self.say(INFER + b"Content-Length: 500\r\n\r\n" + bytes(seed.randrange(256) for _ in range(500)))

    def test_pictures(self):
        png = (SIGNS / "data/stop.png").read_bytes()
        seed = random.Random(5)
        classify = lambda body: self.curl("/v2/models/signs/classify", body=body).status
        for _ in range(15):
            broken = bytearray(png)
            for _ in range(seed.randrange(1, 30)):
                broken[seed.randrange(8, len(broken))] = seed.randrange(256)
            self.assertIn(classify(bytes(broken)), (200, 400))
        self.assertEqual(classify(png[:len(png) // 2]), 400)
        bomb = png[:16] + b"\x00\x00\x7f\xff\x00\x00\x7f\xff" + png[24:]  # 32767 x 32767, its check sum wrong
        self.assertEqual(classify(bomb), 400)
        self.assertEqual(classify(b"\x89PNG\r\n\x1a\n" + os.urandom(1 << 20)), 413)
        self.assertEqual(classify(b"\x89PNG\r\n\x1a\n" + os.urandom(1 << 19)), 400)

    def test_many_stalled_connections(self):
        stalled = []
        try:
            for i in range(200):
                s = self.connect()
                s.sendall((b"GET /v2 HTTP/1.1\r\nX: ", INFER + b"Content-Length: 100\r\n\r\n{", b"", INFER)[i % 4])
                stalled.append(s)
            for _ in range(20):
                self.assertEqual(self.curl("/v2/health/live").status, 200)
                with self.daemon.client() as c:
                    self.assertEqual(c.infer("signs", [1, 3, 48, 48], TENSOR.tobytes(), F32).status, OK)
        finally:
            for s in stalled:
                s.close()

    def test_clients_that_leave(self):
        body = json.dumps(request()).encode()
        whole = INFER + b"Content-Length: %d\r\n\r\n" % len(body) + body
        for cut in (10, 60, 200, len(whole) // 2, len(whole) - 1, len(whole)):
            for _ in range(5):
                with self.connect() as s:
                    s.sendall(whole[:cut])
        wait_for("all of their requests to be gone", lambda: self.daemon.status()["queue"] == 0)


if __name__ == "__main__":
    unittest.main()
