"""kill -9 at random moments, of the import worker, the guard and the daemon, while models are imported and swapped.

usage: tests/faults/run kills BUILD [KILLS [SEED]]

After each: what is served goes on being served (or is again, after a restart, before anything is imported anew), the
state folder can be read, and nothing says that something in it was damaged. A second model that nobody touches has to
give the same answer all along."""
import os
import pathlib
import random
import signal
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from harness import BUILD, F32, OK, SIGNS, wait_for  # noqa: E402
from test_state import CLEAN, DIMS, TENSOR, Kept  # noqa: E402
from test_swap import file_with_note  # noqa: E402

BAD_WORDS = ("Sanitizer", "runtime error:", "Assertion", "can't be read", "damaged", "checksum", "is refused")


class Deployer(threading.Thread):
    """Puts new versions into the folder as fast as they are taken."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.daemon_under_test, self.stopping, self.n = daemon, threading.Event(), 0
        self.fresh = [file_with_note(CLEAN, k) for k in range(16)]

    def run(self):
        while not self.stopping.is_set():
            self.n += 1
            self.daemon_under_test.drop(self.fresh[self.n % len(self.fresh)], "signs")
            self.stopping.wait(random.uniform(0.02, 0.3))


def children(pid, name):
    try:
        found = [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [c for c in found if pathlib.Path(f"/proc/{c}/comm").read_text().strip() == name]
    except OSError:  # it has just ended
        return []


def victims(d, kind):
    if kind == "daemon":
        return [d.process.pid]
    guards = children(d.process.pid, "clp-guard")
    return guards if kind == "guard" else [w for g in guards for w in children(g, "clp-guard")]


def answer(d, model):
    with d.client() as c:
        reply = c.infer(model, DIMS, TENSOR, F32)
        assert reply.status == OK, reply.text
        return reply.version, bytes(reply.scores)


def shoot(d, kind):
    """One of that kind, killed. False: there is none just now."""
    if kind == "worker":  # they live for some hundredths of a second
        end = time.monotonic() + 1
        while not victims(d, kind) and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.03))
    them = victims(d, kind)
    if not them:
        return False
    try:
        os.kill(random.choice(them), signal.SIGKILL)
    except ProcessLookupError:
        return False
    if kind == "daemon":
        d.process.wait()
        wait_for("its guard to end", lambda: not d.guard_runs())
        check_words(d)
        d.said = d.log.stat().st_size
        Kept.__mro__[1].start(d)  # Daemon.start: its first answer is enough
    return True


def check_words(d):
    said = d.log.read_bytes()[d.said:].decode(errors="replace")
    for word in BAD_WORDS:
        assert word not in said, said[-4000:]


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    random.seed(seed)
    counts = dict.fromkeys(("worker", "guard", "daemon"), 0)
    began = time.monotonic()
    with Kept(guard__settle_ms=50) as d:
        d.drop(CLEAN, "still", SIGNS / "models/signs.yaml")
        d.drop(CLEAN, "signs")
        d.wait_serving("still")
        d.wait_serving("signs")
        wait_for("both to be kept", lambda: {"still@1.image", "signs@1.image"} <= set(d.kept()))
        first, last = answer(d, "still")[1], 0
        deployer = Deployer(d)
        deployer.start()
        while sum(counts.values()) < kills:
            time.sleep(random.uniform(0, 0.25))
            kind = random.choice(list(counts))
            if not shoot(d, kind):
                continue
            counts[kind] += 1
            wait_for("an answer of the model that nobody touched", lambda: answers(d, "still"))
            assert answer(d, "still")[1] == first, "another answer to the same picture"
            wait_for("an answer of the other", lambda: answers(d, "signs"))
            if sum(counts.values()) % 50 == 0:
                print(f"  {sum(counts.values())} kills, {time.monotonic() - began:.0f} s", flush=True)
        deployer.stopping.set()
        deployer.join()
        check_words(d)
        last = deployer.n
        d.wait_file("signs.onnx", "serving")
        d.restart()
        assert answer(d, "still")[1] == first
        answer(d, "signs")
    print(f"seed {seed}: {counts['worker']} workers, {counts['guard']} guards, {counts['daemon']} daemons killed in "
          f"{time.monotonic() - began:.0f} s while {last} files arrived ({BUILD.name})")
    print("1 passed, 0 failed")
    return 0


def answers(d, model):
    try:
        return answer(d, model)
    except (OSError, ConnectionError, AssertionError):
        return None


if __name__ == "__main__":
    sys.exit(main())
