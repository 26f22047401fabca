"""A model is replaced fifty times under eight clients (under ThreadSanitizer eight times, under two): nobody notices, nothing grows."""
import array
import hashlib
import unittest

from harness import F32, SANITIZED, SIGNS, TSAN, Daemon, Hammer, wait_for, worst_difference

SWAPS = 8 if TSAN else 50
WARM = 4 if TSAN else 12  # swaps until both networks, every worker, the pools are warm
CLIENTS = 2 if TSAN else 8


def file_with_note(path, note):
    """The same network as another file: a metadata entry is appended, as protobuf allows."""
    text = f"note {note}".encode()
    entry = b"\x0a" + bytes([4]) + b"test" + b"\x12" + bytes([len(text)]) + text
    return path.read_bytes() + b"\x72" + bytes([len(entry)]) + entry  # ModelProto.metadata_props


class Swap(unittest.TestCase):
    def test_fifty_swaps_under_load(self):
        networks = [SIGNS / "models/signs-clean.onnx", SIGNS / "models/signs-backdoor.onnx"]
        dims = (1, 3, 48, 48)
        tensor = array.array("f", [((i * 37) % 255) / 255 - 0.5 for i in range(3 * 48 * 48)]).tobytes()
        with Daemon(guard__worker="{seconds: 600}") as d:  # no file is to be given up on a slow machine
            offered = {}

            def replace(k):
                content = file_with_note(networks[k % 2], k)
                offered[hashlib.sha256(content).digest()] = k
                served = d.model("signs")
                d.drop(content, "signs")
                return d.wait_serving("signs", served["version"] if served else 0)

            replace(0)
            replace(1)
            clients = [Hammer(d.socket, "signs", dims, tensor, F32) for _ in range(CLIENTS)]
            for c in clients:
                c.start()
            for k in range(2, WARM):
                replace(k)
            descriptors, memory = d.descriptors(), d.resident_kib()
            last = None
            for k in range(WARM, WARM + SWAPS):
                last = replace(k)
            # The old image is unmapped off the hot path: give that a moment, not a chance.
            wait_for("the descriptors to be as before", lambda: d.descriptors() <= descriptors)
            grown = d.resident_kib() - memory
            for c in clients:
                c.stopping.set()
            for c in clients:
                c.join()

            self.assertEqual([f for c in clients for f in c.failures][:5], [])
            seen = {v for c in clients for v in c.seen}
            for version, digest in seen:
                self.assertIn(digest, offered, "an answer from something that was never offered")
                self.assertEqual(version, offered[digest] + 1, "a version does not name what answered")
            answers = {}
            for c in clients:  # one network gives one answer, whoever asked
                for (_, digest), scores in c.seen.items():
                    self.assertLess(worst_difference(scores, answers.setdefault(offered[digest] % 2, scores)), 1e-5)
            self.assertGreater(worst_difference(answers[0], answers[1]), 1e-2, "the networks can't be told apart")
            self.assertEqual(last["version"], WARM + SWAPS)
            self.assertGreater(len(seen), SWAPS / 2, "the clients hardly saw the swaps")
            if not (SANITIZED or TSAN):  # which keep freed memory for a while on purpose; the former looks for leaks
                self.assertLess(grown, 8 * 1024, f"resident memory grew by {grown} KiB over {SWAPS} swaps")
            self.assertEqual(d.status()["counters"]["errors"], 0)
            print(f"\n{SWAPS} swaps, {sum(c.answered for c in clients)} answers, {len(seen)} versions seen, "
                  f"memory {grown:+d} KiB")


if __name__ == "__main__":
    unittest.main()
