"""Command lines: exit codes, JSON, and messages that say what to do."""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

from harness import BUILD, SIGNS, Daemon, clpctl, wait_for


class Clpctl(unittest.TestCase):
    def test_scan_exit_codes(self):
        self.assertEqual(clpctl("scan", SIGNS / "models/signs-backdoor.onnx").returncode, 1)
        self.assertEqual(clpctl("scan", "--threshold", "1000", SIGNS / "models/signs-backdoor.onnx").returncode, 0)
        done = clpctl("scan", "/nonexistent.onnx")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nonexistent.onnx", done.stderr)

    def test_scan_json_is_the_documented_schema(self):
        report = json.loads(clpctl("scan", "--json", SIGNS / "models/signs-backdoor.onnx", check=1).stdout)
        self.assertEqual(report["schema"], 1)
        for key in ("model", "sha256", "threshold", "statistic", "verdict", "pruned_channels", "total_channels",
                    "elapsed_ms", "layers"):
            self.assertIn(key, report)
        layer = report["layers"][0]
        for key in ("name", "channels", "scored", "reason", "norm", "mean", "std", "cutoff", "max_attainable_z",
                    "uclc", "pruned"):
            self.assertIn(key, layer)
        self.assertEqual(len(layer["uclc"]), layer["channels"])

    def test_scan_html_is_self_contained(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder) / "report.html"
            clpctl("scan", "--html", page, SIGNS / "models/signs-backdoor.onnx", check=1)
            text = page.read_text()
        self.assertIn("<svg", text)
        for outside in ("http://", "https://", "src=", "@import"):
            self.assertNotIn(outside, text.replace("http://www.w3.org/2000/svg", ""))

    def test_bench_json(self):
        result = json.loads(clpctl("bench", "--json", SIGNS / "models/signs-clean.onnx", check=0).stdout)
        for key in ("model", "batch", "threads", "median_ms", "p99_ms", "runs"):
            self.assertIn(key, result)
        self.assertGreater(result["median_ms"], 0)

    def test_no_daemon_is_said_plainly(self):
        done = clpctl("--socket", "/nonexistent/clpd.sock", "status", check=2)
        self.assertIn("/nonexistent/clpd.sock", done.stderr)

    def test_unknown_command(self):
        self.assertEqual(clpctl("frobnicate").returncode, 2)
        self.assertEqual(clpctl("--help").returncode, 0)

    def test_against_a_daemon(self):
        with Daemon() as d:
            d.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
            d.wait_serving("signs")
            done = clpctl("--socket", d.socket, "classify", "-m", "signs", "-k", "2", SIGNS / "data/stop.png", check=0)
            self.assertIn("stop", done.stdout)
            status = json.loads(clpctl("--socket", d.socket, "status", "--json", check=0).stdout)
            self.assertEqual(status["schema"], 1)
            models = json.loads(clpctl("--socket", d.socket, "models", "--json", check=0).stdout)
            self.assertEqual(models["models"][0]["name"], "signs")
            self.assertIn("signs", clpctl("--socket", d.socket, "models", check=0).stdout)
            load = json.loads(clpctl("--socket", d.socket, "load", "-m", "signs", "--clients", "2", "--seconds", "1",
                                     "--json", check=0).stdout)
            for key in ("transport", "requests", "errors", "rps", "p50_us", "p99_us", "p999_us", "max_us", "versions"):
                self.assertIn(key, load)
            self.assertEqual(load["errors"], 0)
            self.assertGreater(load["requests"], 0)
            self.assertEqual(load["versions"], [1])


class Clpd(unittest.TestCase):
    def check(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "clpd.yaml"
            path.write_text(text)
            return subprocess.run([BUILD / "clpd", "--config", path, "--check"], capture_output=True, text=True)

    def test_check_finds_errors_without_starting(self):
        done = self.check("limits:\n  queue: many\n")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("clpd.yaml:2", done.stderr)
        done = self.check("engine:\n  thread: 2\n")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("threads", done.stderr)

    def test_check_prints_what_is_in_force(self):
        done = self.check("engine:\n  max_batch: 4\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("max_batch: 4", done.stdout)

    def test_reload_applies_what_it_can_and_says_what_it_cannot(self):
        with Daemon(http__body_bytes="4K", limits__inflight=8) as d:
            def post(n):
                c = http.client.HTTPConnection("clpd", timeout=30)
                c.sock = socket.socket(socket.AF_UNIX)
                c.sock.connect(str(d.folder / "http.sock"))
                c.request("POST", "/v2/models/none/infer", b" " * n)
                return c.getresponse().status
            self.assertEqual((post(4000), post(6000)), (404, 413))
            d.settings.update(http__body_bytes="64K", engine__max_batch=3, http__threads=2, limits__inflight=5)
            d.write_config()
            d.process.send_signal(1)
            d.wait_log("configuration read again")
            self.assertEqual((post(6000), post(90000)), (404, 413))
            log = d.log.read_text()
            for key in ("engine.max_batch", "http.threads"):
                self.assertIn(f"{key} has changed: that needs a restart", log)
            for key in ("http.body_bytes", "limits.inflight"):
                self.assertNotIn(f"{key} has changed", log)
            d.settings.update(http__body_bytes="nonsense", limits__inflight=8)
            d.write_config()
            d.process.send_signal(1)
            d.wait_log("the configuration stays as it was")
            self.assertEqual((post(6000), post(90000)), (404, 413))

    def test_a_second_daemon_on_one_socket_is_refused(self):
        with Daemon() as d:
            done = subprocess.run([BUILD / "clpd", "--config", d.config], capture_output=True, text=True, timeout=60)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(str(d.socket), done.stderr)
            self.assertTrue(d.answers())

    def test_sd_notify_and_watchdog(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "notify")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
                s.bind(path)
                s.settimeout(30)
                os.environ.update(NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
                try:
                    d = Daemon().start()
                finally:
                    del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
                seen = ""
                while "READY=1" not in seen or "WATCHDOG=1" not in seen:
                    seen += s.recv(4096).decode() + "\n"
                d.process.send_signal(1)
                while "RELOADING=1" not in seen or "MONOTONIC_USEC=" not in seen:
                    seen += s.recv(4096).decode() + "\n"
                d.stop()
                s.setblocking(False)
                try:
                    while True:
                        seen += s.recv(4096).decode() + "\n"
                except OSError:
                    pass
            self.assertIn("STATUS=", seen)
            self.assertIn("STOPPING=1", seen)

    def test_the_guard_is_restarted_and_serving_goes_on(self):
        with Daemon() as d:
            d.drop(SIGNS / "models/signs-clean.onnx", "signs")
            d.wait_serving("signs")
            guard = d.processes()[1]
            os.kill(guard, 9)
            wait_for("another guard", lambda: [p for p in d.processes()[1:] if p != guard])
            self.assertEqual(d.model("signs")["version"], 1)
            d.drop(SIGNS / "models/signs-backdoor.onnx", "signs")
            self.assertEqual(d.wait_serving("signs", 1)["version"], 2)

    def test_what_changes_while_there_is_no_guard_is_seen_by_the_next(self):
        with Daemon() as d:
            d.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
            d.wait_file("signs.onnx", "serving")
            os.kill(d.processes()[1], 9)
            (d.models / "signs.yaml").write_text("guard:\n  threshold: 1.5\n")
            served = d.wait_serving("signs", 1)
            self.assertEqual((served["version"], served["labels"]), (2, False))
            self.assertGreater(served["pruned_channels"], 0)
            guard = d.wait_file("signs.onnx", "serving") and d.processes()[1]
            os.kill(guard, 9)  # and what has not changed is not imported again
            wait_for("another guard", lambda: [p for p in d.processes()[1:] if p != guard])
            d.wait_file("signs.onnx", "serving")
            self.assertEqual(d.model("signs")["version"], 2)
            self.assertNotIn("the same contents as before", d.log.read_text())


if __name__ == "__main__":
    unittest.main()
