"""What a person at a terminal has: `clpctl top` in a real one (a pty), and the completions of bash and zsh."""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest

from harness import BUILD, PATIENCE, ROOT, SIGNS, Daemon, clpctl, wait_for


class Screen:
    """clpctl in a pty; `text` is all that it wrote so far."""

    def __init__(self, *args, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
            os.execv(BUILD / "clpctl", ["clpctl", *map(str, args)])
        self.text = ""
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.fd], [], [], 0.02)[0]:
            try:
                self.text += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:  # it has ended
                return True
        return False

    def wait_for(self, pattern):
        def seen():
            self.read()
            return re.search(pattern, self.text, re.S)
        return wait_for(f"{pattern!r} on the screen", seen)

    def press(self, keys):
        self.text = ""
        os.write(self.fd, keys.encode())

    def end(self):
        wait_for("clpctl's end", self.read)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


class Top(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().start()
        cls.daemon.drop(SIGNS / "models/signs-backdoor.onnx", "signs", SIGNS / "models/signs.yaml")
        (cls.daemon.models / "broken.onnx").write_bytes(b"this is no model")
        cls.daemon.wait_serving("signs")
        cls.daemon.wait_file("broken.onnx", "rejected")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_live(self):
        screen = Screen("--socket", self.daemon.socket, "top", "-d", "0.2")
        load = subprocess.Popen([BUILD / "clpctl", "--socket", self.daemon.socket, "load", "--seconds", "60"],
                                stdout=subprocess.DEVNULL)
        try:
            screen.wait_for(r"\x1b\[\?1049h.*guard up.*signs.*pruned 3.*rejected.*broken\.onnx")
            screen.wait_for(r"signs *(\x1b\[[0-9;]*m)* +[1-9][0-9,]*.* ms")  # requests, and their times
            screen.press("s")
            screen.wait_for("sort: p99")
            screen.press("p")
            screen.wait_for("paused")
            screen.press("p")
            screen.text = ""
            screen.resize(12, 50)
            screen.wait_for(r"\x1b\[J.*guard up.*\x1b\[J")  # the second whole one has the new size
            last = screen.text.split("\x1b[H")[-1]
            lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", last).replace("\r", "").split("\n")
            self.assertEqual(len(lines), 12)
            self.assertLessEqual(max(map(len, lines)), 50)
            screen.press("q")
            self.assertEqual(screen.end(), 0)
            self.assertTrue(screen.text.endswith("\x1b[?25h\x1b[?1049l"), screen.text[-40:])
        finally:
            load.kill()
            load.wait()

    def test_a_signal_gives_the_terminal_back(self):
        screen = Screen("--socket", self.daemon.socket, "top")
        screen.wait_for("guard up")
        os.kill(screen.pid, signal.SIGTERM)
        self.assertEqual(screen.end(), 0)
        self.assertTrue(screen.text.endswith("\x1b[?25h\x1b[?1049l"))

    def test_without_a_terminal(self):
        out = clpctl("--socket", self.daemon.socket, "top", "--count", "2", "--interval", "0.1", check=0).stdout
        self.assertEqual(out.count("guard up"), 2)
        self.assertNotIn("\x1b", out)
        self.assertNotIn("quit", out)

    def test_the_daemon_goes_and_comes(self):
        daemon = Daemon().start()
        screen = Screen("--socket", daemon.socket, "top", "-d", "0.1")
        try:
            screen.wait_for("guard up")
            daemon.process.terminate()
            daemon.process.wait(PATIENCE)
            screen.wait_for("no answer")
            daemon.start()
            screen.text = ""
            screen.wait_for("guard up")
            screen.press("q")
            self.assertEqual(screen.end(), 0)
        finally:
            daemon.stop()


class Completion(unittest.TestCase):
    """As the shells call it, with a folder of files and a clpctl on the PATH."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        for name in ("a.onnx", "b b.onnx", "c.txt"):
            open(os.path.join(cls.folder.name, name), "w").close()
        os.mkdir(os.path.join(cls.folder.name, "models"))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_shell(self, *command):
        done = subprocess.run(command, cwd=self.folder.name, capture_output=True, text=True, timeout=PATIENCE,
                              env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return sorted(done.stdout.split("\n")[:-1])

    def bash(self, *words):
        """The words as bash breaks them up; the last one is being typed."""
        script = ('source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _clpctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        return self.run_shell("bash", "-c", script, ROOT / "client/completion/clpctl.bash", "clpctl", *words)

    def test_bash(self):
        self.assertEqual(self.bash("sta"), ["status"])
        self.assertEqual(self.bash("scan", "--th"), ["--threshold"])
        self.assertEqual(self.bash("scan", ""), ["a.onnx", "b b.onnx", "models"])
        self.assertEqual(self.bash("scan", "--html", "c"), ["c.txt"])
        self.assertEqual(self.bash("load", "--transport", ""), ["shm", "stream"])
        self.assertEqual(self.bash("load", "--transport", "=", "sh"), ["shm"])
        self.assertEqual(self.bash("load", "--transport", "="), ["shm", "stream"])
        self.assertEqual(self.bash("rollback", "no-daemon"), [""])

    @unittest.skipUnless(shutil.which("zsh"), "SKIP: zsh is missing (scripts/deps test)")
    def test_zsh(self):
        """The function itself, with zsh's own helpers replaced by ones that tell what they were given."""
        script = ('compset() { PREFIX=${PREFIX#*=} }; _files() { print -l -- "files $*" }; '
                  '_describe() { print -l -- "${(@P)3}" }; '
                  '_clpctl() { source "$file" }; file=$1; shift; words=(clpctl "$@"); CURRENT=$#words; '
                  'PREFIX=$words[CURRENT]; _clpctl')

        def zsh(*words):
            return self.run_shell("zsh", "-f", "-c", script, "zsh", ROOT / "client/completion/_clpctl", *words)
        self.assertIn("status:How the daemon is", zsh("sta"))
        self.assertTrue(any(l.startswith("--threshold:cut-off") for l in zsh("scan", "--")))
        self.assertEqual(zsh("scan", ""), ["files -g *.(onnx)"])
        self.assertEqual(zsh("classify", "x"), ["files -g *.(jpg|jpeg|png|npy)"])
        self.assertEqual(zsh("scan", "--html", ""), ["files "])
        self.assertEqual(zsh("load", "--transport=s"), ["shm:", "stream:"])


if __name__ == "__main__":
    unittest.main()
