"""Runs the end-to-end tests, says loudly what was skipped, and closes with a plain count."""
import pathlib
import sys
import unittest


def main():
    here = pathlib.Path(__file__).parent
    names = [pathlib.Path(n).stem for n in sys.argv[1:]] or sorted(p.stem for p in here.glob("test_*.py"))
    sys.path.insert(0, str(here))
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    for test, why in result.skipped:
        print(f"*** SKIP {test}: {why}", file=sys.stderr)
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad - len(result.skipped)} passed, {bad} failed, {len(result.skipped)} skipped")
    return 1 if bad or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
