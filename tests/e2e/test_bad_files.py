"""Whatever is put into the model folder: one line that says what is wrong, and no effect on what is served."""
import os
import struct
import time
import unittest

from harness import F32, OK, SIGNS, Daemon, Hammer, wait_for

GOOD = SIGNS / "models/signs-clean.onnx"
DIMS = (1, 3, 48, 48)
TENSOR = bytes(4 * 3 * 48 * 48)


def field(number, payload):
    """A length-delimited protobuf field."""
    size, out = len(payload), b""
    while size > 127:
        out += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + out + bytes([size]) + payload


def model(*nodes, initializers=b""):
    """A small ModelProto: input x [1,4], output y."""
    dims = b"".join(field(1, b"\x08" + bytes([d])) for d in (1, 4))
    value = lambda name: field(1, name) + field(2, field(1, b"\x08\x01" + field(2, dims)))
    graph = b"".join(field(1, n) for n in nodes) + field(2, b"g") + initializers
    graph += field(11, value(b"x")) + field(12, value(b"y"))
    return b"\x08\x07" + field(7, graph) + field(8, b"\x10\x0d")


def node(op, inputs, output, name):
    return b"".join(field(1, i) for i in inputs) + field(2, output) + field(3, name) + field(4, op)


def tensor(name, values):
    return field(5, b"\x08" + bytes([len(values)]) + b"\x10\x01" + field(8, name)
                 + field(9, struct.pack(f"<{len(values)}f", *values)))


class BadFiles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon().start()
        cls.daemon.drop(GOOD, "good")
        cls.daemon.wait_serving("good")
        cls.client = Hammer(cls.daemon.socket, "good", DIMS, TENSOR, F32, inflight=1)
        cls.client.start()

    @classmethod
    def tearDownClass(cls):
        cls.client.stopping.set()
        cls.client.join()
        cls.daemon.stop()
        assert not cls.client.failures, cls.client.failures[:3]
        assert {version for version, _ in cls.client.seen} == {1}

    def put(self, name, content):
        self.daemon.drop(content, name)

    def expect(self, name, state, *words):
        f = self.daemon.wait_file(f"{name}.onnx", state)
        for word in words:
            self.assertIn(word, f["reason"], f"{name}: {f['reason']}")
        self.assertNotIn("\n", f["reason"])
        self.assertIsNone(self.daemon.model(name))
        answered = self.client.answered
        wait_for("the good model to answer on", lambda: self.client.answered > answered)
        return f

    def test_truncated(self):
        self.put("truncated", GOOD.read_bytes()[:100000])
        self.expect("truncated", "settling", "100000")

    def test_truncated_file_is_taken_when_the_rest_arrives(self):
        whole = GOOD.read_bytes()
        path = self.daemon.models / "late.onnx"
        with open(path, "wb") as f:
            f.write(whole[:50000])
        self.expect("late", "settling")
        with open(path, "ab") as f:
            f.write(whole[50000:])
        self.daemon.wait_serving("late")

    def test_file_that_grows_while_it_is_read(self):
        whole = GOOD.read_bytes()
        with open(self.daemon.models / "growing.onnx", "wb", buffering=0) as f:
            for at in range(0, len(whole), 40000):
                f.write(whole[at:at + 40000])
                time.sleep(0.02)  # a slow copy; the assertion below does not depend on it
                state = self.daemon.file("growing.onnx")
                self.assertTrue(state is None or state["state"] in ("seen", "settling", "importing"), state)
        self.daemon.wait_serving("growing")

    def test_text_file(self):
        self.put("text", b"Dear model,\nthis is not an ONNX file at all.\n" * 20)
        self.expect("text", "rejected")

    def test_unknown_operator(self):
        self.put("unknown", model(node(b"Frobnicate", [b"x"], b"y", b"odd-node")))
        self.expect("unknown", "rejected", "Frobnicate", "odd-node")

    def test_nan_weight(self):
        self.put("nan", model(node(b"Add", [b"x", b"w"], b"y", b"add"),
                              initializers=tensor(b"w", [1, 2, float("nan"), 4])))
        self.expect("nan", "rejected", "w")

    def test_cyclic_graph(self):
        self.put("cycle", model(node(b"Add", [b"x", b"b"], b"a", b"first"), node(b"Relu", [b"a"], b"b", b"second"),
                                node(b"Relu", [b"b"], b"y", b"third")))
        self.expect("cycle", "rejected", "first")

    def test_empty_file(self):
        self.put("empty", b"")
        self.expect("empty", "settling", "empty")

    def test_directory(self):
        (self.daemon.models / "directory.onnx").mkdir()
        self.expect("directory", "rejected", "director")

    def test_symlink_to_a_device(self):
        os.symlink("/dev/zero", self.daemon.models / "device.onnx")
        self.expect("device", "rejected", "regular file")

    def test_dangling_symlink(self):
        os.symlink("nowhere", self.daemon.models / "dangling.onnx")
        self.daemon.wait_file("dangling.onnx", "settling")

    def test_unreadable_labels(self):
        (self.daemon.models / "labels.yaml").write_text("labels: [a, b]\n")
        self.put("labels", GOOD.read_bytes())
        self.expect("labels", "rejected", "2", "label")

    def test_a_sidecar_from_elsewhere_is_taken_but_not_quoted(self):
        elsewhere = self.daemon.folder / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "secret").write_text("# a comment\nroot:hunter2:19000\nkey: hunter2\n")
        (elsewhere / "labels.yaml").write_bytes((SIGNS / "models/signs.yaml").read_bytes())
        os.symlink(elsewhere / "secret", self.daemon.models / "spy.yaml")
        self.put("spy", GOOD.read_bytes())
        f = self.expect("spy", "rejected", "spy.yaml", "not quoted")
        self.assertNotIn("hunter2", f["reason"])
        os.link(elsewhere / "secret", self.daemon.models / "hard.yaml")
        self.put("hard", GOOD.read_bytes())
        self.assertNotIn("hunter2", self.expect("hard", "rejected", "hard.yaml", "not quoted")["reason"])
        self.assertNotIn("hunter2", self.daemon.log.read_text())
        os.symlink(elsewhere / "labels.yaml", self.daemon.models / "linked.yaml")
        self.put("linked", GOOD.read_bytes())
        self.assertTrue(self.daemon.wait_serving("linked")["labels"])
        (self.daemon.models / "within.txt").write_text("kex: 1\n")  # a link within the folder is as good as the file
        os.symlink("within.txt", self.daemon.models / "within.yaml")
        self.put("within", GOOD.read_bytes())
        self.expect("within", "rejected", "within.yaml:1", "kex")

    def test_sidecar_with_an_unknown_key(self):
        (self.daemon.models / "sidecar.yaml").write_text("input:\n  skale: 2\n")
        self.put("sidecar", GOOD.read_bytes())
        self.expect("sidecar", "rejected", "sidecar.yaml:2", "scale")

    def test_a_bad_replacement_leaves_the_old_version(self):
        self.put("kept", GOOD.read_bytes())
        version = self.daemon.wait_serving("kept")["version"]
        self.put("kept", b"not a model\n" * 100)
        self.daemon.wait_file("kept.onnx", "rejected")
        self.assertEqual(self.daemon.model("kept")["version"], version)
        with self.daemon.client() as c:
            self.assertEqual(c.infer("kept", DIMS, TENSOR).status, OK)

    def test_temporary_names_are_ignored(self):
        for name in (".hidden.onnx", "x.onnx~", "x.onnx.tmp", "x.onnx.part"):
            (self.daemon.models / name).write_bytes(b"junk")
        self.put("marker", b"not a model\n" * 100)
        self.daemon.wait_file("marker.onnx", "rejected")
        names = {f["path"] for f in self.daemon.tables()["files"]}
        self.assertFalse({n for n in names if n.startswith(".") or "~" in n or n.endswith(("tmp", "part"))}, names)

    def test_removed_model_is_retired(self):
        self.put("gone", GOOD.read_bytes())
        self.daemon.wait_serving("gone")
        (self.daemon.models / "gone.onnx").unlink()
        wait_for("the removed model to be retired", lambda: self.daemon.model("gone") is None)


if __name__ == "__main__":
    unittest.main()
