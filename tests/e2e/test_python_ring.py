"""The Python client's ring against the real daemon: the stream's answers, bit for bit, without a copy of the tensor;
nothing lost while both sides fall asleep and wake up all the time."""
import array
import os
import subprocess
import sys
import threading
import time
import unittest

from harness import F32, ROOT, SANITIZED, SIGNS, U8, Daemon, read_npy

sys.path.insert(0, str(ROOT / "client" / "python"))
import clpd  # noqa: E402
from clpd import ring as ring_module  # noqa: E402

try:
    import numpy
except ImportError:
    numpy = None

SIZE = 48 * 48 * 3


class PythonRing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(limits__inflight=64).start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        cls.images = bytes(read_npy(SIGNS / "data/heldout-images.npy")[1])

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def ring(self, **options):
        return clpd.Ring(self.daemon.socket, **{"tensor_bytes": SIZE * 4, **options})

    def picture(self, i):
        return self.images[i * SIZE:(i + 1) * SIZE]

    def expect(self, i, top_k=3):
        with self.daemon.client() as c:
            return c.infer("signs", (1, 48, 48, 3), self.picture(i), U8, top_k=top_k)

    def assert_same(self, result, reply):
        self.assertEqual(result.scores.tobytes(), reply.scores.tobytes())
        self.assertEqual([[tuple(b) for b in row] for row in result.top], reply.top)
        self.assertEqual((result.items, result.classes, result.sha256), (reply.items, reply.classes, reply.sha256))

    def test_one_after_the_other(self):
        floats = array.array("f", (x / 7 for x in range(SIZE)))
        with self.ring(slots=2) as ring, self.daemon.client() as c:
            for i in range(3):
                self.assert_same(ring.infer("signs", self.picture(i), (1, 48, 48, 3), top_k=3), self.expect(i))
            self.assert_same(ring.infer("signs", floats, (1, 3, 48, 48), top_k=1),
                             c.infer("signs", (1, 3, 48, 48), floats.tobytes(), F32, top_k=1))

    def test_written_in_place(self):
        with self.ring() as ring:
            slot = ring.take()
            view = slot.view((1, 48, 48, 3), U8)
            self.assertEqual((view.shape, view.format), ((1, 48, 48, 3), "B"))
            view[0, 0, 0, 0] = 7
            self.assertEqual(slot.memory[0], 7)
            slot.memory[:SIZE] = self.picture(1)
            ring.submit(slot, "signs", (1, 48, 48, 3), U8, top_k=3)
            again, result = ring.collect()
            self.assertIs(again, slot)
            self.assert_same(result, self.expect(1))
            self.assertEqual(bytes(slot.memory[:SIZE]), self.picture(1))  # the tensor stands still
            ring.submit(slot, "signs", (1, 48, 48, 3), U8, top_k=3)  # and may be asked for again
            self.assert_same(ring.collect()[1], self.expect(1))
            slot.give_back()

    @unittest.skipUnless(numpy, "SKIP: NumPy is missing")
    def test_numpy_sees_the_memory_itself(self):
        with self.ring() as ring:
            slot = ring.take()
            array = slot.array((1, 48, 48, 3), U8)
            array[...] = numpy.frombuffer(self.picture(2), numpy.uint8).reshape(1, 48, 48, 3)
            self.assertEqual(bytes(slot.memory[:SIZE]), self.picture(2))
            ring.submit(slot, "signs", (1, 48, 48, 3), U8, top_k=3)
            self.assert_same(ring.collect()[1], self.expect(2))
        self.assertEqual(array[0, 0, 0, 0], self.picture(2)[0])  # outlives the ring, and does no harm

    def test_many_under_way(self):
        want, many = [self.expect(i).top for i in range(8)], 100 if SANITIZED else 600
        with self.ring(slots=8) as ring:
            under_way, done = {}, 0
            for n in range(many):
                if ring.pending() == 8:
                    slot, result = ring.collect()
                    self.assertEqual([[b.index for b in row] for row in result.top],
                                     [[b[0] for b in row] for row in want[under_way.pop(slot.number)]])
                    slot.give_back()
                    done += 1
                slot = ring.take()
                slot.memory[:SIZE] = self.picture(n % 8)
                under_way[slot.number] = n % 8
                ring.submit(slot, "signs", (1, 48, 48, 3), U8, top_k=3, scores=False)
            with self.assertRaises(ValueError):
                ring.take()
            while ring.pending():
                ring.collect()[0].give_back()
                done += 1
            self.assertEqual(done, many)

    def test_no_wake_up_is_lost(self):
        """Both sides sleep before every request; one that is lost shows, since nothing else wakes clpd."""
        many = 60 if SANITIZED else 300
        errors = []

        def ask(seed):
            try:
                with self.ring(slots=1) as ring:
                    for n in range(many):
                        time.sleep((seed * 7919 + n * 104729) % 400 / 1e6)
                        slot = ring.take()
                        ring.submit(slot, "signs", (1, 48, 48, 3), U8, top_k=1, scores=False)
                        ring.collect(timeout=20)[0].give_back()
            except BaseException as e:  # noqa: B902 (told by the test)
                errors.append(e)
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(errors, [])

    def test_sleeps_by_futex_and_by_the_clock(self):
        for futex in (True, False):
            with self.ring(slots=1) as ring:
                if not futex:
                    ring._word = None
                looks, ring_module.LOOKS = ring_module.LOOKS, 0
                try:
                    self.assert_same(ring.infer("signs", self.picture(4), (1, 48, 48, 3), top_k=3), self.expect(4))
                finally:
                    ring_module.LOOKS = looks

    def test_refusals(self):
        with self.ring(slots=2) as ring:
            with self.assertRaises(clpd.NoModel):
                ring.infer("nobody", self.picture(0), (1, 48, 48, 3))
            with self.assertRaises(clpd.BadShape):
                ring.infer("signs", bytes(27), (1, 3, 3, 3))
            slot = ring.take()
            for wrong in (lambda: ring.submit(slot, "signs", (9, 48, 48, 3), U8),
                          lambda: ring.submit(slot, "x" * 64, (1, 48, 48, 3), U8),
                          lambda: ring.submit(ring._free[0], "signs", (1, 48, 48, 3), U8), ring.collect):
                self.assertRaises(ValueError, wrong)
            ring.submit(slot, "signs", (1, 48, 48, 3), U8)
            self.assertRaises(ValueError, slot.give_back)
            self.assertRaises(ValueError, ring.submit, slot, "signs", (1, 48, 48, 3), U8)
            ring.collect()[0].give_back()
            self.assertRaises(ValueError, slot.give_back)
            self.assertEqual(ring.infer("signs", self.picture(0), (1, 48, 48, 3)).items, 1)
        with self.assertRaises(ValueError):
            ring.infer("signs", self.picture(0), (1, 48, 48, 3))
        with self.assertRaises(clpd.Refused):
            self.ring(slots=3)
        with self.assertRaises(clpd.ConnectionLost):
            clpd.Ring("/nowhere", tensor_bytes=1)

    def test_a_plan_that_leaves_its_memory_is_refused(self):
        plan = ring_module._Plan(1, 8, 1 << 20, 768, 2048, 4096, 8192, 4096, 4096, 0)
        self.assertTrue(plan.is_sound(1 << 20))
        for field, value in (("slots", 3), ("requests_at", 1 << 20), ("slots_at", 1 << 62), ("slot_bytes", 1 << 62),
                             ("tensor_at", 64), ("tensor_room", 4097), ("tensor_room", 0), ("answers_at", 1 << 20),
                             ("version", 2), ("bytes", 1 << 21)):
            self.assertFalse(plan._replace(**{field: value}).is_sound(1 << 20), (field, value))

    def test_no_descriptor_stays(self):
        def n_open():
            return len(os.listdir("/proc/self/fd"))
        before = n_open()
        for _ in range(5):
            with self.ring() as ring:
                ring.infer("signs", self.picture(0), (1, 48, 48, 3))
            with self.assertRaises(clpd.Refused):
                self.ring(slots=3)
        self.assertEqual(n_open(), before)

    def test_the_daemon_goes_away(self):
        daemon = Daemon().start()
        try:
            daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
            daemon.wait_serving("signs")
            with clpd.Ring(daemon.socket, tensor_bytes=SIZE) as ring:
                ring.infer("signs", self.picture(0), (1, 48, 48, 3))
                daemon.process.kill()
                daemon.process.wait()
                slot = ring.take()
                ring.submit(slot, "signs", (1, 48, 48, 3), U8)
                with self.assertRaises(clpd.ConnectionLost):
                    ring.collect()
        finally:
            daemon.stop()

    def test_the_example_runs(self):
        done = subprocess.run([sys.executable, ROOT / "client/python/examples/ring.py", "signs", "10", self.daemon.socket],
                              env={**os.environ, "PYTHONPATH": str(ROOT / "client/python")}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 10)


if __name__ == "__main__":
    unittest.main()
