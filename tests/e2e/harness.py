"""Starts the real daemon on a temporary folder and talks to it: standard library only."""
import array
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CLPD_BUILD", ROOT / "build")).resolve()
SHARED = pathlib.Path(os.environ.get("CLPD_SHARED", ROOT.parent / "shared"))
SIGNS = ROOT / "scripts" / "signs"
sys.path.insert(0, str(SIGNS))
from heldout import argmax_rows, rates, read_npy, write_npy  # noqa: E402,F401 (tests take them from here)
SANITIZED = "asan" in BUILD.name
TSAN = "tsan" in BUILD.name  # ten times as slow, and imports give way to who asks
PATIENCE = 600.0 if TSAN else 240.0 if SANITIZED else 120.0  # for waiting, never for asserting speed

OK, BUSY, DEADLINE, NO_MODEL, BAD_SHAPE, BAD_REQUEST, TOO_LARGE, BAD_FRAME = range(8)
INFER, INFER_REPLY, STATUS, MODELS, JSON_REPLY, ERROR = range(1, 7)
F32, U8 = 0, 1
MAGIC = 0x44504C43
HEADER = struct.Struct("<IBBHQQQ")
INFER_BODY = struct.Struct("<64sIHBB6I")
REPLY = struct.Struct("<IIIIQQQIIII32sQ")
TOP = struct.Struct("<IffI")
TOLD_LEAK = re.compile(r"^=+\nWARNING: ThreadSanitizer: thread leak.*?^=+\n|^ThreadSanitizer: reported \d+ warnings$", re.M | re.S)


def wait_for(what, probe, patience=PATIENCE):
    """Polls until `probe` gives something true; that is returned."""
    end = time.monotonic() + patience
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(0.01)


# ---- arrays ----

def worst_difference(got, want):
    """Largest difference relative to the largest magnitude of `want`."""
    scale = max(abs(x) for x in want)
    assert len(got) == len(want), (len(got), len(want))
    return max(abs(a - b) for a, b in zip(got, want)) / scale


# ---- the stream protocol ----

class Reply:
    def __init__(self, kind, ident, body):
        self.kind, self.id = kind, ident
        if kind == JSON_REPLY:
            self.json = json.loads(body)
            return
        (self.status, self.items, self.classes, self.top_k, self.version, self.queue_ns, self.compute_ns,
         self.batch, has_scores, text_bytes, _, self.sha256, _) = REPLY.unpack_from(body)
        at = REPLY.size
        self.text = ""
        if self.status != OK:
            self.text = body[at:at + text_bytes].split(b"\0")[0].decode()
            return
        self.scores = array.array("f")
        if has_scores:
            self.scores.frombytes(body[at:at + 4 * self.items * self.classes])
            at += 4 * self.items * self.classes
        labels = body[len(body) - text_bytes:]
        self.top = []
        for _ in range(self.items):
            row = []
            for _ in range(self.top_k):
                index, score, probability, label = TOP.unpack_from(body, at)
                at += TOP.size
                text = None if label == 0xFFFFFFFF else labels[label:labels.index(b"\0", label)].decode()
                row.append((index, score, probability, text))
            self.top.append(row)


class Client:
    def __init__(self, path, timeout=PATIENCE):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.next_id = 1

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, kind, body=b"", ident=None, magic=MAGIC, version=1, size=None):
        if ident is None:
            ident = self.next_id
            self.next_id += 1
        header = HEADER.pack(magic, version, kind, 0, ident, len(body) if size is None else size, 0)
        self.socket.sendall(header + body)
        return ident

    def send_infer(self, model, dims, tensor, fmt=F32, top_k=0, scores=True, timeout_us=0):
        dims = list(dims) + [0] * (6 - len(dims))
        body = INFER_BODY.pack(model.encode(), timeout_us, top_k, 1 if scores else 0, fmt, *dims)
        return self.send(INFER, body + bytes(tensor))

    def receive_exactly(self, size):
        parts = bytearray()
        while len(parts) < size:
            part = self.socket.recv(size - len(parts))
            if not part:
                raise ConnectionError("the daemon closed the connection")
            parts += part
        return bytes(parts)

    def receive(self):
        magic, version, kind, _, ident, size, _ = HEADER.unpack(self.receive_exactly(HEADER.size))
        assert magic == MAGIC and version == 1
        return Reply(kind, ident, self.receive_exactly(size))

    def infer(self, *args, **kwargs):
        ident = self.send_infer(*args, **kwargs)
        reply = self.receive()
        assert reply.id == ident
        return reply

    def ask(self, kind):
        self.send(kind)
        return self.receive().json


# ---- the daemon ----

class Daemon:
    """A real clpd with its guard, in a temporary folder."""

    def __init__(self, **settings):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="clpd-e2e-"))
        self.models = self.folder / "models"
        self.models.mkdir()
        self.socket = self.folder / "clpd.sock"
        self.config = self.folder / "clpd.yaml"
        # CLPD_IO: what a whole suite runs on (test_epoll.py)
        self.settings = {"io__backend": os.environ["CLPD_IO"], **settings} if "CLPD_IO" in os.environ else settings
        if SANITIZED or TSAN:  # no file is to be given up on a slow machine
            self.settings = {"guard__worker": "{seconds: 600}", **self.settings}
        self.process = None
        self.prefix = []  # what it is started by
        self.build = BUILD
        self.log = self.folder / "log"

    def write_config(self):
        lines = [f"models: {self.models}", f"state: {self.folder / 'state'}"]
        tree = {"socket": {"path": str(self.socket)}, "guard": {"settle_ms": 200, "retire_s": 1, "probe": "off"}}
        for key, value in self.settings.items():
            section, _, name = key.partition("__")
            tree.setdefault(section, {})[name] = value
        for section, keys in tree.items():
            lines.append(f"{section}:")
            lines += [f"  {name}: {value}" for name, value in keys.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self):
        self.write_config()
        (self.folder / "state").mkdir(exist_ok=True)
        environment = dict(os.environ)
        self.process = subprocess.Popen([*self.prefix, self.build / "clpd", "--config", self.config], env=environment,
                                        stderr=open(self.log, "ab"))
        wait_for("the socket to answer", self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"clpd ended with {self.process.returncode}:\n{self.log.read_text()}")
        try:
            with self.client() as c:
                return c.ask(STATUS)
        except OSError:
            return None

    def client(self):
        return Client(self.socket)

    def status(self):
        with self.client() as c:
            return c.ask(STATUS)

    def tables(self):
        with self.client() as c:
            return c.ask(MODELS)

    def file(self, path):
        return next((f for f in self.tables()["files"] if f["path"] == path), None)

    def model(self, name):
        return next((m for m in self.tables()["models"] if m["name"] == name), None)

    def drop(self, source, name, sidecar=None):
        """Puts a file into the folder as a careful deployer does: the name appears with the whole content."""
        if sidecar:
            shutil.copy(sidecar, self.models / f"{name}.yaml")
        part = self.models / f".{name}.part"
        if isinstance(source, bytes):
            part.write_bytes(source)
        else:
            shutil.copy(source, part)
        part.rename(self.models / f"{name}.onnx")

    def wait_serving(self, name, newer_than=0):
        def serving():
            m = self.model(name)
            return m if m and m["version"] > newer_than else None
        return wait_for(f"{name} to be served", serving)

    def wait_log(self, text):
        wait_for(f"'{text}' in the log", lambda: text in self.log.read_text(errors="replace"))

    def wait_file(self, path, state, word=""):
        def reached():
            f = self.file(path)
            return f if f and f["state"] == state and word in (f["reason"] or "") else None
        try:
            return wait_for(f"{path} to be {state}", reached)
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {self.file(path)}\n{self.log.read_text()[-3000:]}")

    def processes(self):
        """The daemon and its children."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout
        return [self.process.pid] + [int(p) for p in children.split()]

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{p}/fd")) for p in self.processes())

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(l for l in status.splitlines() if l.startswith("VmRSS")).split()[1])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("clpd did not stop on SIGTERM")
            assert code == 0, f"clpd ended with {code}:\n{self.log.read_text()[-4000:]}"
        log = self.log.read_text() if self.log.exists() else ""
        shutil.rmtree(self.folder, ignore_errors=True)
        if "stopping without it" in log:  # then HTTP's thread is not joined, as it is meant to be; TSan calls that a leak
            log = TOLD_LEAK.sub("", log)
        for bad in ("Sanitizer", "runtime error:", "assertion"):
            assert bad not in log, log[-6000:]

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is not None:
            print(f"--- log of clpd ---\n{self.log.read_text()[-4000:]}")
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        self.stop()


def clpctl(*args, check=None, **kwargs):
    """Runs clpctl; where `check` is given, the exit status has to be that."""
    done = subprocess.run([BUILD / "clpctl", *map(str, args)], capture_output=True, text=True,
                          timeout=PATIENCE * 4, **kwargs)
    if check is not None:
        assert done.returncode == check, f"clpctl {args} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done


class Hammer(threading.Thread):
    """A client in a thread that keeps asking until it is stopped, and remembers what it got."""

    def __init__(self, path, model, dims, tensor, fmt, inflight=4):
        super().__init__(daemon=True)
        self.path, self.model, self.dims, self.tensor, self.fmt = path, model, dims, tensor, fmt
        self.inflight, self.stopping = inflight, threading.Event()
        self.answered, self.failures, self.seen = 0, [], {}

    def run(self):
        try:
            with Client(self.path) as c:
                waiting = 0
                while waiting or not self.stopping.is_set():
                    while waiting < self.inflight and not self.stopping.is_set():
                        c.send_infer(self.model, self.dims, self.tensor, self.fmt)
                        waiting += 1
                    reply = c.receive()
                    waiting -= 1
                    self.note(reply)
        except Exception as e:  # a lost connection is a failed request
            self.failures.append(repr(e))

    def note(self, reply):
        if reply.kind != INFER_REPLY or reply.status != OK:
            self.failures.append((reply.status, reply.text))
            return
        self.answered += 1
        first = self.seen.setdefault((reply.version, reply.sha256), reply.scores)
        # Matrix products of another batch size round otherwise; another network is far off.
        if worst_difference(reply.scores, first) > 1e-5:
            self.failures.append(f"version {reply.version} gave two answers to one picture")
