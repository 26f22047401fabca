"""What runs inside the booted container: the packages under a real systemd, one story from install to purge."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
os.environ["CLPD_BUILD"] = "/usr/bin"
sys.path.insert(0, str(HERE.parent / "e2e"))
from harness import MODELS, NO_MODEL, OK, SIGNS, STATUS, U8, Client, wait_for  # noqa: E402

SOCKET = "/run/clpd/clpd.sock"
FOLDER = pathlib.Path("/var/lib/clpd/models")
SHAPE = (48, 48, 3)  # what the signs networks take
DEBS = sorted(str(p) for p in pathlib.Path("/opt/clpd/deb").glob("*.deb"))


def run(*args, check=True, **kwargs):
    done = subprocess.run(args, capture_output=True, text=True, timeout=300, **kwargs)
    if check and done.returncode:
        raise AssertionError(f"{args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def show(name, unit="clpd.service"):
    return run("systemctl", "show", "-P", name, unit).stdout.strip()


def as_user(user, *args, **kwargs):
    return run("runuser", "-u", user, "--", *args, **kwargs)


def tables():
    with Client(SOCKET) as c:
        return c.ask(MODELS)


def serving(name):
    try:
        return next((m for m in tables()["models"] if m["name"] == name), None)
    except OSError:
        return None


class Patient(threading.Thread):
    """A client as a camera has one: asks over and over, connects again when the connection ends, and repeats what was
    not answered. `failed` is what no repetition within 20 s could get answered."""

    def __init__(self, model, dims, tensor):
        super().__init__(daemon=True)
        self.model, self.dims, self.tensor = model, dims, tensor
        self.stopping, self.failed, self.versions = threading.Event(), [], set()
        self.answered = self.repeated = self.without_model = 0

    def once(self, state):
        if state.get("client") is None:
            state["client"] = Client(SOCKET, timeout=20)
        reply = state["client"].infer(self.model, self.dims, self.tensor, U8)
        self.without_model += reply.status == NO_MODEL
        if reply.status != OK:
            raise ConnectionError(f"{reply.status} {reply.text}")
        self.versions.add(reply.version)

    @staticmethod
    def hang_up(state):
        client = state.pop("client", None)
        if client:
            client.close()

    def run(self):
        state = {}
        while not self.stopping.is_set():
            end = time.monotonic() + 20
            while True:
                try:
                    self.once(state)
                    self.answered += 1
                    break
                except OSError as e:
                    self.hang_up(state)
                    self.repeated += 1
                    if time.monotonic() > end:
                        self.failed.append(repr(e))
                        break
                    time.sleep(0.002)
        self.hang_up(state)

    def __enter__(self):
        self.start()
        wait_for("the first answers", lambda: self.answered > 20)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.join(60)


class Service(unittest.TestCase):
    """In the order of their names."""

    def patient(self):
        m = serving("signs")
        self.assertIsNotNone(m)
        return Patient("signs", [1, *SHAPE], bytes(SHAPE[0] * SHAPE[1] * SHAPE[2]))

    def test_10_units_are_in_order(self):
        for unit in ("clpd.socket", "clpd-http.socket", "clpd.service"):
            self.assertEqual(run("systemctl", "is-enabled", unit).stdout.strip(), "enabled", unit)
        verify = run("systemd-analyze", "verify", "--man=no", "clpd.service", "clpd.socket", "clpd-http.socket", check=False)
        self.assertEqual((verify.returncode, verify.stderr), (0, ""))
        table = json.loads(run("systemd-analyze", "security", "--json=short", "clpd.service", "--no-pager").stdout)
        self.assertTrue(table)
        self.assertEqual(run("systemd-analyze", "security", "--threshold=5", "clpd.service", check=False).returncode, 0,
                         "exposure above 0.5")

    def test_11_the_package_made_accounts_and_folders(self):
        self.assertIn("clpd", run("getent", "passwd", "clpd").stdout)
        self.assertIn("clpd-models", run("getent", "group", "clpd-models").stdout)
        status = FOLDER.stat()
        self.assertEqual(status.st_mode & 0o7777, 0o2775)
        run("useradd", "-M", "-G", "clpd-models", "deployer")
        run("useradd", "-M", "-G", "clpd", "camera")
        run("useradd", "-M", "stranger")

    def test_20_the_first_connection_starts_the_daemon(self):
        run("systemctl", "stop", "clpd.service")
        self.assertEqual(show("ActiveState"), "inactive")
        with Client(SOCKET, timeout=60) as c:
            self.assertIn("io_backend", json.dumps(c.ask(STATUS)))
        wait_for("the service to be ready", lambda: show("ActiveState") == "active")

    def test_21_a_deployer_who_is_not_root_puts_a_model_there(self):
        as_user("deployer", "cp", str(SIGNS / "models/signs.yaml"), str(SIGNS / "models/signs-clean.onnx"), "/tmp")
        as_user("deployer", "cp", "/tmp/signs.yaml", str(FOLDER / "signs.yaml"))
        as_user("deployer", "cp", "/tmp/signs-clean.onnx", str(FOLDER / "signs.onnx"))
        wait_for("the model to be served", lambda: serving("signs"))
        self.assertEqual((FOLDER / "signs.onnx").stat().st_gid, int(run("getent", "group", "clpd-models").stdout.split(":")[2]))

    def test_22_who_is_in_the_group_may_ask(self):
        done = as_user("camera", "clpctl", "classify", "-m", "signs", str(SIGNS / "data/stop-sticker.png"))
        self.assertIn("%", done.stdout)
        self.assertEqual(as_user("stranger", "clpctl", "status", check=False).returncode, 2)

    def test_23_the_status_line_says_what_is_served(self):
        self.assertIn("Serving 1 model", show("StatusText"))

    def test_30_reload_applies_what_can_be_applied(self):
        before = show("MainPID")
        path = pathlib.Path("/etc/clpd/clpd.yaml")
        path.write_text(path.read_text().replace("level: info", "level: debug"))
        run("systemctl", "reload", "clpd.service")
        self.assertEqual((show("ActiveState"), show("MainPID")), ("active", before))
        path.write_text(path.read_text() + "\nnonsense: 1\n")
        run("systemctl", "reload", "clpd.service")
        wait_for("the mistake to be in the journal", lambda: "nonsense" in run(
            "journalctl", "-u", "clpd.service", "-o", "cat", "--no-pager").stdout)
        self.assertEqual((show("ActiveState"), show("MainPID")), ("active", before))
        path.write_text(path.read_text().replace("\nnonsense: 1\n", "\n"))
        run("systemctl", "reload", "clpd.service")

    def test_40_a_restart_loses_no_request(self):
        with self.patient() as p:
            for _ in range(3):
                run("systemctl", "restart", "clpd.service")
                was = p.answered
                wait_for("answers after the restart", lambda was=was: p.answered > was + 20)
        self.assertEqual((p.failed, p.without_model), ([], 0))
        print(f"restart: {p.answered} answered, {p.repeated} repeated, versions {sorted(p.versions)}", file=sys.stderr)

    def test_41_a_crash_loses_no_request(self):
        with self.patient() as p:
            for _ in range(3):
                pid = show("MainPID")
                os.kill(int(pid), signal.SIGKILL)
                wait_for("a new process", lambda pid=pid: show("MainPID") not in (pid, "0"))
                was = p.answered
                wait_for("answers after the crash", lambda was=was: p.answered > was + 20)
        self.assertEqual((p.failed, p.without_model), ([], 0))
        print(f"crash: {p.answered} answered, {p.repeated} repeated", file=sys.stderr)

    def test_42_a_stuck_daemon_is_restarted_by_the_watchdog(self):
        drop = pathlib.Path("/run/systemd/system/clpd.service.d/short.conf")
        drop.parent.mkdir(parents=True, exist_ok=True)
        drop.write_text("[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "clpd.service")
        pid = show("MainPID")
        os.kill(int(pid), signal.SIGSTOP)
        wait_for("the watchdog", lambda: show("MainPID") not in (pid, "0"))
        wait_for("the model again", lambda: serving("signs"))
        drop.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "clpd.service")

    def test_50_the_journal_tells_the_decision(self):
        lines = run("journalctl", "-u", "clpd.service", "-o", "json", "--no-pager").stdout.splitlines()
        entries = [json.loads(l) for l in lines]
        told = [e for e in entries if e.get("MODEL") == "signs" and e.get("MESSAGE_ID")]
        self.assertTrue(told, "no structured entry about the model")

    def test_60_an_upgrade_loses_no_request(self):
        with self.patient() as p:
            pid = show("MainPID")
            run("dpkg", "-i", *DEBS)
            wait_for("the new process", lambda: show("MainPID") not in (pid, "0"))
            was = p.answered
            wait_for("answers after the upgrade", lambda: p.answered > was + 20)
        self.assertEqual((p.failed, p.without_model), ([], 0))
        print(f"upgrade: {p.answered} answered, {p.repeated} repeated", file=sys.stderr)

    def test_90_removing_keeps_purging_takes_what_is_its_own(self):
        run("dpkg", "-r", "clpd")
        self.assertFalse(pathlib.Path("/usr/sbin/clpd").exists())
        self.assertTrue(pathlib.Path("/etc/clpd/clpd.yaml").exists())
        run("dpkg", "-P", "clpd")
        self.assertFalse(pathlib.Path("/etc/clpd").exists())
        self.assertFalse(pathlib.Path("/var/lib/clpd/state").exists())
        self.assertTrue((FOLDER / "signs.onnx").exists(), "models are not the package's to delete")


if __name__ == "__main__":
    unittest.main(verbosity=2, failfast=True)
