"""The README's programs are run as they stand there, against a daemon that serves `signs`."""
import os
import re
import subprocess
import sys
import tempfile
import unittest

from harness import BUILD, ROOT, SANITIZED, SIGNS, Daemon


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


class Readme(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        cls.environment = {**os.environ, "CLPD_SOCKET": str(cls.daemon.socket), "PYTHONPATH": str(ROOT / "client/python")}

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def test_python(self):
        programs = [b for b in blocks("python") if "import" in b]
        self.assertGreaterEqual(len(programs), 2)
        for text in programs:
            done = subprocess.run([sys.executable, "-c", "pixels = memoryview(bytes(48 * 48 * 3)).cast('B', [48, 48, 3])\n"
                                   + text.replace("] = pixels", "] = pixels.cast('B')")],
                                  env=self.environment, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""), text)
            self.assertTrue(done.stdout.strip())

    @unittest.skipIf(SANITIZED, "SKIP: the library is built for AddressSanitizer, this program is not")
    def test_c(self):
        [text] = [b for b in blocks("c") if "main(" in b]
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(ROOT / "client", f"{folder}/clpd")
            with open(f"{folder}/app.c", "w") as f:
                f.write(text)
            subprocess.run(["gcc", "-Wall", "-Werror", f"-I{folder}", f"{folder}/app.c", BUILD / "libclpd.a", "-o",
                            f"{folder}/app"], check=True)
            done = subprocess.run([f"{folder}/app"], env=self.environment, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r"^[a-z ]+ 0\.\d{3}\n$")


if __name__ == "__main__":
    unittest.main()
