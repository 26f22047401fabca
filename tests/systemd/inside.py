"""What runs inside the booted container: the packages under a real systemd, one story from install to purge."""
import ctypes
import json
import os
import pathlib
import shutil
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
NEXT = sorted(str(p) for p in pathlib.Path("/opt/clpd/next").glob("*.deb"))
RESTORED = "MESSAGE_ID=65d5f72b171e4fbb80fe93d956963a34"  # from the state folder


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


def rings(seconds):
    """Two clients on shared memory, for so long; their report is asked for at the end."""
    return subprocess.Popen(["runuser", "-u", "camera", "--", "clpctl", "load", "-m", "signs", "--transport", "shm", "--clients", "2",
                             "--seconds", str(seconds), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def entries(*matches):
    lines = run("journalctl", "-u", "clpd.service", "-o", "json", "--no-pager", *matches).stdout.splitlines()
    return [json.loads(line) for line in lines]


def ready_ms():
    """From the start of the process to READY=1, as systemd has it."""
    return (int(show("ActiveEnterTimestampMonotonic")) - int(show("ExecMainStartTimestampMonotonic"))) / 1000


def serving(name):
    try:
        return next((m for m in tables()["models"] if m["name"] == name), None)
    except OSError:
        return None


LIBC = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, DETACH, ALL = 0x4206, 0x4207, 17, 0x40000000


def ptrace(request, thread):
    return LIBC.ptrace(request, thread, None, None)


def stop_worker(pid):
    """Stops one worker of the daemon for good, wherever it is: in a computation, between two, in its sleep."""
    workers = [int(t.name) for t in pathlib.Path(f"/proc/{pid}/task").iterdir() if "clpd-work" in (t / "comm").read_text()]
    for thread in workers:
        if ptrace(SEIZE, thread):
            continue
        ptrace(INTERRUPT, thread)
        os.waitpid(thread, ALL)
        if others_go_on():
            return thread
        ptrace(DETACH, thread)
    return None


def let_die(thread):
    """Who traces a thread has to take note of its end before its process can go."""
    try:
        os.waitpid(thread, ALL | os.WNOHANG)
    except ChildProcessError:
        pass
    return True


def others_go_on():
    """It was stopped where it holds no lock."""
    answered = serving_requests()
    time.sleep(0.3)
    return serving_requests() > answered


def serving_requests():
    m = serving("signs")
    return m["requests"] if m else 0


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

    def test_22_the_two_commands_of_the_readme(self):
        readme = (HERE.parents[1] / "README.md").read_text()
        lines = [l.split("#")[0].strip() for l in readme.splitlines() if l.startswith(("sudo cp", "sudo clpctl classify"))]
        self.assertEqual([l.split()[1] for l in lines], ["cp", "clpctl"])
        folder = pathlib.Path("/tmp/readme")
        folder.mkdir()
        shutil.copy(SIGNS / "models/signs-clean.onnx", folder / "resnet18.onnx")
        shutil.copy(SIGNS / "data/stop.png", folder / "cat.jpg")
        run("sh", "-ec", lines[0].removeprefix("sudo "), cwd=folder)
        wait_for("the model", lambda: serving("resnet18"))
        self.assertIn("%", run("sh", "-ec", lines[1].removeprefix("sudo "), cwd=folder).stdout)
        (FOLDER / "resnet18.onnx").unlink()
        wait_for("it to be retired", lambda: not serving("resnet18"), 60)

    def test_22_who_is_in_the_group_may_ask(self):
        done = as_user("camera", "clpctl", "classify", "-m", "signs", str(SIGNS / "data/stop-sticker.png"))
        self.assertIn("%", done.stdout)
        self.assertEqual(as_user("stranger", "clpctl", "status", check=False).returncode, 2)

    def test_22_from_python(self):
        done = as_user("camera", "python3", "-c", "from clpd import Client\nc = Client()\n"
                       "print(c.classify('signs', bytes(48 * 48 * 3)).top[0][0].index, c.status()['models'])")
        self.assertRegex(done.stdout, r"^\d+ 1$")
        self.assertEqual(run("python3", "-c", "import importlib.metadata as m; print(m.version('clpd'))").stdout.strip(),
                         run("dpkg-query", "-W", "-f", "${Version}", "python3-clpd").stdout)

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

    def no_ring_failed(self, load):
        out, err = load.communicate(timeout=120)
        self.assertEqual(load.returncode, 0, err or out)
        said = json.loads(out)
        self.assertEqual(said["errors"], 0, out)
        return said["requests"]

    def test_40_a_restart_loses_no_request(self):
        wait_for("the image to be kept", lambda: show("NFileDescriptorStore") == "2")
        told = len(entries(RESTORED))
        load, times = rings(6), []
        with self.patient() as p:
            for _ in range(3):
                run("systemctl", "restart", "clpd.service")
                times.append(ready_ms())
                was = p.answered
                wait_for("answers after the restart", lambda was=was: p.answered > was + 20)
        self.assertEqual((p.failed, p.without_model), ([], 0))
        over_rings = self.no_ring_failed(load)
        self.assertEqual(len(entries(RESTORED)), told, "the state folder was needed")
        self.assertEqual(show("NFileDescriptorStore"), "2")
        print(f"restart: {over_rings} answered over rings; READY after {', '.join(f'{t:.0f}' for t in times)} ms", file=sys.stderr)
        print(f"restart: {p.answered} answered, {p.repeated} repeated, versions {sorted(p.versions)}", file=sys.stderr)

    def test_41_a_crash_loses_no_request(self):
        load = rings(8)
        with self.patient() as p:
            for _ in range(3):
                pid = show("MainPID")
                os.kill(int(pid), signal.SIGKILL)
                wait_for("a new process", lambda pid=pid: show("MainPID") not in (pid, "0"))
                was = p.answered
                wait_for("answers after the crash", lambda was=was: p.answered > was + 20)
        self.assertEqual((p.failed, p.without_model), ([], 0))
        print(f"crash: {p.answered} answered, {p.repeated} repeated, {self.no_ring_failed(load)} over rings", file=sys.stderr)

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

    def test_43_a_stuck_worker_is_noticed(self):
        """One thread alone is stopped; the others and the loop go on. It takes the minute that it may be silent for."""
        drop = pathlib.Path("/run/systemd/system/clpd.service.d/short.conf")
        drop.write_text("[Service]\nWatchdogSec=2\nTimeoutAbortSec=2\n")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "clpd.service")
        wait_for("the model", lambda: serving("signs"))
        pid, load = show("MainPID"), rings(150)
        try:
            stopped = wait_for("a worker without which the rest goes on", lambda: stop_worker(int(pid)), 60)
            wait_for("the watchdog", lambda: let_die(stopped) and show("MainPID") not in (pid, "0"), 120)
        finally:
            os.killpg(load.pid, signal.SIGKILL)
            load.communicate()
        self.assertTrue([e for e in entries() if "makes no progress" in str(e["MESSAGE"])])
        wait_for("the model again", lambda: serving("signs"), 60)
        drop.unlink()
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "clpd.service")

    def test_50_the_journal_tells_the_decision(self):
        told = [e for e in entries() if e.get("MODEL") == "signs" and e.get("MESSAGE_ID")]
        self.assertTrue(told, "no structured entry about the model")
        first = next(e for e in told if e["MESSAGE_ID"] in ("ae07827a780342858a27eea0b397ba88", "26c67c40fbab45c181aaa56f92953bab"))
        self.assertEqual((first["VERSION"], first["FILE"], len(first["SHA256"])), ("1", "signs.onnx", 64))
        self.assertIn(first["VERDICT"], ("pruned", "unchanged"))

    def test_51_the_catalog_explains_every_message(self):
        for identity in sorted({e["MESSAGE_ID"] for e in entries() if "MODEL" in e and "MESSAGE_ID" in e}):
            said = run("journalctl", "--dump-catalog", identity, check=False)
            self.assertIn("Subject:", said.stdout, identity)
        first = next(e for e in entries() if e.get("FILE") == "signs.onnx" and e.get("VERSION") == "1")
        told = run("journalctl", "-u", "clpd.service", "--catalog", "--no-pager", f"MESSAGE_ID={first['MESSAGE_ID']}").stdout
        self.assertIn("The file signs.onnx was imported as version 1", told)

    def test_55_another_policy_counts_from_the_restart_on(self):
        """A key that root alone can read, as a credential; what systemd has kept is not served by the old policy."""
        key, path = pathlib.Path("/etc/credstore/clpd.pub"), pathlib.Path("/etc/clpd/clpd.yaml")
        key.parent.mkdir(exist_ok=True)
        shutil.copy("/opt/clpd/keys/signer.pub", key)
        key.chmod(0o600)
        before = path.read_text()
        self.assertIn('signature_key: ""', before)
        path.write_text(before.replace('signature_key: ""', "signature_key: clpd.pub"))
        run("systemctl", "restart", "clpd.service")
        self.assertIsNone(serving("signs"))
        wait_for("the reason", lambda: "no signature" in str([f["reason"] for f in tables()["files"]]))
        shutil.copy("/opt/clpd/keys/signs.onnx.sig", FOLDER / "signs.onnx.sig")
        wait_for("the signed model", lambda: serving("signs"))
        path.write_text(before)
        key.unlink()
        run("systemctl", "restart", "clpd.service")
        wait_for("the model", lambda: serving("signs"), 60)

    def test_60_an_upgrade_loses_no_request(self):
        self.assertEqual(len(NEXT), 4)
        told, load, pid = len(entries(RESTORED)), rings(20), show("MainPID")
        with self.patient() as p:
            run("dpkg", "-i", *NEXT)
            wait_for("the new process", lambda: show("MainPID") not in (pid, "0"))
            was = p.answered
            wait_for("answers after the upgrade", lambda: p.answered > was + 20)
            self.assertIsNone(load.poll(), "the upgrade took longer than the load on rings")
        self.assertEqual((p.failed, p.without_model), ([], 0))
        self.assertEqual(len(entries(RESTORED)), told, "the state folder was needed")
        self.assertTrue(run("dpkg-query", "-W", "-f", "${Version}", "clpd").stdout.endswith("+next"))
        print(f"upgrade: {p.answered} answered, {p.repeated} repeated, {self.no_ring_failed(load)} over rings", file=sys.stderr)

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
