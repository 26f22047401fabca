"""What the operator allows: digests, signatures, how much may be pruned, what a sidecar may say."""
import hashlib
import pathlib
import shutil
import subprocess
import unittest

from harness import SIGNS, Daemon, clpctl, wait_for
from test_state import BACKDOOR, CLEAN, Kept


def write_sidecar(d, name, text):
    (d.models / f"{name}.yaml").write_text(text)


class Policy(unittest.TestCase):
    def test_excess_is_held_rejected_or_served(self):
        for action, state in (("hold", "held"), ("reject", "rejected"), ("serve", "serving")):
            with self.subTest(action), Daemon(guard__max_pruned=0, guard__on_excess=action) as d:
                d.drop(CLEAN, "signs")
                d.wait_serving("signs")
                d.drop(BACKDOOR, "signs")
                f = d.wait_file("signs.onnx", state)
                if state == "serving":
                    wait_for("version 2", lambda: d.model("signs")["version"] == 2)
                    continue
                self.assertRegex(f["reason"], r"CLP would prune \d+ of \d+ channels of .*guard.max_pruned")
                self.assertEqual(d.model("signs")["version"], 1)  # what served goes on
                d.drop(CLEAN, "signs")  # and a good file is served as ever
                d.wait_file("signs.onnx", "serving")

    def test_median_mad_prunes_by_another_cut(self):
        with Daemon(guard__statistic="median-mad", guard__max_pruned=1) as d:
            d.drop(BACKDOOR, "signs")
            m = d.wait_serving("signs")
            self.assertEqual(m["verdict"], "pruned")
            self.assertGreater(m["pruned_channels"], 0)

    def test_a_policy_for_one_model(self):
        with Daemon(guard__max_pruned=0, guard__on_excess="reject",
                    guard__overrides="{lenient: {on_excess: serve}}") as d:
            d.drop(BACKDOOR, "signs")
            d.drop(BACKDOOR, "lenient")
            d.wait_serving("lenient")
            d.wait_file("signs.onnx", "rejected")

    def test_a_sidecar_may_not_weaken_the_policy(self):
        for may, threshold, state in (("stricter", 5, "rejected"), ("stricter", 2.5, "serving"),
                                      ("anything", 5, "serving"), ("nothing", 2.5, "rejected")):
            with self.subTest(may=may, threshold=threshold), Daemon(guard__sidecar=may) as d:
                write_sidecar(d, "signs", f"guard: {{threshold: {threshold}}}\n")
                d.drop(CLEAN, "signs")
                f = d.wait_file("signs.onnx", state)
                if state == "rejected":
                    self.assertIn("guard.overrides", f["reason"])

    def test_allowed_digests(self):
        with Kept() as d:
            listed = d.folder / "digests"
            listed.write_text("# what may be served\n\n" + hashlib.sha256(CLEAN.read_bytes()).hexdigest() + "  signs.onnx\n")
            d.settings["guard__allowed_digests"] = listed
            d.end()
            d.drop(CLEAN, "signs")
            d.drop(BACKDOOR, "other")
            d.start()
            d.wait_serving("signs")
            f = d.wait_file("other.onnx", "rejected")
            self.assertIn("guard.allowed_digests", f["reason"])
            # A list that can't be read lets nothing through: not even what was kept under the other one.
            d.end()
            listed.write_text("not a digest\n")
            d.start()
            f = d.wait_file("signs.onnx", "rejected")
            self.assertIn("nothing is allowed until that is mended", f["reason"])
            self.assertIsNone(d.model("signs"))

    def test_a_changed_policy_is_applied_at_a_reload(self):
        with Daemon() as d:
            d.drop(BACKDOOR, "signs")
            d.wait_serving("signs")
            d.settings.update(guard__threshold=2.5)
            d.write_config()
            d.process.send_signal(1)
            self.assertEqual(d.wait_serving("signs", 1)["version"], 2)


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Signatures(unittest.TestCase):
    def openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    def make_key(self, d, name):
        self.openssl("genpkey", "-algorithm", "ed25519", "-out", d.folder / f"{name}.pem")
        self.openssl("pkey", "-in", d.folder / f"{name}.pem", "-pubout", "-out", d.folder / f"{name}.pub")
        return d.folder / f"{name}.pub"

    def sign(self, d, key, *names):
        """The two commands of docs/policy.md."""
        sums = d.folder / "sums"
        sums.write_bytes(subprocess.run(["sha256sum", *names], cwd=d.models, check=True, capture_output=True).stdout)
        self.openssl("pkeyutl", "-sign", "-rawin", "-inkey", d.folder / f"{key}.pem", "-in", sums, "-out",
                     d.models / f"{names[0]}.sig")

    def start_with(self, d, *keys):
        publics = b"".join(self.make_key(d, k).read_bytes() for k in keys)
        (d.folder / "keys").write_bytes(publics)
        d.settings["guard__signature_key"] = d.folder / "keys"
        return d

    def test_only_what_is_signed_is_served(self):
        d = self.start_with(Daemon(), "old", "new")
        self.make_key(d, "stranger")
        with d:
            d.drop(CLEAN, "signs")
            f = d.wait_file("signs.onnx", "rejected")
            self.assertIn("has no signature", f["reason"])
            self.sign(d, "stranger", "signs.onnx")
            wait_for("the stranger to be refused", lambda: "no signature of these" in (d.file("signs.onnx")["reason"] or ""))
            self.sign(d, "new", "signs.onnx")
            d.wait_serving("signs")
            d.drop(BACKDOOR, "signs")  # under the signature of another file
            d.wait_file("signs.onnx", "rejected")
            self.sign(d, "old", "signs.onnx")
            d.wait_serving("signs", 1)
            # A sidecar is part of what is signed, and so is the name.
            write_sidecar(d, "signs", "input: {channel_order: bgr}\n")
            d.wait_file("signs.onnx", "rejected")
            self.sign(d, "old", "signs.onnx", "signs.yaml")
            d.wait_serving("signs", 2)
            shutil.copy(d.models / "signs.onnx.sig", d.models / "other.onnx.sig")
            d.drop(BACKDOOR, "other", d.models / "signs.yaml")
            d.wait_file("other.onnx", "rejected")
            (d.models / "signs.onnx.sig").write_bytes(b"short")
            wait_for("it to be refused", lambda: "64 bytes" in (d.file("signs.onnx")["reason"] or ""))
            self.assertEqual(d.model("signs")["version"], 3)

    def test_a_key_that_can_not_be_read_lets_nothing_through(self):
        with Daemon(guard__signature_key="/no/such/key") as d:
            d.drop(CLEAN, "signs")
            f = d.wait_file("signs.onnx", "rejected")
            self.assertIn("/no/such/key", f["reason"])


if __name__ == "__main__":
    unittest.main()
