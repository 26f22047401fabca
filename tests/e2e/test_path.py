"""What a request costs beside its computing: no copy and no allocation, over a ring no system call, few over the stream;
both ways to load; the library as it is installed."""
import contextlib
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
LARGE = 37632  # floats: 150 KB
COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
/* Allocations; bytes that were copied. No loop of ours may become a call of ours. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
static _Atomic unsigned long none[2], *count = none;
__attribute__((constructor)) static void start(void) {
    int fd = open(getenv("COUNT_FILE"), O_RDWR);
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) count = at;
}
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { count[0]++; return __libc_malloc(n); }
void *calloc(size_t n, size_t each) { count[0]++; return __libc_calloc(n, each); }
void *realloc(void *p, size_t n) { count[0]++; return __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { count[0]++; return __libc_memalign(a, n); }
void *memmove(void *to, const void *from, size_t n) {
    char *t = to;
    const char *f = from;
    count[1] += n;
    if (t <= f)
        for (size_t i = 0; i < n; i++) t[i] = f[i];
    else
        while (n--) t[n] = f[n];
    return to;
}
void *memcpy(void *to, const void *from, size_t n) { return memmove(to, from, n); }
void *__memmove_chk(void *to, const void *from, size_t n, size_t room) { return n > room ? abort(), to : memmove(to, from, n); }
void *__memcpy_chk(void *to, const void *from, size_t n, size_t room) { return n > room ? abort(), to : memmove(to, from, n); }
"""


def daemon(floats=FLOATS, **settings):
    d = Daemon(**settings).start()
    d.drop(network(floats), "tiny")
    d.wait_serving("tiny")
    return d


@contextlib.contextmanager
def counted_daemon(floats=FLOATS):
    """With a function that gives how often its processes have allocated, and how many bytes they have copied, so far."""
    with tempfile.TemporaryDirectory() as folder:
        source, library, count = (pathlib.Path(folder) / n for n in ("count.c", "count.so", "count"))
        source.write_text(COUNTER)
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-fno-builtin", "-o", library, source], check=True)
        count.write_bytes(bytes(4096))
        os.environ.update(LD_PRELOAD=str(library), COUNT_FILE=str(count))
        try:
            d = daemon(floats)
        finally:
            del os.environ["LD_PRELOAD"], os.environ["COUNT_FILE"]
        try:
            yield d, lambda: struct.unpack("<QQ", count.read_bytes()[:16])
        finally:
            d.stop()


def load(d, *arguments, seconds=1):
    done = subprocess.run([BUILD / "clpctl", "--socket", d.socket, "load", "-m", "tiny", "--seconds", str(seconds), "--json",
                           *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise AssertionError(done.stdout + done.stderr)
    return json.loads(done.stdout)


def traced(command, log):
    """Runs it under strace, or attaches: system calls by name. Threads of OpenBLAS, which nobody here needs, would yield."""
    return subprocess.Popen(["strace", "-f", "-qq", "-c", "-o", str(log), *command], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, OPENBLAS_NUM_THREADS="1"))


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

    def expect_hardly_any(self, calls, requests):
        """Those of a beginning and an end, and of a sleep now and then where this machine gives us no CPU."""
        if requests < 1000:
            self.skipTest(f"this machine gave a client and a worker too little of its CPUs: {requests} requests in a second")
        self.assertLess(sum(calls.values()), 500 + requests / 20, calls)

    def test_none_per_request_over_a_ring(self):
        d = daemon(io__spin_us=10000)
        try:
            result, calls = self.trace_daemon(d, lambda: load(d, "--transport", "shm", "--spin", "10000"))
        finally:
            d.stop()
        self.assertEqual(result["errors"], 0)
        self.expect_hardly_any(calls, result["requests"])

    def test_none_per_request_in_a_rings_client(self):
        d = daemon(io__spin_us=10000)
        log = d.folder / "calls"
        try:
            client = traced([BUILD / "clpctl", "--socket", d.socket, "load", "-m", "tiny", "--seconds", "1", "--json", "--transport",
                             "shm", "--spin", "10000"], log)
            result = json.loads(client.communicate(timeout=120)[0])
            self.expect_hardly_any(calls_in(log), result["requests"])
        finally:
            d.stop()

    def test_few_per_request_over_the_stream(self):
        d = daemon()
        try:
            result, calls = self.trace_daemon(d, lambda: load(d))
        finally:
            d.stop()
        self.assertLess(sum(calls.values()), 500 + result["requests"] * 6, calls)


@unittest.skipIf(SANITIZED, "the sanitizer has an allocator of its own")
class Counted(unittest.TestCase):
    def test_no_allocation_per_request(self):
        zeros, dims = bytes(4 * FLOATS), (1, 1, 1, FLOATS)
        with counted_daemon() as (d, counted):
            self.assertGreater(counted()[0], 100, "nothing is counted")
            with d.client() as c, Ring(d.socket) as r:
                for _ in range(200):
                    self.assertEqual((c.infer("tiny", dims, zeros).status, r.infer("tiny", dims, zeros).status), (OK, OK))
                before = counted()[0]
                for _ in range(1000):
                    c.infer("tiny", dims, zeros)
                    r.infer("tiny", dims, zeros)
                self.assertLess(counted()[0] - before, 200, "the request path allocates")

    def test_no_copy_of_a_tensor(self):
        zeros, dims, n = bytes(4 * LARGE), (1, 1, 1, LARGE), 200
        with counted_daemon(LARGE) as (d, counted):
            self.assertGreater(counted()[1], 10000, "nothing is counted")

            def copied(client):
                before = counted()[1]
                for _ in range(n):
                    self.assertEqual(client.infer("tiny", dims, zeros).status, OK)
                return (counted()[1] - before) / n
            with d.client() as c, Ring(d.socket, tensor_bytes=len(zeros)) as r:
                copied(c), copied(r)
                for way, bytes_each in (("stream", copied(c)), ("ring", copied(r))):
                    self.assertLess(bytes_each, 2000, f"over a {way} a tensor of {len(zeros)} bytes is copied")


class Loads(unittest.TestCase):
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
