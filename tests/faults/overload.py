"""What happens at three times the capacity: open loop, so that the daemon's slowness does not slow the asking down.

usage: tests/faults/run overload BUILD [SECONDS [RATE]]

First as many requests as are answered in a closed loop (the peak), then RATE (3) times that for SECONDS (5), in turns.
Reported: goodput beside the peak, how soon the rest gets BUSY, and how long the accepted ones take, beside what a full
queue has to take. Checked: every request is answered, by its result or BUSY, and the daemon is well afterwards; the
figures are for a quiet machine."""
import os
import pathlib
import random
import socket
import statistics
import struct
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import hostile  # noqa: E402
from harness import BUSY, F32, HEADER, INFER, INFER_BODY, MAGIC, OK, Client, Daemon  # noqa: E402

DIMS, QUEUE, CONNECTIONS = (1, 3, 28, 28), 16, 8
TENSOR = bytes(4 * 3 * 28 * 28)


def network():
    """Eight convolutions of 128 channels: some milliseconds, so that Python can ask three times as often."""
    rng = random.Random(1)
    m = hostile.base()
    widths = [3] + [128] * 8
    m["nodes"], m["tensors"] = [], []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        block = struct.pack("<1152f", *(rng.gauss(0, 0.03) for _ in range(1152)))
        m["tensors"].append(hostile.tensor(f"w{i}", [b, a, 3, 3], [], raw=(block * (b * a * 9 // 1152 + 1))[:b * a * 36]))
        m["nodes"].append(hostile.node("Conv", ["x" if i == 0 else f"r{i - 1}", f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1] * 4))
        m["nodes"].append(hostile.node("Relu", [f"c{i}"], [f"r{i}"], f"relu{i}"))
    m["nodes"] += [hostile.node("GlobalAveragePool", ["r7"], ["g"]), hostile.node("Flatten", ["g"], ["y"], axis=1)]
    m["inputs"], m["outputs"] = [hostile.value("x", ["N", 3, 28, 28])], [hostile.value("y", ["N", 128])]
    return bytes(hostile.write(m))


class Line(threading.Thread):
    """A connection whose answers are read as they come."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.client, self.sent, self.answers = Client(path), {}, []
        self.frame = INFER_BODY.pack(b"net", 0, 0, 0, F32, *DIMS, 0, 0) + TENSOR
        self.start()

    def ask(self, ident):
        self.sent[ident] = time.perf_counter()
        self.client.socket.sendall(HEADER.pack(MAGIC, 1, INFER, 0, ident, len(self.frame), 0) + self.frame)

    def run(self):
        try:
            while True:
                reply = self.client.receive()
                self.answers.append((reply.status, time.perf_counter() - self.sent.pop(reply.id)))
        except (OSError, ConnectionError):
            pass


def closed_loop(lines, seconds):
    """Answers a second with as many requests under way as the workers can use."""
    begun, end, n = time.perf_counter(), time.perf_counter() + seconds, 0
    before = sum(len(line.answers) for line in lines)
    while time.perf_counter() < end:
        for line in lines:
            if not line.sent:
                n += 1
                line.ask(n)
        time.sleep(0.0005)
    while any(line.sent for line in lines):
        time.sleep(0.001)
    return (sum(len(line.answers) for line in lines) - before) / (time.perf_counter() - begun)


def open_loop(lines, rate, seconds):
    begun, n = time.perf_counter(), 0
    while n < rate * seconds:
        due = begun + n / rate
        wait = due - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        lines[n % len(lines)].ask(n)
        n += 1
    return n, time.perf_counter() - begun


def milliseconds(times, share):
    times = sorted(times)
    return times[min(len(times) - 1, int(len(times) * share))] * 1000 if times else float("nan")


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5
    times = float(sys.argv[2]) if len(sys.argv) > 2 else 3
    peaks, goodputs, busy, accepted, asked, answered = [], [], [], [], 0, 0
    with Daemon(limits__queue=QUEUE, limits__user_queue=QUEUE) as d:
        d.drop(network(), "net")
        d.wait_serving("net")
        lines = [Line(d.socket) for _ in range(CONNECTIONS)]
        closed_loop(lines, 1)
        for _ in range(3):
            peaks.append(closed_loop(lines, seconds / 3))
            before = {line: len(line.answers) for line in lines}
            n, took = open_loop(lines, times * statistics.median(peaks), seconds)
            while any(line.sent for line in lines):
                time.sleep(0.001)
            got = [a for line in lines for a in line.answers[before[line]:]]
            asked, answered = asked + n, answered + len(got)
            assert all(status in (OK, BUSY) for status, _ in got), {status for status, _ in got}
            goodputs.append(sum(status == OK for status, _ in got) / took)
            busy += [t for status, t in got if status == BUSY]
            accepted += [t for status, t in got if status == OK]
        for line in lines:
            line.client.socket.shutdown(socket.SHUT_RDWR)
        assert d.status()["queue"] == 0
    assert asked == answered, (asked, answered)
    peak = statistics.median(peaks)
    print(f"peak {peak:.0f}/s; asked {times:.1f} times that: goodput {statistics.median(goodputs):.0f}/s, "
          f"{100 * statistics.median(goodputs) / peak:.0f} % of the peak (aim: 90)")
    print(f"BUSY: {len(busy)} of {asked}, after {milliseconds(busy, .5):.2f} ms in the median, p99 {milliseconds(busy, .99):.2f} ms "
          f"(aim: 1)")
    print(f"accepted: median {milliseconds(accepted, .5):.0f} ms, p99 {milliseconds(accepted, .99):.0f} ms; a queue of {QUEUE} "
          f"takes {QUEUE / peak * 1000:.0f} ms")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    print("1 passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
