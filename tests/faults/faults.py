"""Lets every allocation and system call of clpd and clp-guard fail once, and looks at what they make of it.

The programs are the sanitized ones, linked with shim.c: a call site fails the first time that it is reached while
the table is armed. The story below is told again and again, on each back end, until it goes through without anything
new failing. Whatever fails, a process may end only by itself, with words; it must not crash, nor leak, nor lose what
the state folder had; and once all has failed, everything has to work. A site that the story never reaches is listed.

There are three chapters: as a program that somebody started; under a manager that keeps descriptors (test_store.py has it); and
with samples and probes, where hostile-probe says at once that it has repaired what it got."""
import array
import collections
import mmap
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import backdoor  # noqa: E402
from harness import BUILD, F32, MODELS, OK, PATIENCE, SIGNS, STATUS, Client, write_npy  # noqa: E402
from ring import Refused, Ring  # noqa: E402
from test_store import Kept  # noqa: E402
from test_swap import file_with_note  # noqa: E402

SITES, SITE = 4096, struct.Struct("<QII48s")
DIMS = (1, 3, 48, 48)
PICTURE = bytes(4 * 3 * 48 * 48)
PNG = (SIGNS / "data/stop.png").read_bytes()
ROUNDS = 400     # of the story, at the most
CHAPTERS = {"alone": {}, "kept": {},
            "probed": {"guard__probe": "background", "guard__on_repaired": "serve", "guard__probe_priority": "low",
                       "guard__on_disagreement": "serve"}}
CALL = re.compile(r"call.*<__wrap_(\w+)>")
# What the import worker runs, and what only it and clpctl run; the shim itself.
NOT_OURS = re.compile(r"clp-guard (infer|tests|guard/(import|onnx|evaluate|clp|tensor|worker\.|sandbox|report|names|splice|repair))|clpd tests")
LOST = (OSError, ConnectionError, AssertionError, Refused, ValueError, KeyError, TypeError, IndexError,
        AttributeError, struct.error)


class Table:
    """The table of shim.c, shared with the processes."""

    def __init__(self, path):
        path.write_bytes(bytes(64 + SITES * SITE.size))
        self.memory = mmap.mmap(os.open(path, os.O_RDWR), 0)

    def arm(self, on):
        self.memory[0:4] = struct.pack("<I", on)

    def sites(self):
        for i in range(SITES):
            address, calls, failed, name = SITE.unpack_from(self.memory, 64 + i * SITE.size)
            if address:
                yield chr(address >> 56), address & (1 << 56) - 1, name.rstrip(b"\0").decode(), calls, failed

    def failed(self):
        return sum(1 for *_, failed in self.sites() if failed)


class Story:
    """One daemon and its folder through all rounds; every step is tried until it works, or the daemon is gone."""

    def __init__(self, backend):
        self.daemon = Kept(io__backend=backend, guard__settle_ms=50)
        self.daemon.settings["http__path"] = str(self.daemon.folder / "http.sock")
        self.daemon.build = self.daemon.folder / "programs"
        self.daemon.build.mkdir()
        for name in ("faults/clpd", "faults/clp-guard", "clp-canary", "clp-picture"):
            shutil.copy(BUILD / name, self.daemon.build)
        shutil.copy(BUILD / "hostile-probe", self.daemon.build / "clp-probe")
        (self.daemon.build / "how").write_text("one channel")
        self.table = Table(self.daemon.folder / "faults")
        os.environ["CLPD_FAULTS"] = str(self.daemon.folder / "faults")
        self.words, self.bad = collections.Counter(), []
        self.files = 0
        self.chapter, self.kept = "alone", False  # kept: a version is in the state folder
        (self.daemon.folder / "state").mkdir()

    def begin(self, chapter):
        self.chapter = chapter
        self.kept = False  # what was decided under another policy is looked at again
        for name in self.daemon.manager.names():  # who listens on what is kept would be taken for a daemon
            self.daemon.manager.forget(name)
        self.daemon.settings.update(CHAPTERS[chapter])
        self.daemon.write_config()

    # --- the process

    def launch(self):
        self.daemon.log.write_bytes(b"")
        if self.chapter == "kept":
            self.daemon.spawn()
            return
        self.daemon.process = subprocess.Popen([self.daemon.build / "clpd", "--config", self.daemon.config],
                                               stderr=open(self.daemon.log, "ab"))

    def alive(self):
        return self.daemon.process.poll() is None

    def look_at_end(self):
        """A process that ended did so by itself, and says why."""
        code, log = self.daemon.process.wait(), self.daemon.log.read_text(errors="replace")
        for word in ("Sanitizer", "runtime error:", "Assertion"):
            if word in log:
                self.bad.append(log[-6000:])
                return
        if code < 0:
            self.bad.append(f"clpd was ended by signal {-code}:\n{log[-3000:]}")
        elif code and not log.strip():
            self.bad.append(f"clpd ended with {code} and without a word")
        elif code:
            self.words[log.strip().splitlines()[-1][:160]] += 1

    def end(self):
        if not self.alive():
            return
        self.daemon.process.send_signal(signal.SIGTERM)
        try:
            self.daemon.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.daemon.process.send_signal(signal.SIGABRT)
            self.bad.append(f"clpd does not stop:\n{self.daemon.log.read_text()[-3000:]}")

    # --- steps: each is done over and over until it works

    def until(self, what, step):
        end, failed, last = time.monotonic() + PATIENCE, 0, None
        while time.monotonic() < end:
            if not self.alive():
                return False
            if failed != self.table.failed():  # it is not stuck
                end, failed = time.monotonic() + PATIENCE, self.table.failed()
            try:
                if step():
                    return True
            except LOST as e:
                last = e
            if self.guard_is_down():
                return False
            time.sleep(0.02)
        self.bad.append(f"in vain for {PATIENCE:.0f} s: {what} ({last!r})\n{self.daemon.log.read_text()[-4000:]}")
        return False

    def guard_is_down(self):
        """It is restarted after a while that grows; a new daemon is quicker."""
        try:
            with Client(self.daemon.socket, 5) as c:
                return c.ask(STATUS)["guard"]["restarts"] > 0
        except LOST:
            return False

    def asks(self):
        with Client(self.daemon.socket, 5) as c:
            return c.ask(STATUS) and c.ask(MODELS)

    def classifies(self, name="signs"):
        with Client(self.daemon.socket, 5) as c:
            return c.infer(name, DIMS, PICTURE, F32, top_k=2).status == OK

    def rings(self):
        with Ring(self.daemon.socket) as ring:
            ring.client.socket.settimeout(5)
            return ring.infer("signs", DIMS, PICTURE).status == OK

    def over_http(self):
        return all(self.gets(head, body) for head, body in (
            (b"GET / HTTP/1.0\r\n\r\n", b""), (b"GET /metrics HTTP/1.0\r\n\r\n", b""),
            (b"GET /reports/signs HTTP/1.0\r\n\r\n", b""), (b"GET /v2/models/signs HTTP/1.0\r\n\r\n", b""),
            (b"POST /v2/models/signs/infer HTTP/1.0\r\nInference-Header-Content-Length: 0\r\n"
             b"Content-Length: %d\r\n\r\n" % len(PICTURE), PICTURE),
            (b"POST /v2/models/signs/classify HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(PNG), PNG)))

    def gets(self, head, body=b""):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(self.daemon.settings["http__path"])
            s.sendall(head + body)
            answer = b""
            while part := s.recv(65536):
                answer += part
        return b" 200 " in answer[:20]

    def drops(self, name, newer_than):
        """Copies the file anew until it is served: what failed on the way may have cost it."""
        end = [0.0]

        def step():
            m = self.daemon.model(name)
            if m and m["version"] > newer_than:
                return True
            if time.monotonic() > end[0]:
                end[0] = time.monotonic() + 1
                self.files += 1  # other contents each time
                self.daemon.drop(file_with_note(SIGNS / "models/signs-clean.onnx", self.files), name,
                                 SIGNS / "models/signs.yaml")
            return False
        return self.until(f"{name} to be served, newer than {newer_than}", step)

    def probed(self):
        """A version with samples beside it, found out by the probe, and replaced by one that it has repaired."""
        end = [0.0]
        write_npy(self.daemon.models / "net.canary.npy", (4, backdoor.SIDE, backdoor.SIDE, 3),
                  array.array("B", bytes(4 * 3 * backdoor.SIDE ** 2)))

        def step():
            m = self.daemon.model("net")
            if m and m["canary"] and m["probe"] and m["probe"]["repaired"]:
                return True
            if time.monotonic() > end[0]:
                end[0] = time.monotonic() + 3
                self.files += 1
                self.daemon.drop(backdoor.network(True, self.files), "net")
            return False
        return (self.until("net to be repaired", step) and
                self.until("its report", lambda: self.gets(b"GET /reports/net HTTP/1.0\r\n\r\n")) and self.retired("net"))

    def retired(self, name):
        def step():
            (self.daemon.models / f"{name}.onnx").unlink(missing_ok=True)
            return self.daemon.model(name) is None
        return self.until(f"{name} to be retired", step)

    def refuses(self):
        self.daemon.drop(b"\x08\x07nonsense" * 100, "bad")
        return self.until("the bad file to be seen", lambda: self.daemon.file("bad.onnx"))

    def rolled_back(self):
        def step():
            done = subprocess.run([BUILD / "clpctl", "--socket", self.daemon.socket, "rollback", "signs"],
                                  capture_output=True, text=True, timeout=PATIENCE)
            if done.returncode and not any(w in done.stderr for w in ("is kept", "is not kept yet", "is of no use")):
                raise ValueError(done.stderr)
            return True
        return self.until("rollback", step)

    def reloads(self):
        self.daemon.process.send_signal(signal.SIGHUP)
        return True

    def tell(self):
        """The story, once; False as soon as the daemon is gone."""
        if not self.until("an answer", self.asks):
            return False
        if self.kept and not self.until("the kept model to serve", self.classifies):
            return False
        served = []
        if not self.until("the versions", lambda: served.append((self.daemon.model("signs") or {"version": 0})["version"]) or True):
            return False
        if not self.drops("signs", served[-1]):
            return False
        self.kept = True
        steps = [lambda: self.until("an answer over the stream", self.classifies), lambda: self.until("a ring", self.rings),
                 lambda: self.until("HTTP", self.over_http), self.refuses, self.reloads,
                 lambda: self.drops("second", 0), lambda: self.retired("second"), self.rolled_back,
                 lambda: self.until("an answer after all", self.classifies)]
        if self.chapter == "probed":
            steps = [self.probed]
        return all(step() for step in steps)

    def round(self):
        before = self.table.failed()
        self.launch()
        try:
            whole = self.tell()
        except LOST as e:
            whole = False
            if self.alive():
                self.bad.append(f"the story broke off: {e!r}")
        self.end()
        self.look_at_end()
        return whole and self.table.failed() == before


def calls_of(program):
    """Where it calls what can fail: return addresses, and what is called, as the linker left them."""
    out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", BUILD / "faults" / program], capture_output=True, text=True).stdout
    called = None
    for line in out.splitlines():
        address, colon, rest = line.strip().partition(":")
        if called and colon and rest:
            yield int(address, 16), called
        found = CALL.search(rest)
        called = found and found[1]


def places(table):
    """Sites in the words of the sources: whether they have failed. The import worker's folder is not among them."""
    names = {}
    for letter, program in (("d", "clpd"), ("g", "clp-guard")):
        failed = {address for p, address, _, _, failed in table.sites() if p == letter and failed}
        every = dict(calls_of(program))
        every.update((address, name) for p, address, name, _, _ in table.sites() if p == letter)
        out = subprocess.run(["addr2line", "-e", BUILD / "faults" / program] + [hex(a - 1) for a in every],
                             capture_output=True, text=True).stdout.splitlines()
        for (address, name), line in zip(every.items(), out):
            place = os.path.relpath(line.split(" ")[0], ROOT)
            if address in failed or not NOT_OURS.match(f"{program} {place}"):
                names[f"{program} {place} {name}"] = address in failed
    return names


def read(story, chapter):
    """Rounds until nothing new fails in it: how many. Zero: it never came through."""
    story.begin(chapter)
    for n in range(1, ROUNDS + 1):
        clean = story.round()
        if os.environ.get("FAULTS_LIST"):
            print(f"  {chapter}, round {n}: {story.table.failed()} have failed", flush=True)
        if clean or story.bad:
            return n
    story.bad.append(f"{chapter}: it did not come through in {ROUNDS} rounds")
    return 0


def run(backend, chapters):
    story = Story(backend)
    story.table.arm(1)
    began, n = time.monotonic(), 0
    try:
        for chapter in chapters:
            n += read(story, chapter)
            if story.bad:
                break
    finally:
        if story.daemon.process and story.alive():
            story.daemon.process.kill()
            story.daemon.process.wait()
        story.daemon.manager.stop()
    sites = places(story.table)
    print(f"{backend}: {sum(map(bool, sites.values()))} call sites failed once, in {n} rounds, {time.monotonic() - began:.0f} s; "
          f"the story does not reach {len(sites) - sum(map(bool, sites.values()))} more", flush=True)
    for text, times in story.words.most_common():
        print(f"  ended {times} times saying: {text}")
    for text in story.bad:
        print(f"*** {text}")
    if os.environ.get("FAULTS_LIST"):
        print("\n".join(f"  {'failed' if f else 'whole '} {s}" for s, f in sorted(sites.items())))
    subprocess.run(["rm", "-rf", story.daemon.folder], check=False)
    return not story.bad


def main():
    backends = [a for a in sys.argv[1:] if a not in CHAPTERS] or ["io_uring", "epoll"]
    chapters = [a for a in sys.argv[1:] if a in CHAPTERS] or list(CHAPTERS)
    passed = [run(b, chapters) for b in backends]
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
