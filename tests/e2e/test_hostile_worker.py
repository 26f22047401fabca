"""Import workers that misbehave on purpose, under the real guard and daemon: each costs one file, with the reason.

build/hostile-worker does what the name of its model says. It stands where clp-guard belongs, in a folder with copies of
the programs; the guard itself is the real one, and starts what it finds beside it as it always does."""
import shutil
import unittest

from harness import BUILD, F32, OK, SANITIZED, SIGNS, Daemon, Hammer, wait_for

GOOD = (SIGNS / "models/signs-clean.onnx").read_bytes()
DIMS = (1, 3, 48, 48)
DAMAGED = "made to attack"

# name -> what its reason has to say
CAGED = {
    "crash": ("crashed (Segmentation fault)", DAMAGED),
    "abort": ("crashed (Aborted)", DAMAGED),
    "hang": ("longer than 5 s", "guard.worker.seconds"),
    "spin": ("5 s", "guard.worker.seconds"),
    "memory": ("no more memory after",),
    "fill": ("larger than guard.worker.output",),
    "file": ("no file can be opened",),
    "socket": ("forbidden system call", "do not use it"),
    "fork": ("forbidden system call", "do not use it"),
    "mute": ("without a result (status 0)",),
    "undigested": ("no digest",),
    "short": ("said that it wrote 4096 bytes, but 100 are there",),
    "rubbish": ("clpd refused the image",),
    "chatter": ("not a frame",),
    "twice": ("its protocol",),
    "needs": ("its protocol",),
    "terminal": ("red",),
}
FREE = {  # what the cage would have kept it from; the guard's own limits have to do
    "free-crash": ("crashed",),
    "free-hang": ("longer than 5 s",),
    "free-fill": ("larger than guard.worker.output",),
    "free-writer": ("can't seal the image",),
}


@unittest.skipIf(SANITIZED, "a sanitizer's own handlers and its wider sandbox end these otherwise")
class HostileWorkers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not (BUILD / "hostile-worker").exists():
            raise unittest.SkipTest(f"make {BUILD.name}/hostile-worker builds what this needs")
        cls.daemon = d = Daemon(guard__worker="{seconds: 5, memory: 160M, output: 4M, count: 4}")
        d.build = d.folder / "programs"
        d.build.mkdir()
        shutil.copy(BUILD / "clpd", d.build / "clpd")
        shutil.copy(BUILD / "clp-guard", d.build / "guard-real")
        shutil.copy(BUILD / "hostile-worker", d.build / "clp-guard")
        d.start()
        d.drop(GOOD, "honest")
        d.wait_serving("honest")
        cls.client = Hammer(d.socket, "honest", DIMS, bytes(4 * 3 * 48 * 48), F32, inflight=1)
        cls.client.start()

    @classmethod
    def tearDownClass(cls):
        cls.client.stopping.set()
        cls.client.join()
        cls.daemon.stop()
        assert not cls.client.failures, cls.client.failures[:3]
        assert {version for version, _ in cls.client.seen} == {1}

    def all_rejected(self, cases):
        for name in cases:
            self.daemon.drop(GOOD, name)
        for name, words in cases.items():
            with self.subTest(name):
                f = self.daemon.wait_file(f"{name}.onnx", "rejected")
                for word in words:
                    self.assertIn(word, f["reason"])
                self.assertTrue(f["reason"].isprintable(), f["reason"])
                self.assertIsNone(self.daemon.model(name))
        answered = self.client.answered
        wait_for("the good model to answer on", lambda: self.client.answered > answered)
        self.assertEqual(self.daemon.status()["guard"]["restarts"], 0)

    def test_taken_over_in_the_sandbox(self):
        self.all_rejected(CAGED)

    def test_without_a_sandbox(self):
        self.all_rejected(FREE)

    def test_and_a_good_file_still_serves(self):
        self.daemon.drop(GOOD, "crash2")
        self.daemon.drop(GOOD, "honest2")
        self.daemon.wait_serving("honest2")
        with self.daemon.client() as c:
            self.assertEqual(c.infer("honest2", DIMS, bytes(4 * 3 * 48 * 48)).status, OK)


if __name__ == "__main__":
    unittest.main()
