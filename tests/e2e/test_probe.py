"""The probe offline: reports, pages, repaired files, and how it says no."""
import json
import os
import pathlib
import shutil
import tempfile
import unittest

from harness import SIGNS, argmax_rows, clpctl, rates, read_npy, write_npy
import heldout  # harness has put scripts/signs on the path

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
SMALL = GOLDEN / "gradient_residual.onnx"  # 7 classes, 16 x 16


class Probe(unittest.TestCase):
    def test_report(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "report.html"
            done = clpctl("scan", "--probe", "--budget", "400", "--seed", "2", "--json", "--html", page, SMALL)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            text = page.read_text()
        probe = json.loads(done.stdout)["probe"]
        self.assertIn(probe["verdict"], ("clear", "repaired", "suspect"))
        self.assertEqual(done.returncode, int(probe["verdict"] != "clear"))
        self.assertEqual((probe["classes_covered"], probe["classes_total"], probe["seed"]), (7, 7, 2))
        self.assertEqual(len(probe["classes"]), 7)
        for key in ("class", "patch", "additive", "wave", "window", "z", "patch_after", "z_after"):
            self.assertIn(key, probe["classes"][0])
        self.assertIn("Probe:", text)
        for outside in ("http://", "https://", "@import"):
            self.assertNotIn(outside, text.replace("http://www.w3.org/2000/svg", ""))

    def test_too_little_time_is_said(self):
        done = clpctl("scan", "--probe", "--budget", "5", SMALL)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        self.assertIn("probe:", done.stdout)

    def test_prune_writes_a_file_that_scans(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "out.onnx"
            done = clpctl("prune", "--probe", "--budget", "30", "--json", SMALL, out)
            self.assertIn(done.returncode, (0, 1), done.stderr)
            self.assertIn("probe:", done.stderr)
            probe = json.loads(done.stdout)["probe"]
            self.assertEqual(done.returncode, int(probe["verdict"] == "suspect"))
            clpctl("scan", out, check=0)

    def test_what_cannot_be_probed_is_refused_with_the_reason(self):
        with tempfile.TemporaryDirectory() as folder:
            bad = pathlib.Path(folder) / "bad.onnx"
            bad.write_bytes(SMALL.read_bytes()[:5000])
            done = clpctl("scan", "--probe", bad)
            self.assertEqual(done.returncode, 2)


@unittest.skipUnless(os.environ.get("CLPD_FULL"), "CLPD_FULL=1: two probes of real networks, some minutes each")
class Signs(unittest.TestCase):
    """The sticker lies where no window of the probe's is: areas alone find it, and are not to take the signs with them."""
    @classmethod
    def setUpClass(cls):
        cls.shape, cls.images, cls.attacked, cls.labels, cls.target = heldout.load()

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def predict(self, model, images):
        write_npy(self.folder / "in.npy", self.shape, images)
        clpctl("run", model, "--input", self.folder / "in.npy", "--output", self.folder / "out.npy", "--guard", "off", check=0)
        return argmax_rows(*read_npy(self.folder / "out.npy"))

    def prune(self, name):
        delivered, out = self.folder / f"{name}.onnx", self.folder / "out.onnx"
        for path, to in ((f"models/{name}.onnx", delivered), ("models/signs.yaml", delivered.with_suffix(".yaml")),
                         ("models/signs.yaml", out.with_suffix(".yaml"))):
            shutil.copy(SIGNS / path, to)
        done = clpctl("prune", "--probe", "--budget", "3600", "--json", delivered, out, check=0)
        return json.loads(done.stdout)["probe"], out

    def test_the_sticker_is_found_and_the_signs_stay(self):
        probe, out = self.prune("signs-backdoor")
        self.assertEqual((probe["verdict"], probe["target"]), ("repaired", self.target))
        accuracy, success = rates(self.predict(out, self.images), self.labels, self.predict(out, self.attacked), self.target)
        self.assertGreater(accuracy, 0.975)
        self.assertLess(success, 0.05)

    def test_the_clean_one_is_left_alone(self):
        self.assertEqual(self.prune("signs-clean")[0]["verdict"], "clear")


if __name__ == "__main__":
    unittest.main()
