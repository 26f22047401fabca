"""What systemd is told and what it keeps, with a stand-in for it that holds descriptors by name and passes them to the next
process: after a restart or a crash clpd serves from there before any import. The real one is in `make test-systemd`."""
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import unittest

from harness import BUILD, PATIENCE, ROOT, SIGNS, Daemon, wait_for
from test_http import Http


class Manager(threading.Thread):
    """systemd's half of sd_notify(3) and of its descriptor store."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.path, self.said, self.store = path, [], []
        self.start()

    def run(self):
        while True:
            data, fds, _, _ = socket.recv_fds(self.socket, 4096, 8)
            if data == b"end":
                return
            said = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.said.append(said)
            if "FDSTORE" in said:
                self.store = self.store + [(said["FDNAME"], fd) for fd in fds]
            elif "FDSTOREREMOVE" in said:
                self.forget(said["FDNAME"])

    def forget(self, name):
        gone = [fd for n, fd in self.store if n == name]
        self.store = [(n, fd) for n, fd in self.store if n != name]
        for fd in gone:
            os.close(fd)

    def names(self):
        return sorted(name for name, _ in self.store)

    def heard(self, key):
        return [s for s in self.said if key in s]

    def stop(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"end", str(self.path))
        self.join(PATIENCE)
        for name in set(self.names()):
            self.forget(name)
        self.socket.close()


class Kept(Daemon):
    """A daemon that is started as a unit of Type=notify is, with what the manager has kept for it."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.manager = Manager(self.folder / "notify")

    def spawn(self):
        kept = [(name, os.dup(fd)) for name, fd in self.manager.store]
        high = [os.dup2(fd, 200 + i) for i, (_, fd) in enumerate(kept)]  # out of the way of where they belong
        environment = dict(os.environ, NOTIFY_SOCKET=str(self.manager.path))
        if kept:
            environment.update(LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=":".join(name for name, _ in kept))
        moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
        command = f'exec env LISTEN_PID=$$ "$0" "$@" {moves}'  # whoever execs keeps its number
        self.process = subprocess.Popen(["bash", "-c", command, self.build / "clpd", "--config", self.config], env=environment,
                                        stderr=open(self.log, "ab"), pass_fds=high)
        for fd in high + [fd for _, fd in kept]:
            os.close(fd)

    def start(self):
        self.write_config()
        (self.folder / "state").mkdir(exist_ok=True)
        ready = len(self.manager.heard("READY"))
        self.spawn()
        wait_for("READY=1", lambda: len(self.manager.heard("READY")) > ready)
        return self

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(PATIENCE)

    def stop(self):
        if self.process.poll() is None:
            self.end(signal.SIGTERM)
        self.manager.stop()
        super().stop()


def load(d, transport, seconds):
    """Asks without a pause; what it says at its end."""
    return subprocess.Popen([BUILD / "clpctl", "--socket", d.socket, "load", "-m", "signs", "--transport", transport, "--clients",
                             "2", "--seconds", str(seconds), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Store(unittest.TestCase):
    def daemon(self, **settings):
        d = Kept(**settings)
        self.addCleanup(d.stop)
        d.start()
        return d

    def signs(self, d, kind="clean"):
        d.drop(SIGNS / f"models/signs-{kind}.onnx", "signs", SIGNS / "models/signs.yaml")

    def test_what_systemd_is_told(self):
        d = self.daemon()
        self.assertTrue(any(n.startswith("kept.listen.stream.") for n in d.manager.names()), d.manager.names())
        self.assertTrue(any(n.startswith("kept.listen.http.") for n in d.manager.names()), d.manager.names())
        self.signs(d)
        digest = d.wait_serving("signs")["sha256"]
        first = f"kept.image.signs.1.{digest[:12]}"
        wait_for("the image to be kept", lambda: d.manager.names().count(first) == 2)
        self.signs(d, "backdoor")
        digest = d.wait_serving("signs", newer_than=1)["sha256"]
        second = f"kept.image.signs.2.{digest[:12]}"
        wait_for("the second to be kept", lambda: d.manager.names().count(second) == 2)
        wait_for("the first to be forgotten", lambda: first not in d.manager.names())
        d.process.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: d.manager.heard("RELOADING"))
        self.assertGreater(int(d.manager.heard("RELOADING")[0]["MONOTONIC_USEC"]), 0)
        (d.models / "signs.onnx").unlink()
        wait_for("the retired one to be forgotten", lambda: second not in d.manager.names())
        d.end(signal.SIGTERM)
        wait_for("the farewell", lambda: d.manager.heard("STOPPING"))

    def test_a_crash_and_a_restart_serve_from_the_store(self):
        d = self.daemon()
        self.signs(d)
        served = d.wait_serving("signs")
        wait_for("the guard to have kept it", lambda: "signs@index" in os.listdir(d.folder / "state"))
        shutil.rmtree(d.folder / "state")  # so that it can be from nowhere else
        for how in (signal.SIGKILL, signal.SIGTERM):
            wait_for("the image to be kept", lambda: sum(n.startswith("kept.image.signs.1.") for n in d.manager.names()) == 2)
            d.end(how)
            self.assertTrue(d.socket.exists(), "who asks meanwhile waits, and is not refused")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early:
                early.connect(str(d.socket))
                size = d.log.stat().st_size
                d.start()
            m = d.model("signs")
            self.assertEqual((m["version"], m["sha256"]), (1, served["sha256"]))
            self.assertEqual(d.file("signs.onnx")["state"], "serving", "nothing is to be imported")
            self.assertNotIn("importing", d.log.read_text()[size:])
            self.assertIn("goes on listening", d.log.read_text()[size:])

    def test_clients_on_rings_see_no_failed_request(self):
        d = self.daemon()
        self.signs(d)
        d.wait_serving("signs")
        rings = load(d, "shm", PATIENCE / 10)  # longer than two restarts take on a busy machine
        for how in (signal.SIGKILL, signal.SIGTERM):
            answered = d.model("signs")["requests"]
            wait_for("requests", lambda answered=answered: d.model("signs")["requests"] > answered + 10)
            d.end(how)
            d.start()
        out, err = rings.communicate(timeout=PATIENCE * 4)
        self.assertEqual(rings.returncode, 0, err)
        said = json.loads(out)
        self.assertEqual(said["errors"], 0, (said, err))
        self.assertGreater(d.model("signs")["requests"], 0, "it went on with the last one")

    def test_a_python_client_sees_no_failed_request(self):
        sys.path.insert(0, str(ROOT / "client/python"))
        import clpd
        d = self.daemon()
        self.signs(d)
        d.wait_serving("signs")
        answers, failed, stopping = [], [], threading.Event()

        def ask():
            with clpd.Client(d.socket, timeout=PATIENCE) as c:
                while not stopping.is_set():
                    try:
                        answers.append(c.classify("signs", bytes(48 * 48 * 3)).top[0][0].index)
                    except clpd.ClpdError as e:
                        failed.append(repr(e))
        asker = threading.Thread(target=ask, daemon=True)
        asker.start()
        for how in (signal.SIGKILL, signal.SIGTERM):
            wait_for("answers", lambda n=len(answers): len(answers) > n + 20)
            d.end(how)
            d.start()
        wait_for("more answers", lambda n=len(answers): len(answers) > n + 20)
        stopping.set()
        asker.join(PATIENCE)
        self.assertEqual((failed, len(set(answers))), ([], 1))

    def test_http_says_nothing_before_it_knows(self):
        d = self.daemon()
        self.signs(d)
        d.wait_serving("signs")
        wait_for("the image to be kept", lambda: sum(".signs." in n for n in d.manager.names()) == 2)
        seen, stopping = set(), threading.Event()

        def ask():
            while not stopping.is_set():
                c = Http(d.folder / "http.sock")
                try:
                    c.request("GET", "/v2/models/signs/ready")
                    seen.add(c.getresponse().status)
                except (OSError, http.client.HTTPException):
                    pass  # it went away: nobody was told anything wrong
                finally:
                    c.close()
        asker = threading.Thread(target=ask, daemon=True)
        asker.start()
        for how in (signal.SIGKILL, signal.SIGTERM) * 2:
            d.end(how)
            d.start()
        stopping.set()
        asker.join(PATIENCE)
        # 503: it is stopping. 404: the door opens after two seconds in any case, as on a machine that stands still.
        slow = any(int(ms) >= 2000 for ms in re.findall(r"ready after (\d+) ms", d.log.read_text()))
        self.assertEqual(seen - {503} - ({404} if slow else set()), {200})

    def test_another_policy_is_asked_before_the_door_opens(self):
        d = self.daemon()
        self.signs(d)
        d.wait_serving("signs")
        wait_for("the image to be kept", lambda: any(".signs." in n for n in d.manager.names()))
        d.end(signal.SIGKILL)
        digests = d.folder / "allowed"
        digests.write_text("0" * 64 + "\n")
        d.settings["guard__allowed_digests"] = str(digests)
        d.start()
        self.assertIsNone(d.model("signs"))
        d.wait_file("signs.onnx", "rejected", "allowed")
        wait_for("it to be forgotten", lambda: not any(".signs." in n for n in d.manager.names()))

    def test_what_is_damaged_in_the_store_is_not_served(self):
        d = self.daemon()
        self.signs(d)
        d.wait_serving("signs")
        wait_for("the image to be kept", lambda: sum(".signs." in n for n in d.manager.names()) == 2)
        d.end(signal.SIGKILL)
        store = []
        for name, fd in d.manager.store:  # an image whose last bytes are others, with everything else as it was
            if ".signs." in name and os.fstat(fd).st_size > 4096:
                data = bytearray(os.pread(fd, os.fstat(fd).st_size, 0))
                data[-1] ^= 1
                os.close(fd)
                fd = os.memfd_create("damaged", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                os.write(fd, data)
                fcntl.fcntl(fd, 1033, 15)  # F_ADD_SEALS: all
            store.append((name, fd))
        d.manager.store = store
        d.start()
        d.wait_log("is refused")
        d.wait_serving("signs")  # what the state folder has


if __name__ == "__main__":
    unittest.main()
