"""Weights in a second file, NAME.onnx.data: two files, one version; and no other file is ever read through it."""
import array
import os
import struct
import unittest

from harness import OK, Daemon, clpctl, read_npy, write_npy
from test_bad_files import field, model, node

DIMS = (1, 4)
X = (1.0, 2.0, 3.0, 4.0)
TENSOR = struct.pack("<4f", *X)


def varint(number, value):
    out = bytes([number << 3])
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def outside(name, location, offset=0, length=16):
    """An initializer of 4 floats whose data lies in another file."""
    body = b"\x08\x04\x10\x01" + field(8, name)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        body += field(13, field(1, key.encode()) + field(2, value.encode()))
    return field(5, body + varint(14, 1))


def adder(location, **where):
    """y = x + w, with w in that file."""
    return model(node(b"Add", [b"x", b"w"], b"y", b"add"), initializers=outside(b"w", location, **where))


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


class External(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().start()

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def put(self, name, content):
        """As an exporter does it, or cp: in place, whole when closed."""
        (self.daemon.models / name).write_bytes(content)

    def answer(self, name):
        with self.daemon.client() as c:
            reply = c.infer(name, DIMS, TENSOR)
        self.assertEqual(reply.status, OK)
        return list(reply.scores)

    def expect_refused(self, name, *words):
        f = self.daemon.wait_file(f"{name}.onnx", "rejected")
        for word in words:
            self.assertIn(word, f["reason"])
        self.assertIsNone(self.daemon.model(name))

    def test_model_first(self):
        self.put("first.onnx", adder("first.onnx.data"))
        self.daemon.wait_file("first.onnx", "settling", "first.onnx.data")
        self.put("first.onnx.data", floats(10, 20, 30, 40))
        self.daemon.wait_serving("first")
        self.assertEqual(self.answer("first"), [11, 22, 33, 44])

    def test_data_first(self):
        self.put("second.onnx.data", floats(1, 1, 1, 1))
        self.put("second.onnx", adder("second.onnx.data"))
        self.daemon.wait_serving("second")
        self.assertEqual(self.answer("second"), [2, 3, 4, 5])

    def test_another_bare_name(self):
        self.put("named.onnx", adder("weights.bin", offset=8))
        self.daemon.wait_file("named.onnx", "settling")
        self.put("weights.bin", floats(9, 9, 1, 2, 3, 4))
        self.daemon.wait_serving("named")
        self.assertEqual(self.answer("named"), [2, 4, 6, 8])

    def test_new_data_is_a_new_version(self):
        self.put("renewed.onnx.data", floats(1, 1, 1, 1))
        self.put("renewed.onnx", adder("renewed.onnx.data"))
        version = self.daemon.wait_serving("renewed")["version"]
        self.put("renewed.onnx.data", floats(2, 2, 2, 2))
        self.daemon.wait_serving("renewed", newer_than=version)
        self.assertEqual(self.answer("renewed"), [3, 4, 5, 6])

    def test_short_data_waits_and_the_old_version_serves_on(self):
        self.put("short.onnx.data", floats(1, 1, 1, 1))
        self.put("short.onnx", adder("short.onnx.data"))
        version = self.daemon.wait_serving("short")["version"]
        self.put("short.onnx.data", floats(5, 5))
        f = self.daemon.wait_file("short.onnx", "settling")
        self.assertIn("not finished", f["reason"])
        self.assertEqual(self.answer("short"), [2, 3, 4, 5])
        with open(self.daemon.models / "short.onnx.data", "ab") as data:
            data.write(floats(5, 5))
        self.daemon.wait_serving("short", newer_than=version)
        self.assertEqual(self.answer("short"), [6, 7, 8, 9])

    def test_paths_are_refused(self):
        (self.daemon.models / "folder").mkdir(exist_ok=True)
        self.put("folder/w.data", floats(1, 2, 3, 4))
        secret = self.daemon.models.parent / "secret.data"
        secret.write_bytes(floats(1, 2, 3, 4))
        for i, location in enumerate(("../secret.data", str(secret), "folder/w.data", "./w.data", "..", ".", "",
                                      "a\\w.data", "/etc/passwd", "../" * 40 + "etc/passwd")):
            with self.subTest(location):
                self.put(f"path{i}.onnx", adder(location))
                self.expect_refused(f"path{i}", "without a path")

    def test_two_locations_are_refused(self):
        self.put("pair.onnx.data", floats(1, 2, 3, 4))
        self.put("other.data", floats(1, 2, 3, 4))
        self.put("pair.onnx", model(node(b"Add", [b"x", b"w"], b"h", b"a"), node(b"Add", [b"h", b"v"], b"y", b"b"),
                                    initializers=outside(b"w", "pair.onnx.data") + outside(b"v", "other.data")))
        self.expect_refused("pair", "accepted is one file")

    def test_links_are_refused(self):
        secret = self.daemon.models.parent / "linked.data"
        secret.write_bytes(floats(1, 2, 3, 4))
        os.symlink(secret, self.daemon.models / "soft.onnx.data")
        self.put("soft.onnx", adder("soft.onnx.data"))
        self.expect_refused("soft", "symbolic link")
        os.link(secret, self.daemon.models / "hard.onnx.data")
        self.put("hard.onnx", adder("hard.onnx.data"))
        self.expect_refused("hard", "hard link")
        os.mkfifo(self.daemon.models / "pipe.onnx.data")
        self.put("pipe.onnx", adder("pipe.onnx.data"))
        self.expect_refused("pipe", "pipe")

    def test_ranges_are_refused(self):
        for i, (offset, length, state) in enumerate((
                (1 << 64, 16, "rejected"), (-16, 16, "rejected"), (0, 12, "rejected"), (0, 1 << 63, "rejected"),
                ("0x0", 16, "rejected"), ((1 << 64) - 8, 16, "settling"), (8, 16, "settling"),
                ((1 << 63) - 1, 16, "settling"))):
            with self.subTest(f"{offset} + {length}"):
                self.put(f"range{i}.onnx.data", floats(1, 2, 3, 4))
                self.put(f"range{i}.onnx", adder(f"range{i}.onnx.data", offset=offset, length=length))
                self.daemon.wait_file(f"range{i}.onnx", state)
                self.assertIsNone(self.daemon.model(f"range{i}"))

    def test_on_the_command_line(self):
        folder = self.daemon.models.parent / "apart"
        folder.mkdir()
        (folder / "m.onnx").write_bytes(adder("m.onnx.data"))
        (folder / "m.onnx.data").write_bytes(floats(1, 2, 3, 4))
        write_npy(folder / "x.npy", DIMS, array.array("f", X))
        clpctl("run", folder / "m.onnx", "--input", folder / "x.npy", "--output", folder / "y.npy", check=0)
        self.assertEqual(list(read_npy(folder / "y.npy")[1]), [2, 4, 6, 8])


if __name__ == "__main__":
    unittest.main()
