"""HTTP on the Unix socket: the Open Inference Protocol, metrics, reports and the page, by Python's own http.client.
`make test-oip` runs every case of the protocol (tests/oip); this is the short form."""
import array
import http.client
import json
import os
import socket
import struct
import sys
import threading
import unittest

from harness import F32, OK, PATIENCE, ROOT, SANITIZED, SIGNS, U8, Daemon, read_npy, wait_for

sys.path.insert(0, str(ROOT / "scripts"))
from tiny import network  # noqa: E402

SHAPE = [1, 3, 48, 48]
SIZE = 3 * 48 * 48


class Http(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("clpd", timeout=PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class HttpPlane(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(limits__request_bytes="1M", http__body_bytes="4M", http__receive_s=2, http__idle_s=3).start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        cls.socket = cls.daemon.folder / "http.sock"
        _, cls.images = read_npy(SIGNS / "data/heldout-images.npy")
        cls.tensor = array.array("f", ((i * 7919 % 1000) / 333 - 1.5 for i in range(SIZE)))

    @classmethod
    def tearDownClass(cls):
        cls.daemon.stop()

    def ask(self, method, path, body=None, headers=None):
        c = Http(self.socket)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            data = r.read()
            return r.status, r.headers, data
        finally:
            c.close()

    def json(self, method, path, body=None, status=200, headers=None):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        got, head, data = self.ask(method, path, body, headers)
        self.assertEqual(got, status, data[:300])
        self.assertEqual(head["Content-Type"], "application/json")
        answer = json.loads(data)
        if status >= 400:
            self.assertEqual(list(answer), ["error"])
        return answer

    def request(self, data=None, **more):
        tensor = {"name": "input", "shape": SHAPE, "datatype": "FP32"}
        tensor.update({"data": list(self.tensor) if data is None else data})
        return {"inputs": [tensor], **more}

    def stream_scores(self):
        with self.daemon.client() as c:
            return c.infer("signs", SHAPE, self.tensor.tobytes(), F32).scores

    def binary(self, extra=None, tensor=None, status=200):
        tensor = self.tensor.tobytes() if tensor is None else tensor
        head = {"inputs": [{"name": "input", "shape": SHAPE, "datatype": "FP32",
                            "parameters": {"binary_data_size": len(tensor)}}], **(extra or {})}
        text = json.dumps(head).encode()
        got, headers, data = self.ask("POST", "/v2/models/signs/infer", text + tensor,
                                      {"Inference-Header-Content-Length": str(len(text))})
        self.assertEqual(got, status, data[:300])
        return headers, data

    def test_health_and_metadata(self):
        self.assertEqual(self.json("GET", "/v2/health/live"), {"live": True})
        self.assertEqual(self.json("GET", "/v2/health/ready"), {"ready": True})
        self.assertEqual(self.json("GET", "/v2")["name"], "clpd")
        self.assertIn("binary_tensor_data", self.json("GET", "/v2/")["extensions"])
        m = self.json("GET", "/v2/models/signs")
        self.assertEqual(m, {"name": "signs", "versions": ["1"], "platform": "clpd",
                             "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 48, 48]}],
                             "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 12]}]})
        self.assertEqual(self.json("GET", "/v2/models/signs/versions/1"), m)
        self.assertEqual(self.json("GET", "/v2/models/signs/ready"), {"name": "signs", "ready": True})
        self.json("GET", "/v2/models/none", status=404)
        self.json("GET", "/v2/models/signs/versions/9", status=404)
        self.json("GET", "/v2/nothing", status=404)
        self.json("POST", "/v2/models/signs", status=405)

    def test_the_same_bits_as_the_stream(self):
        want = self.stream_scores()
        flat = self.json("POST", "/v2/models/signs/infer", self.request(id="one"))
        self.assertEqual((flat["model_name"], flat["model_version"], flat["id"]), ("signs", "1", "one"))
        self.assertEqual(flat["outputs"][0]["shape"], [1, 12])
        self.assertEqual(array.array("f", flat["outputs"][0]["data"]), want)
        it = iter(self.tensor)
        nested = [[[[next(it) for _ in range(48)] for _ in range(48)] for _ in range(3)]]
        answer = self.json("POST", "/v2/models/signs/versions/1/infer", self.request(nested))
        self.assertEqual(array.array("f", answer["outputs"][0]["data"]), want)
        headers, data = self.binary({"parameters": {"binary_data_output": True}})
        head = int(headers["Inference-Header-Content-Length"])
        self.assertEqual(json.loads(data[:head])["outputs"][0]["parameters"]["binary_data_size"], len(data) - head)
        self.assertEqual(data[head:], want.tobytes())
        _, data = self.binary()
        self.assertEqual(array.array("f", json.loads(data)["outputs"][0]["data"]), want)
        status, headers, data = self.ask("POST", "/v2/models/signs/infer", self.tensor.tobytes(),
                                         {"Inference-Header-Content-Length": "0"})
        self.assertEqual((status, data[-len(want) * 4:]), (200, want.tobytes()))

    def test_a_network_of_microseconds(self):
        """HTTP's own thread may compute it, or the loop, as it comes: no matter to anybody, and counted all the same."""
        self.daemon.drop(network(16), "tiny")
        self.addCleanup(lambda: wait_for("its retirement", lambda: self.daemon.model("tiny") is None))
        self.addCleanup((self.daemon.folder / "models/tiny.onnx").unlink)
        self.daemon.wait_serving("tiny")
        pictures = [array.array("f", (i * j % 7 - 3.25 for j in range(16))).tobytes() for i in range(1, 9)]
        with self.daemon.client() as c:
            want = [c.infer("tiny", [1, 1, 1, 16], p, F32).scores.tobytes() for p in pictures]
        got = [[] for _ in pictures]

        def work(i):
            for _ in range(20):
                status, _, data = self.ask("POST", "/v2/models/tiny/versions/1/infer", pictures[i],
                                           {"Inference-Header-Content-Length": "0"})
                got[i].append((status, data[-len(want[i]):]))
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(pictures))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for i, answers in enumerate(got):
            self.assertEqual(answers, [(200, want[i])] * 20)
        both, head = pictures[0] + pictures[1], {"Inference-Header-Content-Length": "0"}
        status, _, data = self.ask("POST", "/v2/models/tiny/infer", both, head)
        self.assertEqual((status, data[-2 * len(want[0]):]), (200, want[0] + want[1]))
        self.assertEqual(self.ask("POST", "/v2/models/tiny/infer", both[:-4], head)[0], 400)
        self.assertEqual(self.ask("POST", "/v2/models/tiny/versions/2/infer", both, head)[0], 404)
        answer = self.json("POST", "/v2/models/tiny/infer", {
            "inputs": [{"name": "x", "shape": [1, 1, 1, 16], "datatype": "FP32", "data": list(range(16))}],
            "outputs": [{"name": "y", "parameters": {"classification": 1}}]})
        self.assertEqual(answer["outputs"][0]["datatype"], "BYTES")
        _, _, text = self.ask("GET", "/metrics")
        line = next(l for l in text.decode().splitlines() if l.startswith("clpd_model_requests_total") and 'model="tiny"' in l)
        self.assertEqual(int(float(line.split()[-1])), len(pictures) + 20 * len(pictures) + 2)

    def test_pictures(self):
        picture = self.images[:48 * 48 * 3]
        with self.daemon.client() as c:
            want = c.infer("signs", (1, 48, 48, 3), picture.tobytes(), U8, top_k=3)
        q = {"inputs": [{"name": "input", "shape": [1, 48, 48, 3], "datatype": "UINT8", "data": list(picture)}],
             "outputs": [{"name": "logits", "parameters": {"classification": 3}}]}
        out = self.json("POST", "/v2/models/signs/infer", q)["outputs"][0]
        self.assertEqual((out["datatype"], out["shape"]), ("BYTES", [1, 3]))
        self.assertEqual([t.split(":")[1:] for t in out["data"]], [[str(r[0]), r[3]] for r in want.top[0]])
        answer = self.json("POST", "/v2/models/signs/classify?k=2", (SIGNS / "data/stop.png").read_bytes())
        self.assertEqual(len(answer["classes"]), 2)
        self.assertIn("stop", answer["classes"][0]["label"])

    def test_pictures_that_are_none(self):
        png = (SIGNS / "data/stop.png").read_bytes()
        for bad in (b"", b"GIF89a", png[:200], png[:60] + bytes(400), b"\xff\xd8\xff\xe0" + os.urandom(4000)):
            self.json("POST", "/v2/models/signs/classify", bad, 400)
        self.json("POST", "/v2/models/signs/classify?k=0", png, 400)
        self.json("POST", "/v2/models/signs/classify", png)

    def test_bad_requests(self):
        path = "/v2/models/signs/infer"
        good = json.dumps(self.request())
        for body in ("", "{", "[" * 10000, good.replace("1.5", "NaN", 1), good.replace('"FP32"', '"FP16"'),
                     good.replace("48, 48]", "48, 47]"), good.replace('"input"', '"other"'), good + "x",
                     json.dumps(self.request([1e39] * SIZE)), json.dumps(self.request(outputs=[{"name": "no"}]))):
            self.json("POST", path, body, 400)
        self.json("POST", path, b" " * (5 << 20), 413)
        huge = self.request()
        huge["inputs"][0]["shape"] = [100, 3, 48, 48]
        self.json("POST", path, huge, 413)
        self.json("POST", path, good, 400, {"Inference-Header-Content-Length": str(len(good) + 1)})
        self.json("POST", path, good, 400, {"Inference-Header-Content-Length": "x"})
        self.json("POST", "/v2/models/none/infer", good, 404)
        self.json("GET", path, status=405)
        self.json("POST", path, good)

    def test_not_a_number_needs_binary(self):
        nan = struct.pack("<f", float("nan")) * SIZE
        self.binary(tensor=nan, status=400)
        headers, data = self.binary({"parameters": {"binary_data_output": True}}, nan)
        self.assertEqual(len(data) - int(headers["Inference-Header-Content-Length"]), 48)

    def test_slow_and_broken_clients(self):
        stalled = []
        for text in (b"GET /v2 HTT", b"POST /v2/models/signs/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b""):
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(PATIENCE)
            s.connect(str(self.socket))
            s.sendall(text)
            stalled.append(s)
        junk = socket.socket(socket.AF_UNIX)
        junk.settimeout(PATIENCE)
        junk.connect(str(self.socket))
        junk.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"\x00\xff junk\r\n\r\n")
        self.assertIn(b'"clpd"', junk.recv(65536))
        self.json("POST", "/v2/models/signs/infer", self.request())
        for s, said in zip(stalled, (b"", b"408", b"")):
            data = b""
            while part := s.recv(65536):  # until the daemon closes it
                data += part
            self.assertIn(said, data)
            s.close()
        junk.close()

    def test_a_chunked_body_beyond_the_limit(self):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(str(self.socket))
        s.sendall(b"POST /v2/models/signs/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        try:
            for _ in range(1000):
                s.sendall(chunk)
        except OSError:
            pass
        data = b""
        try:
            while part := s.recv(65536):
                data += part
        except OSError:
            pass
        self.assertIn(b" 413 ", data.split(b"\r\n")[0])

    def test_clients_that_leave_are_not_computed_for(self):
        """Requests of a second or more altogether; whoever asked is gone before most of them had their turn. One that
        only ends its sending still gets its answer."""
        many = 40 if SANITIZED else 240
        with Daemon(engine__threads=1, limits__request_bytes="1M", limits__queue=300, http__inflight=250) as daemon:
            daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
            daemon.wait_serving("signs")
            n = 36
            text = json.dumps({"inputs": [{"name": "input", "shape": [n, 48, 48, 3], "datatype": "UINT8",
                                           "parameters": {"binary_data_size": n * SIZE}}]}).encode()
            whole = (b"POST /v2/models/signs/infer HTTP/1.1\r\nHost: x\r\nInference-Header-Content-Length: %d\r\n"
                     b"Content-Length: %d\r\n\r\n" % (len(text), len(text) + n * SIZE)) + text + bytes(n * SIZE)
            open_now = []
            for _ in range(many):
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(PATIENCE)
                s.connect(str(daemon.folder / "http.sock"))
                s.sendall(whole)
                open_now.append(s)
            patient = open_now.pop()
            patient.shutdown(socket.SHUT_WR)
            for s in open_now:
                s.close()
            self.assertIn(b" 200 ", patient.recv(100))
            patient.close()
            wait_for("nothing to be queued", lambda: daemon.status()["queue"] == 0)
            self.assertLess(daemon.model("signs")["figures"]["ok"], many * 5 // 6)

    def test_statistics_and_metrics(self):
        self.json("POST", "/v2/models/signs/infer", self.request())
        one = self.json("GET", "/v2/models/signs/stats")["model_stats"][0]
        self.assertGreater(one["inference_stats"]["success"]["count"], 0)
        self.assertGreater(one["batch_stats"][0]["compute_infer"]["ns"], 0)
        self.assertEqual(len(self.json("GET", "/v2/models/stats")["model_stats"]), 1)
        status, headers, text = self.ask("GET", "/metrics")
        lines = text.decode().splitlines()
        self.assertTrue(headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        value = lambda name: float(next(l for l in lines if l.startswith(name)).rsplit(" ", 1)[1])
        self.assertGreater(value("clpd_model_requests_total{"), 0)
        self.assertEqual(value('clpd_model_files{state="serving"}'), 1)
        self.assertEqual(value("clpd_guard_up"), 1)
        self.assertGreater(value("process_resident_memory_bytes"), 1e6)

    def test_repository(self):
        bad = self.daemon.models / "broken.onnx"
        bad.write_bytes(b"no model at all, by any standard")
        wait_for("broken.onnx to be judged", lambda: (self.daemon.file("broken.onnx") or {}).get("reason"))
        index = {m["name"]: m for m in self.json("POST", "/v2/repository/index", {})}
        self.assertEqual(index["signs"]["state"], "READY")
        self.assertNotEqual(index["broken"]["state"], "READY")
        self.assertTrue(index["broken"]["reason"])
        self.assertEqual(list(m["name"] for m in self.json("POST", "/v2/repository/index", {"ready": True})), ["signs"])
        self.json("POST", "/v2/repository/models/signs/load", {})
        self.json("POST", "/v2/repository/models/broken/load", {}, 400)
        self.json("POST", "/v2/repository/models/none/load", {}, 404)
        bad.unlink()

    def test_page_and_report(self):
        status, headers, page = self.ask("GET", "/")
        self.assertEqual(status, 200)
        self.assertIn("text/html", headers["Content-Type"])
        self.assertIn(b"reports/signs", page)
        self.assertNotIn(b"http://", page.replace(b"http://www.w3.org", b""))
        status, _, report = self.ask("GET", "/reports/signs")
        self.assertEqual(status, 200)
        self.assertIn(b"<html", report)
        self.assertEqual(self.json("GET", "/live.json")["models"][0]["name"], "signs")


if __name__ == "__main__":
    unittest.main()
