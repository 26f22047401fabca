"""The engine and the guard against PyTorch's outputs and the authors' CLP, on the shared networks."""
import array
import json
import tempfile
import unittest
from pathlib import Path

from harness import SHARED, argmax_rows, clpctl, rates, read_npy, worst_difference, write_npy

NETWORKS = ("rn16_badnets", "rn32_badnets")
# models/README.md: accuracy / attack success on the 1,000 images of data/, before and after the authors' CLP.
PUBLISHED = {"rn16_badnets": (0.8170, 1.0000, 0.8130, 0.1305), "rn32_badnets": (0.8380, 0.9956, 0.7330, 0.1980)}
ONE_IMAGE = 1 / 904 + 1e-6  # one picture's answer may flip by rounding


def stamp_f32(shape, data, trigger):
    """The 3x3 trigger [1,3,3,3] over rows and columns 29 to 31 of float32 [N,3,32,32]."""
    out = array.array("f", data)
    for i in range(shape[0]):
        for c in range(3):
            for y in range(3):
                at = ((i * 3 + c) * 32 + 29 + y) * 32 + 29
                out[at:at + 3] = trigger[(c * 3 + y) * 3:(c * 3 + y) * 3 + 3]
    return out


@unittest.skipUnless(SHARED.is_dir(), f"../shared is absent")
class Golden(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.out = Path(self.folder.name) / "out.npy"

    def tearDown(self):
        self.folder.cleanup()

    def run_model(self, model, source, guard):
        clpctl("run", model, "--input", source, "--output", self.out, "--guard", guard, check=0)
        return read_npy(self.out)

    def test_what_pruning_lets_go_of_changes_nothing(self):
        for name in NETWORKS:
            model = Path(self.folder.name) / f"{name}.onnx"
            model.write_bytes((SHARED / f"models/{name}.onnx").read_bytes())
            model.with_suffix(".yaml").write_text("guard:\n  threshold: 1.5\n")  # much goes
            report = json.loads(clpctl("scan", "--json", model, check=1).stdout)
            self.assertLess(report["parameters"], 0.97 * report["parameters_before"])
            self.assertLess(report["multiply_adds"], 0.97 * report["multiply_adds_before"])
            source = SHARED / f"models/{name}.input.npy"
            _, shrunk = self.run_model(model, source, "on")
            clpctl("run", model, "--input", source, "--output", self.out, "--plain", check=0)  # keeps its zeros
            self.assertLess(worst_difference(shrunk, read_npy(self.out)[1]), 1e-5)

    def test_outputs_agree_with_pytorch(self):
        for name in NETWORKS:
            for form in ("", ".folded"):
                shape, got = self.run_model(SHARED / f"models/{name}{form}.onnx", SHARED / f"models/{name}.input.npy", "off")
                want_shape, want = read_npy(SHARED / f"models/{name}.output.npy")
                self.assertEqual(tuple(shape), tuple(want_shape))
                self.assertLess(worst_difference(got, want), 1e-4, f"{name}{form}")

    def test_repaired_outputs_agree_with_the_authors(self):
        for name in NETWORKS:
            for form in ("", ".folded"):
                _, got = self.run_model(SHARED / f"models/{name}{form}.onnx", SHARED / f"models/{name}.input.npy", "on")
                _, want = read_npy(SHARED / f"models/{name}.output-clp3.npy")
                self.assertLess(worst_difference(got, want), 1e-4 if not form else 1e-3, f"{name}{form}")

    def test_accuracy_and_attack_success_are_the_published_ones(self):
        shape, pixels = read_npy(SHARED / "data/cifar10-images.npy")
        _, labels = read_npy(SHARED / "data/cifar10-labels.npy")
        n = shape[0]
        planes = array.array("f", bytes(4 * n * 3072))
        for c in range(3):  # NHWC bytes to NCHW floats in 0...1
            for i in range(n):
                at = (i * 3 + c) * 1024
                planes[at:at + 1024] = array.array("f", [p / 255 for p in pixels[i * 3072 + c:(i + 1) * 3072:3]])
        clean, attacked = Path(self.folder.name) / "clean.npy", Path(self.folder.name) / "attacked.npy"
        write_npy(clean, (n, 3, 32, 32), planes)
        for name in NETWORKS:
            _, trigger = read_npy(SHARED / f"data/{name}.trigger.npy")
            write_npy(attacked, (n, 3, 32, 32), stamp_f32((n,), planes, trigger))
            model = SHARED / f"models/{name}.onnx"
            for guard, want in (("off", PUBLISHED[name][:2]), ("on", PUBLISHED[name][2:])):
                got = rates(argmax_rows(*self.run_model(model, clean, guard)), labels,
                            argmax_rows(*self.run_model(model, attacked, guard)), 0)
                self.assertAlmostEqual(got[0], want[0], delta=1.1e-3, msg=f"{name} {guard}")
                self.assertAlmostEqual(got[1], want[1], delta=ONE_IMAGE, msg=f"{name} {guard}")
            # Bytes through the daemon's own preprocessing are the same pictures.
            self.assertEqual(argmax_rows(*self.run_model(model, SHARED / "data/cifar10-images.npy", "off")),
                             argmax_rows(*self.run_model(model, clean, "off")))

    def test_scan_reports_the_authors_channels(self):
        for name in NETWORKS:
            want = json.loads((SHARED / f"models/{name}.clp.json").read_text())
            report = json.loads(clpctl("scan", "--json", SHARED / f"models/{name}.onnx", check=1).stdout)
            self.assertEqual(report["verdict"], "pruned")
            found = {l["name"]: l for l in report["layers"]}
            for layer in want["layers"]:
                self.assertEqual(found[layer["node"]]["pruned"], layer["pruned"], layer["node"])
                self.assertAlmostEqual(found[layer["node"]]["cutoff"] / layer["cutoff"], 1, delta=1e-4)
            self.assertEqual(report["pruned_channels"], sum(len(l["pruned"]) for l in want["layers"]))

    def test_a_pruned_file_runs_as_the_guarded_original(self):
        repaired = Path(self.folder.name) / "repaired.onnx"
        for name in NETWORKS:
            for form in ("", ".folded"):
                model = SHARED / f"models/{name}{form}.onnx"
                clpctl("prune", model, repaired, check=0)
                source = SHARED / f"models/{name}.input.npy"
                self.assertEqual(self.run_model(repaired, source, "off")[1], self.run_model(model, source, "on")[1])


if __name__ == "__main__":
    unittest.main()
