"""Samples beside a model: what pruning costs is measured before a version serves, and hostile samples harm nobody."""
import array
import json
import os
import random
import unittest

from harness import SANITIZED, SIGNS, Daemon, argmax_rows, clpctl, read_npy, wait_for, write_npy
from heldout import stamp
from test_state import BACKDOOR, CLEAN

DATA = SIGNS / "data"
EACH = 48 * 48 * 3


def pictures(n, sticker=False):
    """(shape, bytes) of the first n held-out signs, with the backdoor's sticker or without."""
    shape, images = read_npy(DATA / "heldout-images.npy")
    some, images = (n,) + shape[1:], images[:n * EACH]
    if sticker:
        where = json.loads((DATA / "sticker.json").read_text())
        images = stamp(some, images, *read_npy(DATA / "sticker.npy"), where["row"], where["column"])
    return some, images


def put(d, shape, data, name="signs"):
    """As programs should: under another name first."""
    part = d.models / f".{name}.part"
    write_npy(part, shape, data)
    part.rename(d.models / f"{name}.canary.npy")


class Canary(unittest.TestCase):
    def test_what_keeps_its_class_serves(self):
        with Daemon() as d:
            put(d, *pictures(50))
            d.drop(BACKDOOR, "signs", sidecar=SIGNS / "models/signs.yaml")
            m = d.wait_serving("signs")
            self.assertEqual(m["verdict"], "pruned")
            self.assertEqual(m["canary"]["samples"], 50)
            self.assertGreaterEqual(m["canary"]["agreed"], 45)
            d.wait_log("of 50 canary samples keep their class")
            out = clpctl("--socket", d.socket, "models", check=0).stdout
            self.assertIn(f"{m['canary']['agreed']} of 50", out)

    def test_what_does_not_is_held_rejected_or_served(self):
        """Before the repair every sign with the sticker is of one class, and after it they are not."""
        shape, data = pictures(40, sticker=True)
        for action, state in (("hold", "held"), ("reject", "rejected"), ("serve", "serving")):
            with self.subTest(action), Daemon(guard__min_agreement=0.95, guard__on_disagreement=action) as d:
                d.drop(CLEAN, "signs", sidecar=SIGNS / "models/signs.yaml")
                d.wait_serving("signs")
                put(d, shape, data)
                d.drop(BACKDOOR, "signs")
                if state == "serving":
                    wait_for("it", lambda: (d.model("signs")["canary"] or {}).get("samples") == 40)
                    continue
                f = d.wait_file("signs.onnx", state)
                self.assertRegex(f["reason"], r"\d+ of 40 canary samples keep their class.*guard.min_agreement")
                before = d.model("signs")["version"]
                if state == "held":
                    clpctl("--socket", d.socket, "accept", "signs", check=0)
                    wait_for("it to be served", lambda: d.model("signs")["version"] > before)
                    self.assertEqual(d.model("signs")["canary"]["samples"], 40)

    def test_other_samples_are_another_version(self):
        with Daemon(guard__min_agreement=0.5) as d:
            d.drop(BACKDOOR, "signs", sidecar=SIGNS / "models/signs.yaml")
            self.assertIsNone(d.wait_serving("signs")["canary"])
            for n in (10, 20):
                before = d.model("signs")["version"]
                put(d, *pictures(n))
                m = wait_for("another version", lambda: d.wait_serving("signs", newer_than=before))
                self.assertEqual(m["canary"]["samples"], n)
            before = d.model("signs")["version"]
            (d.models / "signs.canary.npy").unlink()
            self.assertIsNone(d.wait_serving("signs", newer_than=before)["canary"])

    def test_hostile_samples_are_refused_with_a_reason(self):
        shape, data = pictures(2)
        floats = array.array("f", [0.0] * (3 * 48 * 47))
        with Daemon() as d:
            d.drop(CLEAN, "other")
            d.wait_serving("other")
            path = d.models / "signs.canary.npy"
            huge = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 48, 48, 3), }".ljust(117) + b"\n"
            for name, make, word in (
                    ("no .npy", lambda: path.write_bytes(b"\0" * 5000), "npy"),
                    ("a giant", lambda: path.write_bytes(huge), "npy"),
                    ("another shape", lambda: write_npy(path, (1, 3, 48, 47), floats), "the network takes"),
                    ("none at all", lambda: write_npy(path, (0, 48, 48, 3), array.array("B")), "samples"),
                    ("a link", lambda: path.symlink_to(DATA / "heldout-images.npy"), "symbolic link"),
                    ("a hard link", lambda: (write_npy(d.folder / "x.npy", shape, data), os.link(d.folder / "x.npy", path)), "hard link"),
                    ("a pipe", lambda: os.mkfifo(path), "pipe"),
                    ("a folder", path.mkdir, "directory")):
                with self.subTest(name):
                    make()
                    d.drop(BACKDOOR, "signs", sidecar=SIGNS / "models/signs.yaml")
                    f = d.wait_file("signs.onnx", "rejected")
                    self.assertIn("canary.npy", f["reason"])
                    self.assertIn(word, f["reason"])
                    self.assertIsNone(d.model("signs"))
                    self.assertIsNotNone(d.model("other"))
                    (d.models / "signs.onnx").unlink()
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
                    wait_for("the file to be forgotten", lambda: d.file("signs.onnx") is None)
            path.write_bytes(b"")  # not finished, so nothing is decided yet
            d.drop(BACKDOOR, "signs", sidecar=SIGNS / "models/signs.yaml")
            d.wait_file("signs.onnx", "settling", "waiting for its contents")
            write_npy(path, shape, data)
            os.truncate(path, 5000)
            d.wait_file("signs.onnx", "settling", "canary.npy")
            put(d, shape, data)
            d.wait_serving("signs")

    def test_mutated_samples_harm_nobody(self):
        rng, shape_data = random.Random(7), pictures(3)
        with Daemon() as d:
            guard = d.processes()
            d.drop(BACKDOOR, "signs", sidecar=SIGNS / "models/signs.yaml")
            before = d.wait_serving("signs")["version"]
            write_npy(d.folder / "good.npy", *shape_data)
            good = (d.folder / "good.npy").read_bytes()
            for _ in range(8 if SANITIZED else 25):
                bad = bytearray(good[:rng.choice((len(good), len(good), rng.randrange(1, len(good))))])
                for _ in range(rng.randrange(1, 6)):
                    bad[rng.randrange(min(len(bad), 140))] = rng.randrange(256)
                (d.models / ".x.part").write_bytes(bad)
                (d.models / ".x.part").rename(d.models / "signs.canary.npy")

                def decided():
                    f = d.file("signs.onnx")
                    return f and (f["state"] == "rejected" or d.model("signs")["version"] > before or
                                  (f["state"] == "settling" and "canary.npy" in f["reason"]))
                wait_for("a decision", decided)
                f = d.file("signs.onnx")
                if f["state"] == "rejected":
                    self.assertTrue(f["reason"])
                    self.assertNotIn("signal", f["reason"])
                before = d.model("signs")["version"]
                (d.models / "signs.canary.npy").unlink()
                wait_for("it to be served again", lambda: d.file("signs.onnx")["state"] == "serving")
                before = d.model("signs")["version"]
            self.assertEqual(d.processes(), guard)

    def test_offline(self):
        with Daemon() as d:
            write_npy(d.folder / "clean.npy", *pictures(30))
            write_npy(d.folder / "stickers.npy", *pictures(30, sticker=True))
            out = json.loads(clpctl("scan", "--json", "--canary", d.folder / "clean.npy", BACKDOOR, check=1).stdout)
            self.assertEqual(out["canary"]["samples"], 30)
            self.assertGreaterEqual(out["canary"]["agreed"], 27)
            page = d.folder / "page.html"
            out = clpctl("scan", "--html", page, "--canary", d.folder / "stickers.npy", BACKDOOR, check=1).stdout
            self.assertRegex(out, r"canary: \d+ of 30 samples keep their class; sample \d+: \d+ to \d+")
            self.assertIn("of 30 samples that lay beside the model", page.read_text())
            clpctl("scan", "--canary", BACKDOOR, BACKDOOR, check=2)


if __name__ == "__main__":
    unittest.main()
