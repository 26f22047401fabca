"""What a request costs beside its computing: no system call and no allocation over a ring, few over the stream; both
back ends alike; the library as it is installed."""
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from harness import BUILD, OK, ROOT, SANITIZED, SIGNS, Daemon, wait_for
from ring import Ring

sys.path.insert(0, str(ROOT / "scripts"))
from tiny import network  # noqa: E402

FLOATS = 768
COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
static _Atomic unsigned long none, *count = &none;
__attribute__((constructor)) static void start(void) {
    int fd = open(getenv("COUNT_FILE"), O_RDWR);
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) count = at;
}
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { (*count)++; return __libc_malloc(n); }
void *calloc(size_t n, size_t each) { (*count)++; return __libc_calloc(n, each); }
void *realloc(void *p, size_t n) { (*count)++; return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { (*count)++; return __libc_memalign(a, n); }
"""


def daemon(**settings):
    d = Daemon(**settings).start()
    d.drop(network(FLOATS), "tiny")
    d.wait_serving("tiny")
    return d


def load(d, *arguments, seconds=1):
    done = subprocess.run([BUILD / "clpctl", "--socket", d.socket, "load", "-m", "tiny", "--seconds", str(seconds), "--json",
                           *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return json.loads(done.stdout)


def traced(command, log):
    """Runs it under strace, or attaches: system calls by name."""
    return subprocess.Popen(["strace", "-f", "-qq", "-c", "-o", str(log), *command], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


def calls_in(log):
    found = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", pathlib.Path(log).read_text(), re.M)
    return {name: int(n) for n, name in found if name != "total"}


class SystemCalls(unittest.TestCase):
    def setUp(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")

    def trace_daemon(self, d, run):
        log = d.folder / "calls"
        tracer = traced(["-p", str(d.process.pid)], log)
        try:
            wait_for("strace to hold every thread", lambda: all(
                re.search(r"TracerPid:\s+[1-9]", (t / "status").read_text())
                for t in pathlib.Path(f"/proc/{d.process.pid}/task").iterdir()) or tracer.poll() is not None)
            if tracer.poll() is not None:
                self.skipTest("strace may not attach here")
            result = run()
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
            tracer.stdout.close()
        return result, calls_in(log)

    def test_none_per_request_over_a_ring(self):
        d = daemon(io__spin_us=10000)
        try:
            result, calls = self.trace_daemon(d, lambda: load(d, "--transport", "shm", "--spin", "10000"))
        finally:
            d.stop()
        n = sum(calls.values())
        self.assertGreater(result["requests"], 1000)
        self.assertEqual(result["errors"], 0)
        # Those of its beginning and end, and of a sleep now and then where this machine gives us no CPU.
        self.assertLess(n, 500 + result["requests"] / 10, calls)

    def test_few_per_request_over_the_stream(self):
        d = daemon()
        try:
            result, calls = self.trace_daemon(d, lambda: load(d))
        finally:
            d.stop()
        self.assertLess(sum(calls.values()), 500 + result["requests"] * 6, calls)


@unittest.skipIf(SANITIZED, "the sanitizer has an allocator of its own")
class Allocations(unittest.TestCase):
    def test_none_per_request(self):
        with tempfile.TemporaryDirectory() as folder:
            source, library, count = (pathlib.Path(folder) / n for n in ("count.c", "count.so", "count"))
            source.write_text(COUNTER)
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
            count.write_bytes(bytes(4096))
            os.environ.update(LD_PRELOAD=str(library), COUNT_FILE=str(count))
            try:
                d = daemon()
            finally:
                del os.environ["LD_PRELOAD"], os.environ["COUNT_FILE"]
            counted = lambda: struct.unpack("<Q", count.read_bytes()[:8])[0]  # noqa: E731
            zeros, dims = bytes(4 * FLOATS), (1, 1, 1, FLOATS)
            try:
                self.assertGreater(counted(), 100, "nothing is counted")
                with d.client() as c, Ring(d.socket) as r:
                    for _ in range(200):
                        self.assertEqual((c.infer("tiny", dims, zeros).status, r.infer("tiny", dims, zeros).status), (OK, OK))
                    before = counted()
                    for _ in range(1000):
                        c.infer("tiny", dims, zeros)
                        r.infer("tiny", dims, zeros)
                    self.assertLess(counted() - before, 200, "the request path allocates")
            finally:
                d.stop()


class BackEnds(unittest.TestCase):
    def test_epoll_does_the_same(self):
        d = daemon(io__backend="epoll")
        try:
            self.assertEqual(d.status()["io_backend"], "epoll")
            for transport in ("stream", "shm"):
                for more in ((), ("--clients", "4", "--inflight", "8"), ("--rate", "200")):
                    result = load(d, "--transport", transport, *more, seconds=0.3)
                    self.assertEqual(result["errors"], 0)
                    self.assertGreater(result["requests"], 20)
        finally:
            d.stop()

    def test_load_over_rings(self):
        d = daemon()
        try:
            for more in (("--inflight", "1"), ("--clients", "3", "--inflight", "16"), ("--rate", "500", "--clients", "2")):
                result = load(d, "--transport", "shm", *more, seconds=0.5)
                self.assertEqual((result["transport"], result["errors"]), ("shm", 0))
                self.assertGreater(result["requests"], 20)
                self.assertGreater(result["p50_us"], 0)
        finally:
            d.stop()


@unittest.skipIf(SANITIZED, "the library is the plain one")
class Library(unittest.TestCase):
    def test_examples_build_from_what_is_installed(self):
        if not shutil.which("pkg-config"):
            self.skipTest("pkg-config is not installed")
        d = daemon()
        try:
            with tempfile.TemporaryDirectory() as folder:
                root = pathlib.Path(folder)
                subprocess.run(["make", "-s", "-C", ROOT, "install-client", f"BUILD={BUILD}", f"DESTDIR={root}", "PREFIX=/usr"],
                               check=True, stdout=subprocess.DEVNULL)
                environment = dict(os.environ, PKG_CONFIG_PATH=str(root / "usr/lib/pkgconfig"),
                                   PKG_CONFIG_SYSROOT_DIR=str(root), LD_LIBRARY_PATH=str(root / "usr/lib"))
                flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libclpd"], env=environment, check=True,
                                       capture_output=True, text=True).stdout.split()
                for source in sorted((ROOT / "client/examples").glob("*.c")):
                    program = root / source.stem
                    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", program, source, *flags], check=True)
                    done = subprocess.run([program, d.socket, "tiny", str(FLOATS)], env=environment, capture_output=True,
                                          text=True, timeout=60)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertIn("version 1", done.stdout)
        finally:
            d.stop()


if __name__ == "__main__":
    unittest.main()
