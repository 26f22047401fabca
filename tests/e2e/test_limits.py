"""What the system has no more of: a state folder that can't be written, descriptors, memory; and clocks that jump. The
daemon serves on, or ends by itself and says why. (A full disk is in test_state.py, limits of the import in test_hostile_worker.py.)"""
import os
import pathlib
import subprocess
import unittest

from harness import PATIENCE, SANITIZED, SIGNS, Client, Daemon, wait_for
from test_state import BACKDOOR, CLEAN, DIMS, TENSOR, Kept
from test_swap import file_with_note

JUMPING = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long apart(void) { /* seconds, from a file that the test writes */
    long n = 0;
    FILE *f = fopen(getenv("CLOCK_APART"), "re");
    if (f && fscanf(f, "%ld", &n) != 1) n = 0;
    if (f) fclose(f);
    return n;
}
int clock_gettime(clockid_t which, struct timespec *t) {
    const long rc = syscall(SYS_clock_gettime, which, t);
    if (rc == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) t->tv_sec += apart();
    return (int)rc;
}
time_t time(time_t *to) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (to) *to = t.tv_sec;
    return t.tv_sec;
}
"""
SMALL = {"limits__queue": 16, "limits__request_bytes": "1M", "engine__threads": 1}


class Limits(unittest.TestCase):
    def answers(self, d):
        with d.client() as c:
            self.assertEqual(c.infer("signs", DIMS, TENSOR).status, 0)

    def test_a_state_folder_that_can_not_be_written(self):
        with Kept() as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.wait_kept("signs@1.image", "signs@index")
            d.end()
            said = [subprocess.run(["mount", *how, d.state], capture_output=True, text=True) for how in
                    (["--bind", d.state], ["-o", "remount,bind,ro"])]
            if said[0].returncode:
                self.skipTest(f"mount: {said[0].stderr.strip()}")
            try:
                self.assertEqual(said[1].returncode, 0, said[1].stderr)
                d.start()
                self.assertEqual(d.wait_serving("signs")["version"], 1)
                d.drop(BACKDOOR, "signs")
                d.wait_serving("signs", 1)  # serving needs no disk
                self.answers(d)
                wait_for("the failure to be told", lambda: "Read-only file system" in d.since())
                self.assertEqual(d.kept(), ["signs@1.image", "signs@index"])
                d.end()
            finally:
                d.process.kill()
                d.process.wait()
                wait_for("the state folder to be free", lambda: subprocess.run(["umount", d.state]).returncode == 0)
            d.start()
            self.assertGreater(d.wait_serving("signs")["version"], 0)
            d.drop(file_with_note(CLEAN, 1), "signs")
            wait_for("a later one to be kept", lambda: any(n not in ("signs@1.image", "signs@index") for n in d.kept()))

    def test_few_descriptors(self):
        d = Daemon(http__path="off", limits__rings=4)
        d.prefix = ["prlimit", "--nofile=90:90"]  # leaves about twenty to connections
        with d:
            d.wait_log("file descriptors are allowed")
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            before = d.descriptors()
            them = []
            for _ in range(100):
                try:
                    them.append(Client(d.socket, 2))
                    them[-1].infer("signs", DIMS, TENSOR)
                except (OSError, AssertionError):
                    pass
            self.assertEqual(them[0].infer("signs", DIMS, TENSOR).status, 0)  # who is in goes on
            d.drop(BACKDOOR, "signs")
            for c in them:
                c.close()
            wait_for("room for those that look", lambda: d.descriptors() <= before + 8)
            d.wait_serving("signs", 1)
            self.answers(d)
            wait_for("all of them to be given back", lambda: d.descriptors() <= before)
            self.assertEqual(d.status()["guard"]["restarts"], 0)

    @unittest.skipIf(SANITIZED, "a sanitizer needs address space of its own")
    def test_little_address_space(self):
        """Small tables fit; those that don't are refused with words."""
        for mib in (512, 768, 1024):
            with self.subTest(f"{mib} MiB"):
                d = Daemon(**SMALL)
                d.prefix = ["prlimit", f"--as={mib << 20}"]
                with d:
                    d.drop(CLEAN, "signs")
                    wait_for("it to be dealt with", lambda: (f := d.file("signs.onnx")) and f["state"] in ("serving", "rejected"))
                    self.assertEqual(d.status()["guard"]["restarts"], 0)
        self.assertIn("lower limits.queue or limits.request_bytes", self.ends(4096, {}))

    def ends(self, mib, environment, **settings):
        """What clpd says on its way out, under such a limit: it must neither serve nor hang."""
        d = Daemon(**settings)
        d.write_config()
        (d.folder / "state").mkdir()
        done = subprocess.run(["prlimit", f"--as={mib << 20}", d.build / "clpd", "--config", d.config], capture_output=True, text=True,
                              timeout=PATIENCE, env={**os.environ, **environment})
        d.stop()
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    @unittest.skipIf(SANITIZED, "a sanitizer needs address space of its own")
    def test_too_little_address_space_for_the_library(self):
        """OpenBLAS tries for its memory for ever: as it is loaded for its own threads, with their first products for ours."""
        if len(os.sched_getaffinity(0)) > 1:
            self.assertIn("or set OPENBLAS_NUM_THREADS=1", self.ends(120, {"OPENBLAS_NUM_THREADS": ""}, **SMALL))
        self.assertIn("lower engine.threads", self.ends(256, {"OPENBLAS_NUM_THREADS": "1"}, **SMALL))

    @unittest.skipIf(SANITIZED, "a sanitizer wants to be loaded first")
    def test_clocks_that_jump(self):
        d = Kept()
        source, library, apart = d.folder / "jumping.c", d.folder / "jumping.so", d.folder / "apart"
        source.write_text(JUMPING)
        apart.write_text("0")
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        d.prefix = ["env", f"LD_PRELOAD={library}", f"CLOCK_APART={apart}"]
        year, version = 366 * 86400, 0
        with d:
            guard = next(p for p in d.processes() if p != d.process.pid)
            self.assertIn("jumping.so", pathlib.Path(f"/proc/{guard}/maps").read_text())
            for k, jump in enumerate((0, 10 * year, -20 * year, 3600, -3600, 0)):
                part = d.folder / "apart.part"
                part.write_text(str(jump))
                part.rename(apart)
                d.drop(file_with_note(CLEAN, k), "signs", SIGNS / "models/signs.yaml")
                os.utime(d.models / "signs.onnx", (1e9 + jump, 1e9 + jump))
                version = wait_for("the next version", lambda: d.wait_serving("signs", version))["version"]
                self.answers(d)
                with d.client() as c:  # a deadline is a span of time, not an hour
                    c.send_infer("signs", DIMS, TENSOR, timeout_us=int(PATIENCE * 1e6))
                    self.assertEqual(c.receive().status, 0)
            d.restart()  # what had no time to be kept is imported again, and the one before serves until then
            self.assertGreaterEqual(d.wait_serving("signs", version - 1)["version"], version)


if __name__ == "__main__":
    unittest.main()
