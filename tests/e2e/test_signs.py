"""The main job on the project's own backdoored network: what docs/models.md says is what the run gives."""
import json
import unittest

from harness import OK, SIGNS, U8, Daemon, argmax_rows, clpctl, rates
import heldout  # harness has put scripts/signs on the path


def predict(daemon, model, shape, images):
    size = shape[1] * shape[2] * shape[3]
    answers = []
    with daemon.client() as c:
        for at in range(0, shape[0], 8):
            n = min(8, shape[0] - at)
            reply = c.infer(model, (n, *shape[1:]), images[at * size:(at + n) * size], U8)
            assert reply.status == OK, reply.text
            answers += argmax_rows((n, reply.classes), reply.scores)
    return answers


class Signs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shape, cls.images, cls.attacked, cls.labels, cls.target = heldout.load()
        cls.expected = json.loads((SIGNS / "models/expected.json").read_text())

    def measure(self, model, threshold):
        """Accuracy and attack success as the daemon serves it."""
        with Daemon(guard__threshold=threshold) as d:
            d.drop(SIGNS / f"models/{model}.onnx", "signs", SIGNS / "models/signs.yaml")
            served = d.wait_serving("signs")
            clean = predict(d, "signs", self.shape, self.images)
            attacked = predict(d, "signs", self.shape, self.attacked)
        return served, rates(clean, self.labels, attacked, self.target)

    def test_repair_of_the_backdoored_network(self):
        for model in ("signs-backdoor", "signs-backdoor.folded"):
            # A cut-off that nothing reaches serves the network as it came.
            served, before = self.measure(model, 1000)
            self.assertEqual(served["verdict"], "unchanged")
            served, after = self.measure(model, 3)
            self.assertEqual(served["verdict"], "pruned")
            print(f"\n{model}: accuracy {before[0]:.4f} -> {after[0]:.4f}, attack success {before[1]:.4f} -> {after[1]:.4f}")
            self.compare(model, "before", before)
            self.compare(model, "after", after)
            self.assertLess(after[1], before[1])

    def compare(self, model, when, got):
        """docs/models.md's figures are those that PyTorch gave; one picture in the set may differ by rounding."""
        want = self.expected[model][when]
        self.assertAlmostEqual(got[0], want["accuracy"], delta=1.5 / len(self.labels), msg=f"{model} {when}")
        self.assertAlmostEqual(got[1], want["attack_success"], delta=1.5 / len(self.labels), msg=f"{model} {when}")

    def test_scan_finds_the_channels_that_pytorch_finds(self):
        for model, want in self.expected.items():
            done = clpctl("scan", "--json", SIGNS / f"models/{model}.onnx")
            report = json.loads(done.stdout)
            self.assertEqual(done.returncode, 1 if report["pruned_channels"] else 0)
            found = {l["name"]: l["pruned"] for l in report["layers"]}
            for layer in want["layers"]:
                self.assertEqual(found[layer["node"]], layer["pruned"], f"{model} {layer['node']}")


if __name__ == "__main__":
    unittest.main()
