"""Every way in which a file arrives in the model folder, against the real daemon and the real guard.

Rescans come once an hour here, so what is noticed is noticed by events (where a test is not about doing without)."""
import ctypes
import hashlib
import mmap
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import SIGNS, Daemon, wait_for

GOOD = (SIGNS / "models/signs-clean.onnx").read_bytes()
OTHER = (SIGNS / "models/signs-backdoor.onnx").read_bytes()
AT_FDCWD, AT_SYMLINK_FOLLOW = -100, 0x400
UNSHARE = shutil.which("unshare")


def have_rsync():
    return shutil.which("rsync") is not None


class Folder(unittest.TestCase):
    """A daemon a test class: `settle_ms` of an hour means that only an event can call a file complete."""
    settings = {"guard__rescan_s": 3600, "guard__retire_s": 1, "guard__settle_ms": 600000}

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(**cls.settings).start()
        wait_for("the guard to watch", lambda: cls.daemon.status()["guard"]["watching"] == "inotify")
        cls.models = cls.daemon.models
        cls.outside = cls.daemon.folder / "outside"
        cls.outside.mkdir()
        (cls.outside / "good.onnx").write_bytes(GOOD)
        (cls.outside / "other.onnx").write_bytes(OTHER)
        long_ago = 1_600_000_000
        for f in cls.outside.iterdir():
            os.utime(f, (long_ago, long_ago))

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def serving(self, name, version):
        m = self.daemon.wait_serving(name, version - 1)
        self.assertEqual(m["version"], version)
        return m


class Arrivals(Folder):
    def test_cp(self):
        subprocess.run(["cp", self.outside / "good.onnx", self.models / "cp.onnx"], check=True)
        self.serving("cp", 1)
        subprocess.run(["cp", self.outside / "other.onnx", self.models / "cp.onnx"], check=True)
        self.serving("cp", 2)

    def test_mv(self):
        for version, content in ((1, GOOD), (2, OTHER)):
            (self.outside / "moving").write_bytes(content)
            subprocess.run(["mv", self.outside / "moving", self.models / "mv.onnx"], check=True)
            self.serving("mv", version)

    def test_ln(self):
        subprocess.run(["ln", self.outside / "good.onnx", self.models / "ln.onnx"], check=True)
        self.serving("ln", 1)  # no event says that it is complete, its age does
        subprocess.run(["ln", "-f", self.outside / "other.onnx", self.models / "ln.onnx"], check=True)
        self.serving("ln", 2)

    def test_ln_s(self):
        subprocess.run(["ln", "-s", self.outside / "good.onnx", self.models / "lns.onnx"], check=True)
        self.serving("lns", 1)
        subprocess.run(["ln", "-sfn", self.outside / "other.onnx", self.models / "lns.onnx"], check=True)
        self.serving("lns", 2)

    @unittest.skipUnless(have_rsync(), "rsync is not installed")
    def test_rsync(self):
        for version, source in ((1, "good"), (2, "other")):
            shutil.copy(self.outside / f"{source}.onnx", self.outside / "rsync.onnx")  # with a new time
            subprocess.run(["rsync", "-I", self.outside / "rsync.onnx", self.models / "rsync.onnx"], check=True)
            self.serving("rsync", version)
        (self.outside / "rsync.onnx").write_bytes(GOOD + b"")
        subprocess.run(["rsync", "-I", "--inplace", self.outside / "rsync.onnx", self.models / "rsync.onnx"], check=True)
        self.serving("rsync", 3)

    def test_slow_scp(self):
        """A piece now, the rest when the guard has looked: never imported, let alone served, before it is closed."""
        target = self.models / "scp.onnx"
        with open(target, "wb", buffering=0) as f:
            for at in range(0, len(GOOD), len(GOOD) // 4 + 1):
                f.write(GOOD[at:at + len(GOOD) // 4 + 1])
                os.utime(target)  # an event, so that the guard looks
                self.daemon.wait_file("scp.onnx", "settling")
            self.assertIsNone(self.daemon.model("scp"))
        self.serving("scp", 1)

    def test_tmpfile_and_linkat(self):
        fd = os.open(self.models, os.O_TMPFILE | os.O_WRONLY, 0o644)
        try:
            os.write(fd, GOOD)
            libc = ctypes.CDLL(None, use_errno=True)
            rc = libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, bytes(self.models / "tmpfile.onnx"),
                             AT_SYMLINK_FOLLOW)
            self.assertEqual(rc, 0, os.strerror(ctypes.get_errno()))
            self.daemon.wait_file("tmpfile.onnx", "settling")  # who holds it could still write
        finally:
            os.close(fd)
        self.serving("tmpfile", 1)

    def test_mapped_writes(self):
        target = self.models / "mapped.onnx"
        with open(target, "w+b") as f:
            f.truncate(len(GOOD))
            with mmap.mmap(f.fileno(), len(GOOD)) as m:
                m[:] = GOOD
                m.flush()
        self.serving("mapped", 1)
        # In place, through a mapping, with size and inode unchanged.
        with open(target, "r+b") as f, mmap.mmap(f.fileno(), len(GOOD)) as m:
            m[-4000:-3999] = bytes([m[-4000] ^ 1])
            m.flush()
        self.serving("mapped", 2)

    def test_touch_is_no_new_version(self):
        subprocess.run(["cp", self.outside / "good.onnx", self.models / "touch.onnx"], check=True)
        loaded = self.serving("touch", 1)["loaded_at"]
        os.utime(self.models / "touch.onnx", (1_700_000_000, 1_700_000_000))
        subprocess.run(["touch", self.models / "touch.onnx"], check=True)
        self.daemon.wait_log("touch.onnx: the same contents")
        self.daemon.wait_file("touch.onnx", "serving")
        self.assertEqual((self.daemon.model("touch")["version"], self.daemon.model("touch")["loaded_at"]), (1, loaded))
        # A change that brings other contents under the same time is none that a clock hides.
        with open(self.models / "touch.onnx", "r+b") as f:
            st = os.fstat(f.fileno())
            f.write(OTHER)
            f.flush()
            f.truncate()
            os.utime(f.fileno(), ns=(st.st_atime_ns, st.st_mtime_ns))
        self.serving("touch", 2)

    def test_append_in_place(self):
        """An upload that goes on where it broke off."""
        target = self.models / "append.onnx"
        target.write_bytes(GOOD[:300000])
        self.assertIn("300000", self.daemon.wait_file("append.onnx", "settling", "ends early")["reason"])
        with open(target, "ab") as f:
            f.write(GOOD[300000:])
        self.serving("append", 1)

    def test_delete_and_write_anew(self):
        target = self.models / "anew.onnx"
        target.write_bytes(GOOD)
        self.serving("anew", 1)
        target.unlink()
        target.write_bytes(OTHER)
        self.serving("anew", 2)

    def test_replaced_quickly_the_newest_wins(self):
        """Twenty replacements in a row: no request meets an old one once the newest serves, and it is the newest."""
        for i in range(20):
            self.daemon.drop(OTHER if i % 2 else GOOD, "quick")
        want = hashlib.sha256(OTHER).hexdigest()
        wait_for("the newest to serve", lambda: (self.daemon.model("quick") or {}).get("sha256") == want)
        f = wait_for("its file to be at rest", lambda: self.daemon.file("quick.onnx")["state"] == "serving")
        self.assertTrue(f)
        self.assertEqual(self.daemon.model("quick")["sha256"], want)

    def test_a_folder_of_versions_moved_in(self):
        (self.outside / "whole/1").mkdir(parents=True)
        (self.outside / "whole/1/model.onnx").write_bytes(GOOD)
        (self.outside / "whole").rename(self.models / "whole")
        self.serving("whole", 1)

    def test_two_files_are_one_version(self):
        """A sidecar with the model: labels from the first version on; a new sidecar is a new version."""
        (self.models / "pair.yaml").write_text((SIGNS / "models/signs.yaml").read_text())
        self.daemon.drop(GOOD, "pair")
        self.assertTrue(self.serving("pair", 1)["labels"])
        (self.models / "pair.yaml").write_text("input:\n  scale: 0.5\n")
        self.assertFalse(self.serving("pair", 2)["labels"])


class Versions(Folder):
    settings = {"guard__rescan_s": 3600, "guard__retire_s": 1}  # what is written before its folder is watched has to age

    def test_versions(self):
        """NAME/VERSION/model.onnx: the highest number that can be imported; NAME.onnx before all of them."""
        base = self.models / "triton"
        for number, content in ((3, GOOD), (20, OTHER)):
            (base / str(number)).mkdir(parents=True)
            (base / str(number) / "model.onnx").write_bytes(content)
            self.serving("triton", 1 if number == 3 else 2)
        self.daemon.wait_file("triton/3/model.onnx", "superseded", "highest version")
        (base / "7").mkdir()
        (base / "7" / "model.onnx").write_bytes(GOOD)
        self.daemon.wait_file("triton/7/model.onnx", "superseded")
        self.assertEqual(self.daemon.model("triton")["version"], 2)
        for strange in ("latest", "007", "1.5"):
            (base / strange).mkdir()
            (base / strange / "model.onnx").write_bytes(GOOD)
        self.daemon.drop(GOOD, "triton")  # beside the folder: it comes first
        self.serving("triton", 3)
        self.daemon.wait_file("triton/20/model.onnx", "superseded", "NAME.onnx before")
        names = {f["path"] for f in self.daemon.tables()["files"]}
        self.assertFalse([n for n in names if n.startswith(("triton/latest", "triton/007", "triton/1."))], names)
        (self.models / "triton.onnx").unlink()  # what is left is the highest number again
        self.serving("triton", 4)
        self.daemon.wait_file("triton/20/model.onnx", "serving")


class Kubernetes(Folder):
    """A volume as Kubernetes lays it out: NAME -> ..data/NAME, ..data -> ..TIME, swapped by a rename."""

    settings = {"guard__rescan_s": 3600, "guard__retire_s": 1}  # the first links are made after the swap

    def lay_out(self, stamp, content):
        (self.models / stamp).mkdir()
        (self.models / stamp / "kube.onnx").write_bytes(content)
        (self.models / stamp / "kube.yaml").write_text("input:\n  scale: 1\n")
        os.symlink(stamp, self.models / "..data_tmp")
        os.rename(self.models / "..data_tmp", self.models / "..data")

    def test_data_swap(self):
        self.lay_out("..2026_01", GOOD)
        for name in ("kube.onnx", "kube.yaml"):
            os.symlink(f"..data/{name}", self.models / name)
        self.serving("kube", 1)
        self.lay_out("..2026_02", OTHER)
        shutil.rmtree(self.models / "..2026_01")
        self.serving("kube", 2)
        self.assertEqual({f["path"] for f in self.daemon.tables()["files"]}, {"kube.onnx"})


class TheFolderItself(unittest.TestCase):
    """Each with a daemon of its own, since the folder goes away under it."""

    def daemon(self, **more):
        return Daemon(**{"guard__rescan_s": 3600, "guard__retire_s": 1, **more})

    def test_missing_at_the_start(self):
        d = self.daemon()
        d.models.rmdir()
        with d:
            d.wait_log("is missing")
            d.models.mkdir()
            d.wait_log("is there again")
            d.drop(GOOD, "a")
            d.wait_serving("a")

    def test_parent_missing_at_the_start(self):
        d = self.daemon()
        d.models = d.folder / "not/yet/models"
        with d:
            d.wait_log("is missing")
            d.models.mkdir(parents=True)
            d.drop(GOOD, "a")
            d.wait_serving("a")

    def test_deleted_and_made_again(self):
        with self.daemon() as d:
            d.drop(GOOD, "a")
            d.wait_serving("a")
            shutil.rmtree(d.models)
            d.wait_log("is missing")
            self.assertEqual(d.model("a")["version"], 1)  # a folder that vanishes retires nothing
            d.models.mkdir()
            d.drop(OTHER, "a")
            d.wait_serving("a", 1)

    def test_replaced_by_a_rename(self):
        with self.daemon() as d:
            d.drop(GOOD, "a")
            d.wait_serving("a")
            fresh = d.folder / "fresh"
            fresh.mkdir()
            (fresh / "a.onnx").write_bytes(OTHER)
            (fresh / "b.onnx").write_bytes(GOOD)
            d.models.rename(d.folder / "stale")
            fresh.rename(d.models)
            d.wait_serving("a", 1)
            d.wait_serving("b")
            shutil.copy(SIGNS / "models/signs-clean.folded.onnx", d.models / "b.onnx")  # the new one is watched
            d.wait_serving("b", 1)

    def test_mounted_over(self):
        if os.geteuid() != 0:
            self.skipTest("a mount needs root")
        with self.daemon() as d:
            d.drop(GOOD, "a")
            d.wait_serving("a")
            other = d.folder / "other"
            other.mkdir()
            (other / "a.onnx").write_bytes(OTHER)
            (other / "b.onnx").write_bytes(GOOD)
            done = subprocess.run(["mount", "--bind", other, d.models], capture_output=True, text=True)
            if done.returncode:
                self.skipTest(f"mount: {done.stderr.strip()}")
            try:
                d.wait_serving("a", 1)
                d.wait_serving("b")
                (d.models / "c.onnx").write_bytes(GOOD)
                d.wait_serving("c")
            finally:
                subprocess.run(["umount", d.models], check=True)
            d.wait_serving("a", 2)
            wait_for("what is not there any more to be retired", lambda: not d.model("b") and not d.model("c"))

    def test_an_empty_mount_retires_nothing(self):
        if os.geteuid() != 0:
            self.skipTest("a mount needs root")
        with self.daemon() as d:
            d.drop(GOOD, "a")
            d.wait_serving("a")
            done = subprocess.run(["mount", "-t", "tmpfs", "none", d.models], capture_output=True, text=True)
            if done.returncode:
                self.skipTest(f"mount: {done.stderr.strip()}")
            try:
                d.wait_log("not mounted?")
                self.assertEqual(d.model("a")["version"], 1)
            finally:
                subprocess.run(["umount", d.models], check=True)
            d.drop(OTHER, "a")
            d.wait_serving("a", 1)


class ManyFiles(unittest.TestCase):
    def setUp(self):
        """In memory where there is room for it: so many files take a disk many seconds."""
        self.folder = tempfile.mkdtemp(prefix="clpd-e2e-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def daemon(self):
        d = Daemon(guard__rescan_s=3600)
        d.models = pathlib.Path(self.folder)
        return d

    def test_twenty_thousand(self):
        """More files than the queue of events holds, and more than the guard looks at: the models among them serve."""
        with self.daemon() as d:
            d.drop(GOOD, "early")
            d.wait_serving("early")
            empty = os.open(d.models, os.O_RDONLY)
            for i in range(20000):
                os.close(os.open(f"f{i:05}.bin", os.O_CREAT | os.O_WRONLY, dir_fd=empty))
            os.close(empty)
            d.drop(OTHER, "early")
            d.drop(GOOD, "late")
            d.wait_serving("early", 1)
            d.wait_serving("late")
            self.assertEqual(d.status()["guard"]["restarts"], 0)

    def test_more_models_than_are_looked_at(self):
        with self.daemon() as d:
            for i in range(4200):
                (d.models / f"m{i:04}.onnx").touch()
            watching = wait_for("the guard to say so", lambda: "more than" in (d.status()["guard"]["watching"] or "")
                                and d.status()["guard"]["watching"])
            self.assertIn("4096", watching)
            for i in range(4200):
                (d.models / f"m{i:04}.onnx").unlink()
            d.drop(GOOD, "a")
            d.wait_serving("a")
            wait_for("the guard to watch by events again", lambda: d.status()["guard"]["watching"] == "inotify")


class Limits(unittest.TestCase):
    """fs.inotify.*: lowered in a user namespace of its own, so that nothing else on the machine notices."""

    def lowered(self, d, key, value):
        """Starts the daemon where `key` is `value`."""
        if not UNSHARE:
            self.skipTest("unshare is not installed")
        # Of the namespace: /proc/sys/fs/inotify would be the whole machine's.
        own = "/proc/sys/user/" + key.replace("user", "inotify")
        script = f"echo {value} > {own} && exec \"$@\""
        probe = subprocess.run([UNSHARE, "-Ur", "sh", "-c", script, "sh", "true"], capture_output=True, text=True)
        if probe.returncode:
            self.skipTest(f"a user namespace with a limit of its own: {probe.stderr.strip()}")
        d.prefix = [UNSHARE, "-Ur", "sh", "-c", script, "sh"]
        return d

    def fall_back(self, key, value, *words):
        d = self.lowered(Daemon(guard__rescan_s=3600), key, value)
        with d:
            watching = wait_for("the guard to say how it watches", lambda: d.status()["guard"]["watching"])
            for word in ("polling", key, *words):
                self.assertIn(word, watching)
            d.wait_log(f"fs.inotify.{key}")
            d.drop(GOOD, "a")
            d.wait_serving("a")
            d.drop(OTHER, "a")
            d.wait_serving("a", 1)
            (d.models / "a.onnx").unlink()
            wait_for("a to be retired", lambda: not d.model("a"))

    def test_no_instance_left(self):
        self.fall_back("max_user_instances", 0)

    def test_no_watch_left(self):
        self.fall_back("max_user_watches", 0)

    def test_a_limit_that_is_raised_again(self):
        d = self.lowered(Daemon(guard__rescan_s=3600), "max_user_instances", 0)
        with d:
            wait_for("the guard to poll", lambda: "polling" in (d.status()["guard"]["watching"] or ""))
            # The namespace's own limit can be raised from within it alone.
            done = subprocess.run(["nsenter", "-U", "-t", str(d.process.pid), "sh", "-c",
                                   "echo 10 > /proc/sys/user/max_inotify_instances"], capture_output=True, text=True)
            if done.returncode:
                self.skipTest(f"nsenter: {done.stderr.strip()}")
            wait_for("the guard to watch by events", lambda: d.status()["guard"]["watching"] == "inotify")
            d.drop(GOOD, "a")
            d.wait_serving("a")


class AGuardThatHangs(unittest.TestCase):
    def test_is_started_again(self):
        with Daemon(guard__silence_s=1) as d:
            d.drop(GOOD, "a")
            d.wait_serving("a")
            guard = next(p for p in d.processes() if p != d.process.pid)
            os.kill(guard, signal.SIGSTOP)
            wait_for("another guard", lambda: d.status()["guard"]["restarts"] >= 1 and
                     d.status()["guard"]["state"] == "up")
            d.wait_log("no sign of life")
            self.assertEqual(d.model("a")["version"], 1)
            d.drop(OTHER, "a")
            d.wait_serving("a", 1)


if __name__ == "__main__":
    unittest.main()
