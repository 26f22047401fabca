"""Hostile model files by the hundred, one daemon for all of them: each ends with a reason a person can read, nothing
crashes, and the model that serves answers all the while. The short form takes a part of them; CLPD_FULL=1 takes all."""
import os
import unittest

import hostile
from harness import F32, OK, SIGNS, Daemon, Hammer, clpctl, wait_for

FULL = os.environ.get("CLPD_FULL") == "1"
GOOD = SIGNS / "models/signs-clean.onnx"
DIMS = (1, 3, 48, 48)
BATCH = 48  # files at a time


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(guard__retire_s=0).start()
        cls.daemon.drop(GOOD, "good")
        cls.daemon.wait_serving("good")
        cls.client = Hammer(cls.daemon.socket, "good", DIMS, bytes(4 * 3 * 48 * 48), F32, inflight=1)
        cls.client.start()
        cls.pid = cls.daemon.process.pid

    @classmethod
    def tearDownClass(cls):
        cls.client.stopping.set()
        cls.client.join()
        cls.daemon.stop()
        assert not cls.client.failures, cls.client.failures[:3]
        assert {version for version, _ in cls.client.seen} == {1}

    def verdicts(self, names):
        """The line of each file once there is a verdict on it; None while one is missing."""
        lines = {f["path"]: f for f in self.daemon.tables()["files"]}
        found = {}
        for n in names:
            f = lines.get(f"{n}.onnx")
            if not f or f["state"] in ("seen", "importing", "sealed", "offered"):
                return None
            if f["state"] == "settling" and f["reason"].startswith("changed a moment ago"):
                return None
            found[n] = f
        return found

    def ask(self, name):
        """A model that was taken can be asked: an answer or an error, but no silence."""
        m = self.daemon.model(name)
        if not m:
            return
        shape = m["input"]["shape"]
        size = 4
        for d in shape:
            size *= d
        if size > 8 << 20:
            return
        with self.daemon.client() as c:
            reply = c.infer(name, (1, *shape), bytes(size))
            self.assertTrue(reply.status == OK or reply.text, name)

    def feed(self, files):
        """Drops them, waits for the verdicts, takes them away. Returns {name: line}."""
        ends = {}
        for at in range(0, len(files), BATCH):
            part = files[at:at + BATCH]
            for name, content in part:
                self.daemon.drop(content, name)
            ends.update(wait_for("a verdict on each file", lambda: self.verdicts([n for n, _ in part]), 600))
            answered = self.client.answered
            wait_for("the good model to answer on", lambda: self.client.answered > answered)
            for name, _ in part:
                if ends[name]["state"] == "serving":
                    self.ask(name)
                (self.daemon.models / f"{name}.onnx").unlink()
            wait_for("these to be gone", lambda: len(self.daemon.tables()["files"]) == 1 and
                     len(self.daemon.tables()["models"]) == 1)
        return ends

    def check(self, ends):
        """Whatever was not taken has a reason, one line of printable text, and nothing crashed on the way to it."""
        for name, f in ends.items():
            if f["state"] == "serving":
                continue
            self.assertIn(f["state"], ("rejected", "settling"), name)
            self.assertTrue(f["reason"], name)
            self.assertTrue(f["reason"].isprintable(), (name, f["reason"]))
            for word in ("crashed", "forbidden system call", "without a result", "its protocol"):
                self.assertNotIn(word, f["reason"], name)
        status = self.daemon.status()
        self.assertEqual((status["pid"], status["guard"]["restarts"]), (self.pid, 0))

    def test_one_for_each_mistake(self):
        made = list(hostile.mistakes().items())
        self.assertGreaterEqual(len(made), 200)
        names = {f"m{i:03}": name for i, (name, _) in enumerate(made)}
        files = [(n, content) for n, (_, content) in zip(names, made)]
        ends = self.feed(files if FULL else files[::7])
        self.check(ends)
        taken = [names[n] for n, f in ends.items() if f["state"] == "serving"]
        self.assertEqual([n for n in taken if not n.endswith("?")], [])
        print(f"{len(ends)} hand-made: {len(taken)} taken (of the odd, not the wrong), "
              f"{sum(f['state'] == 'settling' for f in ends.values())} waited for as unfinished, the others rejected")
        if os.environ.get("CLPD_SHOW"):
            for n, f in ends.items():
                print(names[n], f["state"], f["reason"], sep="\t")

    def test_mutations(self):
        files = [p.read_bytes() for p in (GOOD, SIGNS / "models/signs-clean.folded.onnx")]
        made = list(hostile.mutations(500, files))
        numbered = [(f"u{i:03}", content) for i, content in enumerate(made)]
        ends = self.feed(numbered if FULL else numbered[:45])
        self.check(ends)
        count = {s: sum(f["state"] == s for f in ends.values()) for s in ("serving", "settling", "rejected")}
        print(f"{len(ends)} mutated: {count['rejected']} rejected, {count['settling']} waited for as unfinished, "
              f"{count['serving']} taken (what was hit is a weight, a name or nothing)")
        self.assertGreater(count["rejected"], len(ends) // 4)

    def test_the_same_each_time(self):
        self.assertEqual(list(hostile.mutations(9, [])), list(hostile.mutations(9, [])))
        good = hostile.write(hostile.base())
        (self.daemon.folder / "base.onnx").write_bytes(good)
        clpctl("scan", self.daemon.folder / "base.onnx", check=0)  # what the mistakes are made in is right


if __name__ == "__main__":
    unittest.main()
