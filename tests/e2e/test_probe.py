"""The probe offline: reports, pages, repaired files, and how it says no."""
import json
import pathlib
import tempfile
import unittest

from harness import clpctl

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
        for key in ("class", "patch", "additive", "window", "z", "patch_after", "z_after"):
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


if __name__ == "__main__":
    unittest.main()
