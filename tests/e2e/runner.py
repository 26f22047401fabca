"""Runs the end-to-end tests, one process for each file and as many at once as there are CPUs (they mostly wait), says
loudly what was skipped, and closes with a plain count."""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(os.environ.get("CLPD_TESTS", pathlib.Path(__file__).parent))  # tests/oip has its own
COUNT = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
# What takes longest begins first, so that nothing is left over at the end.
LONG = ("test_golden", "test_watch", "test_state", "test_hostile", "test_guard_probe", "test_ring", "test_probe", "test_serving")


def run_here(name):
    sys.path.insert(0, str(HERE))
    suite = unittest.defaultTestLoader.loadTestsFromName(name)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for test, why in result.skipped:
        print(f"*** SKIP {test}: {why}", file=sys.stderr)
    bad = len(result.failures) + len(result.errors)
    print(f"{max(0, result.testsRun - bad - len(result.skipped))} passed, {bad} failed, {len(result.skipped)} skipped")
    return 1 if bad or not result.testsRun else 0


def run_file(name):
    """Its output as a whole, and its counts: what ends without a count has failed."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-B", __file__, "--here", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace")
    counts = COUNT.findall(done.stdout)
    passed, failed, skipped = map(int, counts[-1]) if counts else (0, 1, 0)
    if done.returncode and not failed:
        failed = 1
    print(f"== {name}, {time.monotonic() - began:.0f} s\n{COUNT.sub('', done.stdout).rstrip()}", flush=True)
    return passed, failed, skipped


def main():
    if sys.argv[1:2] == ["--here"]:
        return run_here(sys.argv[2])
    names = [pathlib.Path(n).stem for n in sys.argv[1:]] or sorted(p.stem for p in HERE.glob("test_*.py"))
    names.sort(key=lambda n: LONG.index(n) if n in LONG else len(LONG))
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        counts = list(pool.map(run_file, names))
    passed, failed, skipped = (sum(column) for column in zip(*counts))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
