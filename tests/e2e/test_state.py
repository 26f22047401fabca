"""What is kept survives: restarts, kills, damage, a full disk; rollback and accept."""
import array
import grp
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import threading
import unittest

from harness import BAD_REQUEST, F32, JSON_REPLY, OK, SIGNS, STATUS, Daemon, clpctl, wait_for
from test_swap import file_with_note

CLEAN = SIGNS / "models/signs-clean.onnx"
BACKDOOR = SIGNS / "models/signs-backdoor.onnx"
DIMS = (1, 3, 48, 48)
TENSOR = array.array("f", [((i * 37) % 255) / 255 - 0.5 for i in range(3 * 48 * 48)]).tobytes()


class Kept(Daemon):
    """A daemon that is stopped and started on one folder."""

    def start(self):
        super().start()
        wait_for("the guard to be done", lambda: "dealt with every file" in self.log.read_text()[self.said:])
        return self

    said = 0

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait(60)
        if how == signal.SIGKILL:  # its children notice by themselves
            wait_for("the guard to end", lambda: not self.guard_runs())
        self.said = len(self.log.read_text())

    def guard_runs(self):
        return subprocess.run(["pgrep", "-f", f"clp-guard --config {self.config} "],
                              stdout=subprocess.DEVNULL).returncode == 0

    def restart(self, how=signal.SIGTERM):
        self.end(how)
        return self.start()

    @property
    def state(self):
        return self.folder / "state"

    def kept(self):
        return sorted(p.name for p in self.state.iterdir())

    def wait_kept(self, *names):
        wait_for(f"{names} to be kept", lambda: self.kept() == sorted(names))

    def imports(self):
        """How many imports were begun since the last start (at log level debug)."""
        return self.log.read_text()[self.said:].count(": importing")

    def since(self):
        return self.log.read_text()[self.said:]

    def scores(self):
        with self.client() as c:
            reply = c.infer("signs", DIMS, TENSOR, F32)
            assert reply.status == OK, reply.text
            return reply


class State(unittest.TestCase):
    def test_a_restart_serves_without_an_import(self):
        with Kept(log__level="debug") as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.drop(BACKDOOR, "signs")
            d.wait_serving("signs", 1)
            before = d.scores()
            d.wait_kept("signs@1.image", "signs@2.image", "signs@index")
            for how in (signal.SIGTERM, signal.SIGKILL):
                d.restart(how)
                m = d.wait_serving("signs")
                self.assertEqual((m["version"], m["verdict"]), (2, "pruned"))
                d.wait_file("signs.onnx", "serving")
                after = d.scores()
                self.assertEqual((after.version, after.sha256), (2, before.sha256))
                self.assertEqual(after.scores, before.scores)
                self.assertEqual(d.imports(), 0, d.since())
            d.drop(file_with_note(CLEAN, 1), "signs")  # the count goes on
            self.assertEqual(d.wait_serving("signs", 2)["version"], 3)
            d.wait_kept("signs@2.image", "signs@3.image", "signs@index")

    def test_another_precision_serves_what_is_kept_until_it_is_compiled_anew(self):
        cpu = pathlib.Path("/proc/cpuinfo").read_text()
        pays = " avx512_bf16" in cpu and "GenuineIntel" not in cpu
        with Kept(log__level="debug") as d:
            d.drop(CLEAN, "signs")
            before = d.wait_serving("signs")
            self.assertNotEqual(before["compiled_for"], "avx512-bf16")
            d.wait_kept("signs@1.image", "signs@index")
            d.settings["engine__precision"] = "bf16"
            d.restart()
            d.wait_serving("signs")  # what was kept
            if not pays:
                self.assertIn("models are compiled for float32", d.since())
                self.assertEqual((d.model("signs")["version"], d.imports()), (1, 0))
                return
            m = d.wait_serving("signs", 1)
            self.assertEqual((m["version"], m["compiled_for"]), (2, "avx512-bf16"))
            d.wait_kept("signs@1.image", "signs@2.image", "signs@index")
            d.restart()  # that one is kept like any other
            m = d.wait_serving("signs")
            self.assertEqual((m["version"], m["compiled_for"], d.imports()), (2, "avx512-bf16", 0))

    def test_who_connects_during_the_start_finds_what_was_served_before(self):
        with Kept() as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.wait_kept("signs@1.image", "signs@index")
            d.end(signal.SIGKILL)  # its socket file is left over: connecting is refused until the next one listens
            first = []

            def ask():
                try:
                    with d.client() as c:
                        first.append(c.infer("signs", DIMS, TENSOR, F32))
                except OSError:
                    return False
                return True

            impatient = threading.Thread(target=wait_for, args=("an answer", ask))
            impatient.start()
            d.start()
            impatient.join()
            self.assertEqual([(r.status, r.version) for r in first], [(OK, 1)])

    def test_a_file_that_changed_meanwhile_is_imported_after_the_kept_one_serves(self):
        with Kept(log__level="debug") as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.wait_kept("signs@1.image", "signs@index")
            d.end()
            d.drop(BACKDOOR, "signs")
            d.start()
            self.assertEqual(d.wait_serving("signs", 1)["version"], 2)
            self.assertLess(d.since().index("serves again"), d.since().index(": importing"))

    def test_a_touched_file_is_not_imported_again(self):
        with Kept(log__level="debug") as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.wait_kept("signs@1.image", "signs@index")
            d.end()
            os.utime(d.models / "signs.onnx")
            d.start()
            wait_for("the digest to be known", lambda: "same contents" in d.since())
            self.assertEqual(d.model("signs")["version"], 1)

    def test_a_retired_model_that_comes_back_counts_on(self):
        with Kept() as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.drop(BACKDOOR, "signs")
            d.wait_serving("signs", 1)
            (d.models / "signs.onnx").unlink()
            wait_for("it to be retired", lambda: not d.model("signs"))
            d.wait_kept("signs@index")
            d.restart()
            self.assertIsNone(d.model("signs"))
            d.drop(CLEAN, "signs")
            self.assertEqual(d.wait_serving("signs")["version"], 3)

    def test_damage_is_refused_with_its_reason(self):
        def flip(path, at):
            b = bytearray(path.read_bytes())
            b[at] ^= 1
            path.write_bytes(bytes(b))

        def foreign(d):
            shutil.copy(d.state / "other@1.image", d.state / "signs@1.image")

        damages = {
            "weights": (lambda d: flip(d.state / "signs@1.image", -1), "checksum|SHA-256"),
            "header": (lambda d: flip(d.state / "signs@1.image", 9), "another clpd"),
            "cut": (lambda d: os.truncate(d.state / "signs@1.image", 5000), "5000 bytes instead"),
            "another image": (foreign, "bytes instead|not the image"),
            "a link": (lambda d: (shutil.move(d.state / "signs@1.image", d.folder / "x"),
                                  (d.state / "signs@1.image").symlink_to(d.folder / "x")), "signs@1.image"),
            "the record": (lambda d: flip(d.state / "signs@index", 100), "damaged"),
            "a cut record": (lambda d: os.truncate(d.state / "signs@index", 100), "no record"),
        }
        for name, (damage, reason) in damages.items():
            with self.subTest(name), Kept() as d:
                d.drop(CLEAN, "signs")
                d.drop(BACKDOOR, "other")
                d.wait_serving("signs")
                d.wait_serving("other")
                want = d.scores().scores
                d.wait_kept("other@1.image", "other@index", "signs@1.image", "signs@index")
                d.end()
                damage(d)
                d.start()
                m = d.wait_serving("signs")
                self.assertRegex(d.since(), f"signs.*not served from what was kept.*({reason})")
                self.assertEqual(m["version"], 1 if "record" in name else 2)  # with the record goes the count
                self.assertEqual(d.scores().scores, want)
                self.assertEqual(d.wait_serving("other")["version"], 1)

    def test_what_a_crash_left_over_is_removed(self):
        with Kept() as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.wait_kept("signs@1.image", "signs@index")
            d.end()
            (d.state / "signs@2.image.new").write_bytes(b"half")
            (d.state / "signs@7.image").write_bytes(b"no record names it")
            (d.state / "gone@1.image").write_bytes(b"no record at all")
            (d.state / "notes.txt").write_bytes(b"somebody else's")
            d.start()
            self.assertEqual(d.wait_serving("signs")["version"], 1)
            d.wait_kept("notes.txt", "signs@1.image", "signs@index")

    def test_killed_in_the_middle(self):
        with Kept() as d:
            for k in range(6):
                d.drop(file_with_note(CLEAN, k), "signs")
                d.wait_serving("signs", d.model("signs")["version"] if d.model("signs") else 0)
                d.restart(signal.SIGKILL)  # at whatever moment of the writing this is
                m = d.wait_serving("signs")
                d.wait_file("signs.onnx", "serving")
                self.assertEqual(d.scores().status, OK)
                self.assertNotIn("can't be", d.since())

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small tmpfs needs root")
    def test_a_full_disk_loses_nothing(self):
        with Kept() as d:
            d.end()
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "clpd-test", d.state],
                                     capture_output=True, text=True)
            if mounted.returncode:
                self.skipTest(f"mount: {mounted.stderr.strip()}")
            try:
                d.start()
                d.drop(CLEAN, "signs")
                d.wait_serving("signs")
                d.wait_kept("signs@1.image", "signs@index")
                before = (d.state / "signs@1.image").read_bytes()
                with open(d.state / "ballast", "wb", buffering=0) as f:
                    try:
                        while True:
                            f.write(bytes(4096))
                    except OSError:
                        pass
                d.drop(BACKDOOR, "signs")
                d.wait_serving("signs", 1)  # serving needs no disk
                wait_for("the failure to be told", lambda: "No space left" in d.since())
                self.assertEqual(d.kept(), ["ballast", "signs@1.image", "signs@index"])
                self.assertEqual((d.state / "signs@1.image").read_bytes(), before)
                d.restart()
                d.wait_file("signs.onnx", "serving")
                self.assertEqual(d.wait_serving("signs")["verdict"], "pruned")
                d.end()
            finally:
                d.process.kill()
                d.process.wait()
                wait_for("the state folder to be free", lambda: subprocess.run(["umount", d.state]).returncode == 0)


class Control(unittest.TestCase):
    def say(self, d, *args, check=0):
        done = clpctl("--socket", d.socket, *args, check=check)
        return done.stdout if check == 0 else done.stderr

    def two_versions(self, d):
        d.drop(CLEAN, "signs")
        d.wait_serving("signs")
        self.first = d.scores().scores
        d.drop(BACKDOOR, "signs")
        d.wait_serving("signs", 1)
        self.second = d.scores().scores
        self.assertNotEqual(self.first, self.second)
        d.wait_kept("signs@1.image", "signs@2.image", "signs@index")
        wait_for("the record to name both", lambda: struct.unpack_from("<Q", (d.state / "signs@index").read_bytes(), 72)[0] == 2)

    def test_rollback_and_back(self):
        with Kept(log__level="debug") as d:
            self.two_versions(d)
            said = self.say(d, "rollback", "signs")
            self.assertIn("version 1 serves again", said)
            self.assertEqual(d.scores().scores, self.first)
            self.assertEqual(d.scores().version, 1)
            f = d.wait_file("signs.onnx", "held")
            self.assertIn("rolled back to version 1", f["reason"])
            self.assertEqual(f["verdict"], "pruned")
            self.assertIn("no version of signs before 1", self.say(d, "rollback", "signs", check=2))
            # It stays so: the file is touched, written anew, the daemon started anew.
            os.utime(d.models / "signs.onnx")
            d.drop(BACKDOOR, "signs")
            wait_for("it to be looked at", lambda: d.log.read_text().count(": importing") > 2)
            d.wait_file("signs.onnx", "held")
            d.wait_kept("signs@1.image", "signs@2.image", "signs@index")
            for how in (signal.SIGTERM, signal.SIGKILL):
                d.restart(how)
                self.assertEqual(d.wait_serving("signs")["version"], 1)
                d.wait_file("signs.onnx", "held")
                self.assertEqual(d.scores().scores, self.first)
            said = self.say(d, "accept", "signs")
            self.assertIn("version 3", said)
            self.assertEqual(d.scores().scores, self.second)
            d.wait_file("signs.onnx", "serving")
            self.assertIn("no file of signs is held", self.say(d, "accept", "signs", check=2))
            self.assertIn("version 1 serves again", self.say(d, "rollback", "signs"))

    def test_a_new_file_ends_a_rollback(self):
        with Kept() as d:
            self.two_versions(d)
            self.say(d, "rollback", "signs")
            d.drop(file_with_note(BACKDOOR, 7), "signs")
            self.assertEqual(d.wait_serving("signs", 1)["version"], 3)
            d.wait_file("signs.onnx", "serving")
            d.wait_kept("signs@1.image", "signs@3.image", "signs@index")

    def test_accept_what_policy_holds(self):
        with Kept(guard__max_pruned=0) as d:
            d.drop(BACKDOOR, "signs")
            f = d.wait_file("signs.onnx", "held")
            self.assertIn("clpctl accept signs", f["reason"])
            self.assertIsNone(d.model("signs"))
            self.assertIn("version 1", self.say(d, "accept", "signs"))
            self.assertEqual(d.model("signs")["verdict"], "pruned")
            d.wait_kept("signs@1.image", "signs@index")
            d.restart()  # it is remembered
            self.assertEqual(d.wait_serving("signs")["version"], 1)
            d.drop(file_with_note(BACKDOOR, 1), "signs")  # and holds for these contents alone
            d.wait_file("signs.onnx", "held")
            self.assertEqual(d.model("signs")["version"], 1)

    def test_what_can_not_be_done(self):
        with Kept() as d:
            d.drop(CLEAN, "signs")
            d.wait_serving("signs")
            d.wait_kept("signs@1.image", "signs@index")
            self.assertIn("no version of signs before", self.say(d, "rollback", "signs", check=2))
            self.assertIn("no model other", self.say(d, "rollback", "other", check=2))
            self.assertIn("no file of other is held", self.say(d, "accept", "other", check=2))
            with d.client() as c:  # frames that are none, and the stream goes on
                for body in (struct.pack("<64sI28s", b"signs", 3, b""), struct.pack("<64sI28s", b"", 1, b""),
                             struct.pack("<64sI28s", b"x" * 64, 1, b""), struct.pack("<64sI28s", b"signs", 1, b"\1"),
                             b"short"):
                    c.send(32, body)
                    self.assertEqual(c.receive().status, BAD_REQUEST)
                self.assertEqual(c.ask(STATUS)["models"], 1)
            self.assertEqual(d.model("signs")["version"], 1)

    @unittest.skipUnless(os.geteuid() == 0, "becoming somebody else needs root")
    def test_others_may_not(self):
        with Kept(socket__mode='"0666"', socket__control_group="daemon") as d:
            self.two_versions(d)
            d.folder.chmod(0o755)
            group = grp.getgrnam("daemon").gr_gid
            for uid, groups, may in ((12345, [], False), (12345, [group], True), (65534, [], False)):
                read, write = os.pipe()
                child = os.fork()
                if child == 0:
                    try:
                        os.setgroups(groups)
                        os.setgid(12345)
                        os.setuid(uid)
                        with d.client() as c:
                            c.send(32, struct.pack("<64sI28s", b"signs", 1, b""))
                            r = c.receive()
                            os.write(write, bytes([0 if r.kind == JSON_REPLY else r.status]))
                    finally:
                        os._exit(0)
                os.close(write)
                got = os.read(read, 1)
                os.close(read)
                os.waitpid(child, 0)
                self.assertEqual(got, b"\0" if may else b"\x0a", (uid, groups))

    def test_a_guard_that_dies_meanwhile_is_told(self):
        with Kept() as d:
            self.two_versions(d)
            guards = subprocess.run(["pgrep", "-P", str(d.process.pid), "clp-guard"], capture_output=True, text=True)
            for pid in guards.stdout.split():
                os.kill(int(pid), signal.SIGSTOP)
            with d.client() as c:
                c.send(32, struct.pack("<64sI28s", b"signs", 1, b""))
                for pid in guards.stdout.split():
                    os.kill(int(pid), signal.SIGKILL)
                self.assertEqual(c.receive().status, 11)
            wait_for("the next guard", lambda: d.status()["guard"]["state"] == "up")
            self.assertIn("version 1 serves again", self.say(d, "rollback", "signs"))


if __name__ == "__main__":
    unittest.main()
