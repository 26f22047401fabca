"""The Python client against the real daemon: the answers of the tests' own reading of the protocol, bit for bit."""
import array
import asyncio
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

from harness import F32, ROOT, SIGNS, U8, Daemon, read_npy, wait_for

sys.path.insert(0, str(ROOT / "client" / "python"))
import clpd  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None
try:
    import PIL
except ImportError:
    PIL = None

SIZE = 48 * 48 * 3


class Python(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(limits__queue=64, limits__inflight=8, limits__request_bytes="1M").start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        cls.images = bytes(read_npy(SIGNS / "data/heldout-images.npy")[1])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def picture(self, i, n=1):
        return memoryview(self.images)[i * SIZE:(i + n) * SIZE].cast("B", [n, 48, 48, 3])

    def client(self):
        return clpd.Client(self.daemon.socket)

    def expect(self, dims, data, fmt, top_k=0):
        with self.daemon.client() as c:
            return c.infer("signs", dims, data, fmt, top_k=top_k)

    def assert_same(self, result, reply):
        self.assertEqual(result.scores.tobytes(), reply.scores.tobytes())
        self.assertEqual([[tuple(best) for best in row] for row in result.top], reply.top)
        self.assertEqual((result.items, result.classes, result.sha256), (reply.items, reply.classes, reply.sha256))

    def test_answers_are_those_of_the_protocol(self):
        floats = array.array("f", (x / 7 for x in range(SIZE)))
        with self.client() as c:
            self.assert_same(c.infer("signs", self.picture(0, 2), top_k=3),
                             self.expect((2, 48, 48, 3), self.picture(0, 2).tobytes(), U8, 3))
            self.assert_same(c.infer("signs", floats, (1, 3, 48, 48), top_k=1),
                             self.expect((1, 3, 48, 48), floats.tobytes(), F32, 1))
            self.assert_same(c.infer("signs", floats.tobytes(), (1, 3, 48, 48), clpd.F32),
                             self.expect((1, 3, 48, 48), floats.tobytes(), F32))

    def test_pictures_as_arrays_and_as_bytes(self):
        want = self.expect((1, 48, 48, 3), self.picture(5).tobytes(), U8, 3).top
        with self.client() as c:
            one = memoryview(self.picture(5).tobytes()).cast("B", [48, 48, 3])
            for picture in (one, self.picture(5), self.picture(5).tobytes(), bytearray(self.picture(5).tobytes())):
                self.assertEqual([[tuple(b) for b in row] for row in c.classify("signs", picture, 3).top], want)
            self.assertEqual(len(c.classify("", self.images[:4 * SIZE]).top), 4)  # the only model

    @unittest.skipUnless(numpy, "SKIP: NumPy is missing")
    def test_numpy_arrays_go_in_and_come_out(self):
        pictures = numpy.frombuffer(self.images, numpy.uint8).reshape(-1, 48, 48, 3)
        with self.client() as c:
            result = c.infer("signs", pictures[:6:2])  # not contiguous
            self.assertEqual(result.array().shape, (3, result.classes))
            self.assertEqual(result.array().tobytes(), result.scores.tobytes())
            self.assertEqual(c.infer("signs", pictures[4:5]).items, 1)
            with self.assertRaises(TypeError):
                c.infer("signs", numpy.zeros((1, 3, 48, 48)))

    @unittest.skipUnless(PIL, "SKIP: Pillow is missing")
    def test_png_files_are_decoded(self):
        with self.client() as c:
            self.assertEqual(len(c.classify("signs", (SIGNS / "data/stop.png").read_bytes(), 2).top[0]), 2)

    def test_many_under_way_are_matched_by_id(self):
        with self.client() as c:  # the answers are more than sockets hold: who only writes stands still
            ids = {c.submit("signs", self.picture(i % 10, 8), top_k=43): i % 10 for i in range(100)}
            last = max(ids)
            got = {last: c.collect(last)[1]}
            while c.pending():
                ident, result = c.collect()
                got[ident] = result
            self.assertEqual(got.keys(), ids.keys())
            first = {}
            for ident, i in ids.items():
                alone = first.setdefault(i, got[ident].scores)
                self.assertTrue(all(abs(a - b) < 1e-3 for a, b in zip(alone, got[ident].scores)))
            self.assertNotEqual(first[0], first[1])
            with self.assertRaises(ValueError):
                c.collect()

    def test_refusals_have_classes_and_the_connection_goes_on(self):
        with self.client() as c:
            with self.assertRaises(clpd.NoModel):
                c.infer("nobody", self.picture(0))
            with self.assertRaises(clpd.NoModel):
                c.classify("nobody", self.picture(0).tobytes())
            with self.assertRaisesRegex(clpd.BadShape, "48"):
                c.infer("signs", bytes(27), (1, 3, 3, 3))
            with self.assertRaises(clpd.TooLarge):
                c.infer("signs", bytes(300 * SIZE), (300, 48, 48, 3))
            for wrong in (lambda: c.infer("signs", bytes(5), (1, 2)), lambda: c.infer("x" * 64, self.picture(0)),
                          lambda: c.infer("signs", self.picture(0), top_k=1001), lambda: c.classify("signs", b"12"),
                          lambda: c.infer("signs", self.picture(0), deadline=0), lambda: c.collect(999)):
                self.assertRaises(ValueError, wrong)
            self.assertEqual(c.infer("signs", self.picture(0)).items, 1)

    def test_documents(self):
        with self.client() as c:
            self.assertEqual(c.status()["models"], 1)
            self.assertEqual(c.models()["models"][0]["name"], "signs")

    def test_a_daemon_that_is_full_or_late(self):
        """What a real one says only under load, by one that always says it."""
        from harness import BUSY, DEADLINE, ERROR, HEADER, INFER_REPLY, MAGIC, REPLY
        path = pathlib.Path(tempfile.mkdtemp(prefix="clpd-python-")) / "s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()

        def refuse(kind, ident, status):
            return HEADER.pack(MAGIC, 1, kind, 0, ident, REPLY.size + 3, 0) + REPLY.pack(
                status, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, bytes(32), 0) + b"no\0"

        def serve():
            s, _ = listener.accept()  # full: refused before a word
            s.sendall(refuse(ERROR, 0, BUSY))
            s.close()
            s, _ = listener.accept()
            s.recv(1 << 16)
            s.sendall(refuse(INFER_REPLY, 2, DEADLINE))
            s.recv(1)
            s.close()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        with clpd.Client(path) as c:
            with self.assertRaises(clpd.Busy):
                c.infer("m", bytes(4), (1, 4))
            with self.assertRaisesRegex(clpd.Deadline, "no"):
                c.infer("m", bytes(4), (1, 4))
        server.join()
        listener.close()
        os.unlink(path)
        os.rmdir(path.parent)

    def test_it_connects_again(self):
        d = Daemon()
        c = clpd.Client(d.socket)
        self.assertRaises(clpd.ConnectionLost, c.status)
        self.assertRaises(ConnectionError, c.status)

        async def through(client):
            with self.assertRaises(clpd.ConnectionLost):
                await client.status()

        asyncio.run(through(clpd.AsyncClient(d.socket)))
        d.start()
        try:
            before = c.status()["pid"]
            d.process.terminate()
            self.assertEqual(d.process.wait(60), 0)
            d.start()
            self.assertRaises(clpd.ConnectionLost, c.status)
            self.assertNotEqual(c.status()["pid"], before)
        finally:
            c.close()
            d.stop()

    def test_tasks_share_a_connection(self):
        want = {i: self.expect((1, 48, 48, 3), self.picture(i).tobytes(), U8).scores for i in range(4)}

        async def run():
            async with clpd.AsyncClient(self.daemon.socket) as c:
                results = await asyncio.gather(*(c.infer("signs", self.picture(i % 4)) for i in range(40)))
                for i, r in enumerate(results):
                    self.assertTrue(all(abs(a - b) < 1e-3 for a, b in zip(r.scores, want[i % 4])))
                alone = await c.infer("signs", self.picture(2))
                self.assertEqual(alone.scores.tobytes(), want[2].tobytes())
                self.assertEqual(len((await c.classify("signs", self.picture(0).tobytes(), 2)).top[0]), 2)
                gone = asyncio.ensure_future(c.infer("signs", self.picture(0, 60)))
                await asyncio.sleep(0)
                gone.cancel()
                with self.assertRaises(clpd.BadShape):
                    await c.infer("signs", bytes(27), (1, 3, 3, 3))
                with self.assertRaises(clpd.NoModel):
                    await c.classify("nobody", self.picture(0).tobytes())
                self.assertEqual((await c.models())["models"][0]["name"], "signs")
                self.assertEqual((await c.status())["connections"], 1)

        wait_for("other connections to end", lambda: self.daemon.status()["connections"] == 1)
        asyncio.run(run())

    def test_the_camera_example_runs(self):
        example = ROOT / "client/python/examples/camera.py"
        done = subprocess.run([sys.executable, "-B", example, "signs", "3", self.daemon.socket], capture_output=True,
                              text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT / "client/python")})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 3)


class Package(unittest.TestCase):
    def test_the_wheel_is_whole(self):
        """What pip makes of the folder; imported out of the archive."""
        with tempfile.TemporaryDirectory() as folder:
            code = ("import sys; sys.path.insert(0, sys.argv[1]); import build_wheel; "
                    "sys.path[0] = sys.argv[2] + '/' + build_wheel.build_wheel(sys.argv[2]); "
                    "import clpd, importlib.metadata as m; print(clpd.__file__, clpd.__version__, m.version('clpd'))")
            done = subprocess.run([sys.executable, "-BIc", code, ROOT / "client/python", folder], capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            path, version, of_metadata = done.stdout.split()
            self.assertIn(".whl", path)
            self.assertEqual(version, of_metadata)
