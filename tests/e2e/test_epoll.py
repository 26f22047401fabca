"""epoll where io_uring is refused or not wanted: the same tests pass, and everybody who looks is told."""
import errno
import os
import pathlib
import socket
import subprocess
import sys
import unittest
from unittest import mock

import test_http
import test_ring
import test_serving
import test_swap
from harness import BUILD, F32, OK, SIGNS, Daemon, wait_for

REFUSER = pathlib.Path(__file__).with_name("refuse_uring.py")
DIMS, TENSOR = (1, 3, 48, 48), bytes(4 * 3 * 48 * 48)


def on_epoll(suite):
    class OnEpoll(suite):
        @classmethod
        def setUpClass(cls):
            patch = mock.patch.dict(os.environ, CLPD_IO="epoll")
            patch.start()
            cls.addClassCleanup(patch.stop)
            super().setUpClass()

    OnEpoll.__name__ = OnEpoll.__qualname__ = f"{suite.__name__}OnEpoll"
    return OnEpoll


ServingOnEpoll = on_epoll(test_serving.Serving)
if os.environ.get("CLPD_FULL"):  # a minute
    RingsOnEpoll = on_epoll(test_ring.Rings)
    SwapOnEpoll = on_epoll(test_swap.Swap)
    HttpOnEpoll = on_epoll(test_http.HttpPlane)


class Refused(unittest.TestCase):
    def start(self, why, **settings):
        d = Daemon(**settings)
        d.prefix = [sys.executable, REFUSER, str(why)]
        self.addCleanup(d.stop)
        return d

    def test_what_is_told(self):
        for why, word in ((errno.EPERM, "io_uring_disabled"), (errno.ENOSYS, "no io_uring"), (errno.ENOMEM, "memory")):
            with self.subTest(errno.errorcode[why]), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                d = self.start(why, http__path="/tmp/none")
                d.settings["http__path"] = web = d.folder / "http.sock"
                manager.bind(str(d.folder / "notify"))
                manager.settimeout(30)
                with mock.patch.dict(os.environ, NOTIFY_SOCKET=str(d.folder / "notify")):
                    d.start()
                self.assertEqual(d.status()["io_backend"], "epoll")
                d.wait_log("serving over epoll: io_uring_setup")
                self.assertIn(word, d.log.read_text())
                wait_for("STATUS= to name epoll", lambda: b"epoll" in manager.recv(4096))
                h = test_http.Http(web)
                h.request("GET", "/metrics")
                self.assertIn('io_backend="epoll"', h.getresponse().read().decode())
                h.close()
                d.drop(SIGNS / "models/signs-clean.onnx", "signs")
                d.wait_serving("signs")
                with d.client() as c:
                    self.assertEqual(c.infer("signs", DIMS, TENSOR, F32).status, OK)

    def test_what_was_demanded_is_not_replaced(self):
        for setting in ({"io__backend": "io_uring"}, {"io__sqpoll": "true"}):
            d = self.start(errno.EPERM, **setting)
            d.write_config()
            (d.folder / "state").mkdir()
            done = subprocess.run([*d.prefix, BUILD / "clpd", "--config", d.config], capture_output=True, text=True, timeout=60)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("io_uring", done.stderr)


if __name__ == "__main__":
    unittest.main()
