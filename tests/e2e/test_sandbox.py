"""`clp-guard worker` seen from outside, by strace: its ritual stands in its order and before the first byte of a file,
and after it come only the calls that guard/sandbox.c allows.

The long form (CLPD_FULL=1) takes ONNX's own test cases and whatever `scripts/zoo --keep` and `make bench-peers` have left
in the build folder besides; CLPD_ZOO=FOLDER... takes these."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import hostile
from harness import BUILD, ROOT, SANITIZED, SHARED, SIGNS

STRACE = shutil.which("strace")
MODEL = 40  # the model's descriptor
RITUAL = (  # in this order
    ("descriptors", r"^close_range\(64, "),
    ("address space", r"^(setrlimit|prlimit64)\((0, )?RLIMIT_AS, \{rlim_cur"),
    ("CPU time", r"^(setrlimit|prlimit64)\((0, )?RLIMIT_CPU, \{rlim_cur"),
    ("output", r"^(setrlimit|prlimit64)\((0, )?RLIMIT_FSIZE, \{rlim_cur"),
    ("open files", r"^(setrlimit|prlimit64)\((0, )?RLIMIT_NOFILE, \{rlim_cur"),
    ("processes", r"^(setrlimit|prlimit64)\((0, )?RLIMIT_NPROC, \{rlim_cur"),
    ("core dumps", r"^(setrlimit|prlimit64)\((0, )?RLIMIT_CORE, \{rlim_cur"),
    ("no new privileges", r"^prctl\(PR_SET_NO_NEW_PRIVS, 1"),
    ("... verified", r"^prctl\(PR_GET_NO_NEW_PRIVS.*= 1$"),
    ("not dumpable", r"^prctl\(PR_SET_DUMPABLE, (0|SUID_DUMP_DISABLE)"),
    ("dies with its parent", r"^prctl\(PR_SET_PDEATHSIG, SIGKILL"),
    ("Landlock", r"^landlock_restrict_self\(.*= 0$"),
    ("... verified", r"^open(at)?\(.*\"/\".*= -1 EACCES"),
    ("seccomp", r"^(seccomp\(SECCOMP_SET_MODE_FILTER|prctl\(PR_SET_SECCOMP).*= 0$"),
    ("... verified", r"^open(at)?\(.*= -1 EPERM"),
)


def allowed_calls():
    """The words of allowed[] and the conditional rules, from the source: the test needs no second list."""
    text = (ROOT / "guard/sandbox.c").read_text()
    body = text[text.index("static const int allowed[]"):text.index("static int add_sanitizer_rules")]
    return set(re.findall(r"SCMP_SYS\((\w+)\)", body))


@unittest.skipUnless(STRACE, "strace is not installed")
@unittest.skipIf(SANITIZED, "a sanitizer makes system calls of its own")
class Sandbox(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="clpd-strace-"))
        if subprocess.run([STRACE, "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode:
            shutil.rmtree(cls.folder)
            raise unittest.SkipTest("strace may not trace here (ptrace is forbidden)")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def trace(self, model):
        """The worker's calls on this file, one a line, each beginning with its name."""
        log = self.folder / "log"
        with open(model, "rb") as f, open(self.folder / "image", "w+b") as out, open(os.devnull, "wb") as null:
            fds = [os.dup2(x.fileno(), at) for x, at in ((f, MODEL), (out, MODEL + 1), (null, MODEL + 2))]
            try:
                done = subprocess.run(
                    [STRACE, "-f", "-qq", "-s", "16", "-o", log, BUILD / "clp-guard", "worker", "--mode", "image",
                     "--threshold", "3", "--guard", "on", "--model-fd", str(fds[0]), "--output-fd", str(fds[1]),
                     "--report-fd", str(fds[2]), "--seconds", "300", "--memory", str(8 << 30), "--output", str(4 << 30),
                     "--name", "x.onnx"], pass_fds=fds, capture_output=True, text=True, timeout=600)
            finally:
                for fd in fds:
                    os.close(fd)
        self.assertEqual(done.returncode, 0, (model, done.stderr))
        calls, begun = [], {}
        for line in log.read_text(errors="replace").splitlines():
            thread, call = re.match(r"(\d+) +(.*)", line).groups()
            if call.endswith("<unfinished ...>"):  # the other thread was heard of meanwhile: whole where it ends
                begun[thread] = call.removesuffix("<unfinished ...>")
            elif call.startswith("<... "):
                call = begun.pop(thread, "") + call.split(" resumed>", 1)[-1]
            calls.append(call)
        return [re.sub(r"\s+= (-?\w+.*)$", r" = \1", c) for c in calls]

    def check(self, model, allowed):
        calls = self.trace(model)
        landlock = any(re.search(r"^landlock_create_ruleset\(.*= \d", c) for c in calls)
        at = 0
        for name, pattern in RITUAL:
            found = next((i for i in range(at, len(calls)) if re.search(pattern, calls[i])), None)
            if found is None and (name == "Landlock" or pattern.endswith("EACCES")) and not landlock:
                continue  # seccomp stands alone on such a kernel, and the worker says so
            self.assertIsNotNone(found, f"{model}: {name} is missing or out of order")
            before = [c for c in calls[:found] if re.match(rf"(pread64|read|mmap)\(.*\b{MODEL}\b", c)]
            self.assertEqual(before, [], f"{model}: read before {name}")
            at = found + 1
        used = {}
        for c in calls[at:]:
            m = re.match(r"(\w+)\(", c)
            if m:
                used.setdefault(m.group(1), c)
        self.assertEqual({n: c for n, c in used.items() if n not in allowed}, {}, model)
        for n, c in used.items():
            if n in ("mmap", "mprotect"):
                self.assertNotIn("PROT_EXEC", c, model)
        self.assertFalse([c for c in calls[at:] if c.startswith("+++ killed")], model)
        return set(used)

    def test_only_what_the_filter_allows(self):
        models = sorted((SIGNS / "models").glob("*.onnx"))
        made = hostile.mistakes()
        for name in ("cut-at-50-percent", "nested-3000-deep", "weight-nan", "a-hundred-thousand-nodes", "zeros",
                     "weight-stored-at-root"):
            path = self.folder / f"{name}.onnx"
            path.write_bytes(made[name])
            models.append(path)
        if (SHARED / "models").is_dir():
            models += [p for p in sorted((SHARED / "models").rglob("*.onnx")) if p.stat().st_size < 30 << 20]
        folders = os.environ.get("CLPD_ZOO", "").split()
        if os.environ.get("CLPD_FULL") == "1":
            folders += ["/usr/share/libonnx-testdata", BUILD / "zoo", BUILD / "peers/nets"]
        for folder in folders:
            models += sorted(pathlib.Path(folder).rglob("*.onnx"))
        allowed, used = allowed_calls(), set()
        for m in models:
            used |= self.check(m, allowed)
        print(f"{len(models)} files; used after the ritual: {' '.join(sorted(used))}")


if __name__ == "__main__":
    unittest.main()
