"""/metrics as promtool reads it, and the page as Chromium shows it."""
import pathlib
import re
import shutil
import struct
import subprocess
import unittest
import zlib

from fixture import Curl, Served, free_port, request
from harness import BUILD, SIGNS, Daemon


def grey_levels(png):
    """How many different colours a picture has, roughly: enough to tell a page from a blank one."""
    data, at, out = png.read_bytes(), 8, b""
    while at < len(data):
        n, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            out += data[at + 8:at + 8 + n]
        at += 12 + n
    return len(set(zlib.decompress(out)[::7]))


class Metrics(unittest.TestCase):
    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed (scripts/deps oip)")
    def test_promtool(self):
        daemon = Served.take()
        try:
            curl = Curl(["--unix-socket", str(daemon.folder / "http.sock")], "http://clpd")
            self.assertEqual(curl("/v2/models/signs/infer", body=request()).status, 200)
            text = curl("/metrics").body
        finally:
            Served.give()
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr.decode() + done.stdout.decode())


@unittest.skipUnless(shutil.which("chromium"), "Chromium is not installed (scripts/deps oip)")
class Page(unittest.TestCase):
    """Over TCP: Chromium opens no Unix socket. The pictures stay in the build folder, to be looked at."""

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.daemon = Daemon(http__listen=f"127.0.0.1:{cls.port}").start()
        cls.daemon.drop(SIGNS / "models/signs-backdoor.onnx", "signs", SIGNS / "models/signs.yaml")
        (cls.daemon.models / "<b>&.onnx").write_bytes(b"neither a model nor a good name")
        cls.daemon.wait_serving("signs")
        cls.daemon.wait_file("<b>&.onnx", "rejected")

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def chromium(self, *args, path="/", address=None):
        return subprocess.run(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                               f"--user-data-dir={self.daemon.folder}/chromium", "--virtual-time-budget=4000", *args,
                               address or f"http://127.0.0.1:{self.port}{path}"], capture_output=True, timeout=120)

    def test_screenshots(self):
        for name, size in (("page-wide", "1280,900"), ("page-phone", "390,1400")):
            picture = pathlib.Path(BUILD) / f"{name}.png"
            picture.unlink(missing_ok=True)
            self.chromium(f"--window-size={size}", f"--screenshot={picture}")
            self.assertTrue(picture.exists())
            self.assertGreater(grey_levels(picture), 20)

    def test_what_it_shows(self):
        text = self.chromium("--dump-dom").stdout.decode()
        self.assertIn('class="on"', text)  # the script runs, and hears from the daemon
        self.assertRegex(text, r'id="rate">[0-9]')
        for word in ("signs", "pruned", "rejected", "&lt;b&gt;&amp;.onnx", "reports/signs"):
            self.assertIn(word, text)
        self.assertNotIn("<b>&amp;.onnx", text)

    def test_without_a_script(self):
        text = subprocess.run(["curl", "--silent", f"http://127.0.0.1:{self.port}/"], capture_output=True).stdout.decode()
        self.assertNotIn("class=on", text)  # what a script has to fill stays hidden
        for word in ("signs", "pruned", "rejected", "reports/signs"):
            self.assertIn(word, text)
        plain, picture = self.daemon.folder / "plain.html", pathlib.Path(BUILD) / "page-plain.png"
        plain.write_text(re.sub("<script>.*</script>", "", text, flags=re.S))
        picture.unlink(missing_ok=True)
        self.chromium("--window-size=1280,900", f"--screenshot={picture}", address=f"file://{plain}")
        self.assertGreater(grey_levels(picture), 20)

    def test_report(self):
        text = self.chromium("--dump-dom", path="/reports/signs").stdout.decode()
        self.assertIn("signs.onnx", text.replace("<wbr>", ""))


if __name__ == "__main__":
    unittest.main()
