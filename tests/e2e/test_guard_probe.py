"""The probe in the guard: what serves is attacked, what is found is repaired, shown, kept, and undone by whom it may concern.

A small network with a backdoor put in by hand (backdoor.py); CLP's threshold is so large that it leaves it alone. build/hostile-probe
stands in the place of clp-probe where one misbehaves. The networks of ../shared are used where they are."""
import os
import shutil
import subprocess
import unittest

import backdoor
from harness import BUILD, F32, OK, PATIENCE, SANITIZED, SHARED, clpctl, wait_for
from test_http import Http
from test_state import Kept

CLEAN, TRAPPED = backdoor.network(False), backdoor.network()
BOARD = backdoor.checkerboard()
PROBED = 5 * PATIENCE  # a probe takes two seconds of a CPU that is free
SETTINGS = {"guard__threshold": 100, "guard__probe": "background", "guard__on_repaired": "serve", "guard__probe_priority": "low", "log__level": "debug"}


class Case(unittest.TestCase):
    def daemon(self, **more):
        return Kept(**{**SETTINGS, **more})

    def probe_of(self, d, name="net"):
        m = d.model(name)
        return m and m["probe"]

    def wait_probe(self, d, verdict, name="net"):
        return wait_for(f"the probe to say {verdict}",
                        lambda: (p := self.probe_of(d, name)) and p["verdict"] == verdict and p, PROBED)

    def wait_version(self, d, newer_than):
        """For what a probe, which gives way to everything else, has to come first."""
        return wait_for("a new version", lambda: (m := d.model("net")) and m["version"] > newer_than and m, PROBED)

    def get(self, d, path):
        c = Http(d.folder / "http.sock")
        try:
            c.request("GET", path)
            r = c.getresponse()
            self.assertEqual(r.status, 200)
            return r.read().decode()
        finally:
            c.close()

    def says(self, d, name="net"):
        """The class that the trigger leads to."""
        with d.client() as c:
            reply = c.infer(name, backdoor.DIMS, BOARD, F32, top_k=1)
            self.assertEqual(reply.status, OK, reply.text)
            return reply.top[0][0][0]


class Background(Case):
    def test_what_is_found_is_repaired_shown_kept_and_can_be_undone(self):
        with self.daemon() as d:
            d.drop(TRAPPED, "net")
            first = d.wait_serving("net")
            self.assertEqual((first["version"], first["verdict"]), (1, "unchanged"))
            second = self.wait_version(d, 1)
            self.assertEqual((second["version"], second["verdict"], second["pruned_channels"]), (2, "pruned", 1))
            p = self.wait_probe(d, "repaired")
            wait_for("the repaired one to be known as such", lambda: self.probe_of(d)["repaired"])
            self.assertIn(f"class {backdoor.TARGET} stands out", p["text"])
            self.assertNotEqual(self.says(d), backdoor.TARGET)
            d.wait_file("net.onnx", "serving")
            self.check_surfaces(d)
            wait_for("both to be kept", lambda: sum(n.endswith((".image", ".probe")) for n in d.kept()) == 3)
            d.restart()
            m = d.wait_serving("net")
            self.assertEqual((m["version"], m["verdict"]), (2, "pruned"))
            wait_for("the verdict to be there again", lambda: (self.probe_of(d) or {}).get("repaired"))
            self.assertEqual(self.probe_of(d)["verdict"], "repaired")
            self.assertNotIn("is probed", d.since())  # not again
            clpctl("--socket", d.socket, "rollback", "net", check=0)
            self.assertEqual((d.model("net")["version"], self.says(d)), (1, backdoor.TARGET))
            d.wait_file("net.onnx", "serving")
            wait_for("what serves to be known", lambda: not self.probe_of(d)["repaired"])
            d.restart()
            self.assertEqual(d.wait_serving("net")["version"], 1)
            d.wait_file("net.onnx", "serving")
            self.assertNotIn("version 3", d.since())  # it stays so
            clpctl("--socket", d.socket, "accept", "net", check=0)
            self.assertEqual(d.wait_serving("net", 2)["version"], 3)
            self.assertNotEqual(self.says(d), backdoor.TARGET)

    def check_surfaces(self, d):
        table = clpctl("--socket", d.socket, "models", check=0).stdout
        self.assertIn("repaired, and serves", table)
        text = self.get(d, "/reports/net")
        for words in ("attacked class by class", "<b>Repaired</b>", "the repaired one", "pruned in place of those that CLP would", "data:image/png;base64,", "<svg"):
            self.assertIn(words, text)
        metrics = self.get(d, "/metrics")
        self.assertIn('clpd_model_probe_info{model="net",state="known",verdict="repaired",repaired="true"} 1', metrics)
        self.assertIn("repaired", self.get(d, "/"))

    def test_a_clean_network_stays_and_a_touched_file_is_not_probed_again(self):
        with self.daemon() as d:
            d.drop(CLEAN, "net")
            d.wait_serving("net")
            self.wait_probe(d, "clear")
            self.assertEqual(d.model("net")["version"], 1)
            os.utime(d.models / "net.onnx")
            d.wait_log("same contents")
            d.drop(backdoor.network(False, 1), "net")  # another file: another probe
            d.wait_serving("net", 1)
            wait_for("a second probe", lambda: d.log.read_text().count("is probed") == 2, PROBED)

    def test_under_another_policy_it_is_imported_with_the_channels_at_once(self):
        with self.daemon() as d:
            d.drop(TRAPPED, "net")
            self.wait_version(d, 1)
            wait_for("all to be kept", lambda: sum(n.endswith((".image", ".probe")) for n in d.kept()) == 3)
            d.settings["guard__threshold"] = 50
            d.restart()
            self.assertEqual(d.wait_serving("net", 2)["version"], 3)
            self.assertNotEqual(self.says(d), backdoor.TARGET)
            self.assertNotIn("is probed", d.since())
            self.assertNotIn("unchanged", d.since())

    def test_a_guard_that_dies_takes_it_up_again(self):
        """Whatever it was at: before the repair, as it is offered, and when it serves."""
        for line in ("is probed, and repaired", "net.onnx: offered", "version 2 serves"):
            with self.subTest(line), self.daemon() as d:
                d.drop(TRAPPED, "net")
                wait_for("a verdict", lambda: line in d.log.read_text().partition("version 1 serves")[2], PROBED)
                subprocess.run(["pkill", "-KILL", "-P", str(d.process.pid), "clp-guard"], check=True)
                d.wait_log("clp-guard was killed")
                self.assertEqual(self.wait_version(d, 1)["version"], 2)
                wait_for("it to be known as repaired", lambda: (self.probe_of(d) or {}).get("repaired"), PROBED)
                self.assertNotEqual(self.says(d), backdoor.TARGET)
                d.wait_file("net.onnx", "serving")
                self.assertEqual(d.model("net")["version"], 2)

    def test_hold_waits_for_a_person(self):
        with self.daemon(guard__on_repaired="hold") as d:
            d.drop(TRAPPED, "net")
            d.wait_serving("net")
            self.wait_probe(d, "repaired")
            self.assertEqual((d.model("net")["version"], self.says(d)), (1, backdoor.TARGET))
            clpctl("--socket", d.socket, "accept", "net", check=0)
            self.assertEqual(d.wait_serving("net", 1)["version"], 2)
            self.assertNotEqual(self.says(d), backdoor.TARGET)

    def test_a_sidecar_may_be_stricter_and_not_laxer(self):
        with self.daemon(guard__probe="background") as d:
            (d.models / "net.yaml").write_text("guard:\n  probe: off\n")
            d.drop(CLEAN, "net")
            self.assertIn("may only be stricter", d.wait_file("net.onnx", "rejected")["reason"])
            (d.models / "net.yaml").write_text("guard:\n  probe: before-serving\n")
            d.wait_file("net.onnx", "probing")
            self.wait_version(d, 0)


class BeforeServing(Case):
    def test_the_old_one_serves_until_the_verdict(self):
        with self.daemon(guard__probe="before-serving") as d:
            d.drop(CLEAN, "net")
            f = d.wait_file("net.onnx", "probing")
            self.assertIsNone(d.model("net"))
            self.assertEqual(self.wait_version(d, 0)["version"], 1)
            self.assertEqual(self.wait_probe(d, "clear")["state"], "known")
            d.drop(TRAPPED, "net")
            d.wait_file("net.onnx", "probing", "%")
            self.assertEqual(d.model("net")["version"], 1)
            m = self.wait_version(d, 1)  # never as it came
            self.assertEqual((m["version"], m["verdict"]), (2, "pruned"))
            self.assertNotEqual(self.says(d), backdoor.TARGET)

    def test_a_newer_file_takes_the_place_of_one_that_waits(self):
        with self.daemon(guard__probe="before-serving") as d:
            d.drop(TRAPPED, "net")
            d.wait_file("net.onnx", "probing")
            d.drop(CLEAN, "net")
            self.wait_version(d, 0)
            self.assertEqual(self.wait_probe(d, "clear")["state"], "known")
            self.assertEqual(d.model("net")["version"], 1)


class Misbehaving(Case):
    """Each costs a verdict, and nothing else."""

    def with_probe(self, how, **more):
        if not (BUILD / "hostile-probe").exists():
            self.skipTest(f"make {BUILD.name}/hostile-probe builds what this needs")
        d = self.daemon(**more)
        d.build = d.folder / "programs"
        d.build.mkdir()
        for name in ("clpd", "clp-guard"):
            shutil.copy(BUILD / name, d.build / name)
        shutil.copy(BUILD / "hostile-probe", d.build / "clp-probe")
        self.behave(d, how)
        return d

    def behave(self, d, how):
        (d.build / "how").write_text(how)

    @unittest.skipIf(SANITIZED, "a sanitizer's own handlers end these otherwise")
    def test_without_a_verdict(self):
        cases = {"abort": "signal (Aborted)", "crash": "signal (Segmentation fault)",
                 "mute": "ended without a result (status 0)", "rubbish": "broke its protocol",
                 "magic": "broke its protocol", "long": "broke its protocol", "twice": "broke its protocol",
                 "terminal": "red", "empty": "can't be"}
        with self.with_probe("mute") as d:
            version = 0
            opened = self.opened_by_guard(d)
            for note, (how, words) in enumerate(cases.items(), 1):
                with self.subTest(how):
                    self.behave(d, how)
                    d.drop(backdoor.network(note=note), "net")
                    version = d.wait_serving("net", version)["version"]
                    p = wait_for("no verdict", lambda: (p := self.probe_of(d)) and p["state"] == "failed" and p)
                    self.assertIn(words, p["text"])
                    self.assertTrue(p["text"].isprintable())
                    self.assertEqual(self.says(d), backdoor.TARGET)
            for how in ("hang", "chatter"):  # ended when nobody wants them any more
                self.behave(d, how)
                d.drop(backdoor.network(note=version + 50), "net")
                version = d.wait_serving("net", version)["version"]
                wait_for("it to run", lambda: (self.probe_of(d) or {}).get("state") == "running")
                self.assertEqual(self.says(d), backdoor.TARGET)
            self.behave(d, "clear")
            d.drop(backdoor.network(note=99), "net")
            d.wait_serving("net", version)
            self.wait_probe(d, "clear")
            self.assertEqual(d.status()["guard"]["restarts"], 0)
            # What it closed that was not its own would be the next file's: a pipe of a worker, say.
            wait_for("what it has open to be what it was", lambda: self.opened_by_guard(d) == opened)

    def opened_by_guard(self, d):
        pid = subprocess.run(["pgrep", "-P", str(d.process.pid), "clp-guard"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        links = []
        for n in os.listdir(f"/proc/{pid}/fd"):
            try:
                links.append((n, os.readlink(f"/proc/{pid}/fd/{n}")))
            except FileNotFoundError:
                pass
        return sorted(links)

    @unittest.skipUnless(os.environ.get("CLPD_FULL"), "CLPD_FULL=1: a hang is noticed two minutes after the budget")
    def test_a_hang_is_noticed(self):
        with self.with_probe("hang", guard__probe_budget_s=5) as d:
            d.drop(TRAPPED, "net")
            d.wait_serving("net")
            p = wait_for("no verdict", lambda: (p := self.probe_of(d)) and p["state"] == "failed" and p, patience=200)
            self.assertIn("did not end within its 5 s", p["text"])

    def test_lies_about_channels(self):
        with self.with_probe("no such channel") as d:
            d.drop(TRAPPED, "net")
            d.wait_serving("net")
            p = self.wait_probe(d, "suspect")  # what can't be pruned has repaired nothing
            self.assertIn("no convolution is called", p["text"])
            d.wait_file("net.onnx", "serving")
            self.assertEqual(d.model("net")["version"], 1)
            # All of a layer: what policy does not allow is held, and the network before goes on.
            self.behave(d, "all channels")
            d.drop(backdoor.network(note=1), "net")
            d.wait_serving("net", 1)
            f = d.wait_file("net.onnx", "held")
            self.assertIn("guard.max_pruned", f["reason"])
            self.assertEqual((d.model("net")["version"], self.says(d)), (2, backdoor.TARGET))

    def test_suspect_falls_back_or_is_held(self):
        with self.with_probe("clear", guard__on_suspect="fall-back") as d:
            d.drop(CLEAN, "net")
            d.wait_serving("net")
            self.wait_probe(d, "clear")
            self.behave(d, "suspect")
            d.drop(TRAPPED, "net")
            f = d.wait_file("net.onnx", "held")
            self.assertIn("rolled back to version 1", f["reason"])
            self.assertIn("class 0 stands out", f["reason"])
            self.assertEqual(d.model("net")["version"], 1)
            d.drop(TRAPPED, "other")  # nothing to fall back to: it serves, and says so
            d.wait_serving("other")
            self.wait_probe(d, "suspect", "other")
            self.assertEqual(d.file("other.onnx")["state"], "serving")
        with self.with_probe("suspect", guard__on_suspect="hold", guard__probe="before-serving") as d:
            d.drop(TRAPPED, "net")
            self.assertIn("guard.on_suspect", d.wait_file("net.onnx", "held")["reason"])
            self.assertIsNone(d.model("net"))
            d.restart()
            d.wait_file("net.onnx", "held")
            clpctl("--socket", d.socket, "accept", "net", check=0)
            d.wait_serving("net")


@unittest.skipUnless((SHARED / "models/rn16_badnets.onnx").exists(), f"{SHARED}/models is not here")
@unittest.skipUnless(os.environ.get("CLPD_FULL"), "CLPD_FULL=1: a probe of a real network takes minutes")
class Real(Case):
    def test_a_trained_backdoor(self):
        with self.daemon(guard__threshold=3.0) as d:
            d.drop(SHARED / "models/rn16_badnets.onnx", "net")
            d.wait_serving("net")
            p = wait_for("a verdict", lambda: (p := self.probe_of(d)) and p["verdict"] and p, patience=1500)
            self.assertIn(p["verdict"], ("repaired", "suspect"))
            self.assertIn("class 0 stands out", p["text"])


if __name__ == "__main__":
    unittest.main()
