"""What an import costs in memory: the file once, and a little; not the file and its image beside each other."""
import struct
import subprocess
import sys
import tempfile
import unittest

from harness import BUILD, PATIENCE, SANITIZED
from test_bad_files import field, node

WIDE = 4096  # a product with 64 MiB of weights


def number(tag, value):
    out = bytes([tag << 3])
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def big(name):
    """y = x w, the weights at an address that depends on the length of the name."""
    shape = lambda last: field(1, number(1, 1)) + field(1, number(1, last))
    value = lambda n: field(1, n) + field(2, field(1, number(1, 1) + field(2, shape(WIDE))))
    weight = number(1, WIDE) * 2 + number(2, 1) + field(8, name) + field(9, struct.pack("<f", 0.25) * WIDE * WIDE)
    graph = field(1, node(b"MatMul", [b"x", name], b"y", b"m")) + field(2, b"g") + field(5, weight)
    graph += field(11, value(b"x")) + field(12, value(b"y"))
    return number(1, 7) + field(7, graph) + field(8, number(2, 13))


class Memory(unittest.TestCase):
    @unittest.skipIf(SANITIZED, "SKIP: a sanitizer needs memory of its own")
    def test_an_import_needs_the_file_and_little_more(self):
        for name in (b"w", b"ww", b"www", b"wwww"):
            content = big(name)
            with tempfile.NamedTemporaryFile(suffix=".onnx") as file, self.subTest(name):
                file.write(content)
                file.flush()
                # A process of its own, whose only child is measured: the larger of clpctl and its import worker.
                script = ("import resource, subprocess, sys; rc = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)"
                          ".returncode; print(rc, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
                out = subprocess.run([sys.executable, "-c", script, BUILD / "clpctl", "scan", file.name],
                                     capture_output=True, text=True, timeout=PATIENCE * 4, check=True).stdout.split()
                self.assertEqual(out[0], "0")
                self.assertLess(int(out[1]) * 1024, 1.5 * len(content) + (32 << 20))


if __name__ == "__main__":
    unittest.main()
