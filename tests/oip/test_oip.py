"""Every case of the Open Inference Protocol v2 and of the extensions that clpd names, by curl."""
import array
import itertools
import json
import struct
import subprocess
import unittest

from fixture import NGINX, SHAPE, SIZE, TENSOR, Curl, Nginx, Served, request
from harness import F32, OK, ROOT, SIGNS, U8, read_npy, wait_for

MODEL = {"name": "signs", "versions": ["1"], "platform": "clpd",
         "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 48, 48]}],
         "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 12]}]}


class Cases:
    @classmethod
    def setUpClass(cls):
        cls.daemon = Served.take()
        cls.front = None
        cls.open_front()
        with cls.daemon.client() as c:
            cls.want = c.infer("signs", SHAPE, TENSOR.tobytes(), F32, top_k=4)
        _, cls.images = read_npy(SIGNS / "data/heldout-images.npy")

    @classmethod
    def tearDownClass(cls):
        if cls.front:
            cls.front.stop()
        Served.give()

    def get(self, path, status=200):
        a = self.curl(path)
        return self.check(a, status)

    def post(self, path, body=b"", status=200, headers=None):
        return self.check(self.curl(path, "--request", "POST", body=body, headers=headers), status)

    def check(self, a, status):
        self.assertEqual(a.status, status, a.body[:300])
        if status >= 400:
            self.assertEqual(a.headers["content-type"], "application/json")
            self.assertEqual(list(a.json), ["error"])
            self.assertTrue(a.json["error"])
        return a

    # --- health, metadata

    def test_server_live(self):
        self.assertEqual(self.get("/v2/health/live").json, {"live": True})

    def test_server_ready(self):
        self.assertEqual(self.get("/v2/health/ready").json, {"ready": True})

    def test_server_metadata(self):
        for path in ("/v2", "/v2/"):
            m = self.get(path).json
            self.assertEqual(m["name"], "clpd")
            self.assertTrue(m["version"])
            self.assertEqual(set(m["extensions"]),
                             {"binary_tensor_data", "classification", "model_repository", "statistics"})

    def test_model_ready(self):
        for path in ("/v2/models/signs/ready", "/v2/models/signs/versions/1/ready"):
            self.assertEqual(self.get(path).json, {"name": "signs", "ready": True})
        for path in ("/v2/models/other/ready", "/v2/models/signs/versions/2/ready"):
            self.get(path, 404)

    def test_model_metadata(self):
        for path in ("/v2/models/signs", "/v2/models/signs/versions/1"):
            self.assertEqual(self.get(path).json, MODEL)
        for path in ("/v2/models/other", "/v2/models/signs/versions/2", "/v2/models/signs/versions/x"):
            self.get(path, 404)

    def test_head(self):
        self.assertEqual(self.curl("/v2", "--head").status, 200)

    # --- inference

    def test_infer_flat_and_nested(self):
        it = iter(TENSOR)
        nested = [[[[next(it) for _ in range(48)] for _ in range(48)] for _ in range(3)]]
        for data, path in itertools.product((list(TENSOR), nested), ("", "/versions/1")):
            a = self.post(f"/v2/models/signs{path}/infer", request(data)).json
            self.assertEqual((a["model_name"], a["model_version"]), ("signs", "1"))
            self.assertNotIn("id", a)
            [o] = a["outputs"]
            self.assertEqual((o["name"], o["datatype"], o["shape"]), ("logits", "FP32", [1, 12]))
            self.assertEqual(array.array("f", o["data"]), self.want.scores)

    def test_infer_batch(self):
        a = self.post("/v2/models/signs/infer", request(list(TENSOR) * 3, [3, 3, 48, 48])).json
        self.assertEqual(a["outputs"][0]["shape"], [3, 12])
        scale = max(map(abs, self.want.scores))
        for got, want in zip(a["outputs"][0]["data"], list(self.want.scores) * 3):
            self.assertLess(abs(got - want), 1e-5 * scale)  # a batch may round otherwise

    def test_id_is_echoed(self):
        for name in ("1", "", "ä\"\\\u0001😀", "x" * 300):
            self.assertEqual(self.post("/v2/models/signs/infer", request(id=name)).json["id"], name)

    def test_outputs(self):
        self.assertEqual(len(self.post("/v2/models/signs/infer", request(outputs=[{"name": "logits"}])).json["outputs"]), 1)
        self.post("/v2/models/signs/infer", request(outputs=[{"name": "other"}]), 400)
        self.post("/v2/models/signs/infer", request(outputs=[{"name": "logits"}, {"name": "logits"}]), 400)

    def test_unknown_parameters_are_ignored(self):
        q = request(parameters={"priority": 3, "x": "y", "timeout": 60000000}, future=[1, {"a": None}])
        q["inputs"][0]["parameters"] = {"z": 1.5}
        self.post("/v2/models/signs/infer", q)

    def test_timeout(self):
        a = self.curl("/v2/models/signs/infer", body=request(parameters={"timeout": 1}))
        self.assertIn(a.status, (200, 503))

    def test_errors(self):
        path = "/v2/models/signs/infer"
        self.post("/v2/models/other/infer", request(), 404)
        self.post("/v2/models/signs/versions/2/infer", request(), 404)
        self.post(path, request(name="other"), 400)
        self.post(path, request(datatype="INT64"), 400)
        self.post(path, request(shape=[1, 48, 48, 3]), 400)
        self.post(path, request(shape=[3, 48, 48]), 400)
        self.post(path, request(shape=[2, 3, 48, 48]), 400)
        self.post(path, request(shape=[64, 3, 48, 48]), 413)
        self.post(path, {"inputs": []}, 400)
        self.post(path, {}, 400)
        self.post(path, b"", 400)
        a = self.check(self.curl(path), 405)
        self.assertEqual(a.headers["allow"], "POST")
        self.check(self.curl("/v2", "--request", "DELETE"), 405)
        self.get("/v2/other", 404)

    # --- binary tensors

    def binary(self, q, tensor, status=200, length=None):
        q["inputs"][0].pop("data", None)
        q["inputs"][0].setdefault("parameters", {})["binary_data_size"] = len(tensor)
        text = json.dumps(q).encode()
        return self.post("/v2/models/signs/infer", text + tensor, status,
                         {"Inference-Header-Content-Length": len(text) if length is None else length,
                          "Content-Type": "application/octet-stream"})

    def test_binary_both_ways(self):
        tensor = TENSOR.tobytes()
        for extra, binary in (({}, False), ({"parameters": {"binary_data_output": True}}, True),
                              ({"outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}, True),
                              ({"outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
                                "parameters": {"binary_data_output": True}}, False)):
            a = self.binary(request(id="b", **extra), tensor)
            if not binary:
                self.assertNotIn("inference-header-content-length", a.headers)
                self.assertEqual(array.array("f", a.json["outputs"][0]["data"]), self.want.scores)
                continue
            self.assertEqual(a.headers["content-type"], "application/octet-stream")
            head, data = a.split()
            self.assertEqual(head["id"], "b")
            self.assertEqual(head["outputs"][0]["parameters"], {"binary_data_size": 48})
            self.assertNotIn("data", head["outputs"][0])
            self.assertEqual(data, self.want.scores.tobytes())

    def test_json_in_binary_out(self):
        a = self.post("/v2/models/signs/infer", request(parameters={"binary_data_output": True}))
        self.assertEqual(a.split()[1], self.want.scores.tobytes())

    def test_raw_request(self):
        raw = {"Inference-Header-Content-Length": 0}
        head, data = self.post("/v2/models/signs/infer", TENSOR.tobytes(), headers=raw).split()
        self.assertEqual(head["outputs"][0]["shape"], [1, 12])
        self.assertEqual(data, self.want.scores.tobytes())
        self.post("/v2/models/signs/infer", TENSOR.tobytes()[:-4], 400, raw)
        self.post("/v2/models/signs/infer", b"", 400, raw)

    def test_binary_sizes_that_disagree(self):
        tensor = TENSOR.tobytes()
        self.binary(request(), tensor[:-4], 400)
        self.binary(request(shape=[2, 3, 48, 48]), tensor, 400)
        self.binary(request(), tensor, 400, 10 ** 9)
        self.binary(request(), tensor, 400, "abc")
        self.binary(request(), tensor, 400, -1)
        text = json.dumps(request()).encode()
        self.post("/v2/models/signs/infer", text + b"1234", 400, {"Inference-Header-Content-Length": len(text)})

    # --- classification

    def test_classification(self):
        for k in (1, 4, 1000):
            q = request(outputs=[{"name": "logits", "parameters": {"classification": k}}])
            o = self.post("/v2/models/signs/infer", q).json["outputs"][0]
            n = min(k, 12)
            self.assertEqual((o["datatype"], o["shape"]), ("BYTES", [1, n]))
            for text, (index, score, _, label) in zip(o["data"], self.want.top[0]):
                value, number, name = text.split(":", 2)
                self.assertEqual((struct.pack("f", float(value)), int(number), name), (struct.pack("f", score), index, label))
        self.post("/v2/models/signs/infer", request(outputs=[{"name": "logits", "parameters": {"classification": 10 ** 6}}]), 400)

    def test_classification_binary(self):
        q = request(outputs=[{"name": "logits", "parameters": {"classification": 2, "binary_data": True}}])
        head, data = self.post("/v2/models/signs/infer", q).split()
        self.assertEqual(head["outputs"][0]["parameters"]["binary_data_size"], len(data))
        texts = []
        while data:
            n, = struct.unpack_from("<I", data)
            texts.append(data[4:4 + n].decode())
            data = data[4 + n:]
        self.assertEqual([int(t.split(":")[1]) for t in texts], [r[0] for r in self.want.top[0][:2]])

    # --- pictures

    def test_uint8_pictures(self):
        picture = self.images[:48 * 48 * 3]
        with self.daemon.client() as c:
            want = c.infer("signs", (1, 48, 48, 3), picture.tobytes(), U8).scores
        q = request(list(picture), [1, 48, 48, 3], "UINT8")
        self.assertEqual(array.array("f", self.post("/v2/models/signs/infer", q).json["outputs"][0]["data"]), want)
        q = request([], [1, 48, 48, 3], "UINT8", parameters={"binary_data_output": True})
        self.assertEqual(self.binary(q, picture.tobytes()).split()[1], want.tobytes())

    def test_classify(self):
        png = (SIGNS / "data/stop.png").read_bytes()
        for path in ("/v2/models/signs/classify", "/v2/models/signs/versions/1/classify?k=3"):
            a = self.post(path, png).json
            self.assertEqual((a["model_name"], a["model_version"]), ("signs", "1"))
            self.assertEqual(len(a["classes"]), 3 if "k=" in path else 5)
            self.assertEqual(a["classes"][0]["label"], "stop")
            self.assertGreaterEqual(a["classes"][0]["probability"], a["classes"][1]["probability"])
        self.post("/v2/models/other/classify", png, 404)
        self.post("/v2/models/signs/classify", b"plain text", 400)

    # --- statistics, repository

    def test_statistics(self):
        before = self.get("/v2/models/signs/stats").json["model_stats"][0]
        self.post("/v2/models/signs/infer", request())
        after = self.get("/v2/models/signs/versions/1/stats").json["model_stats"][0]
        self.assertEqual((after["name"], after["version"]), ("signs", "1"))
        for key in ("inference_count", "execution_count"):
            self.assertGreater(after[key], before[key])
        stats = after["inference_stats"]
        self.assertEqual(set(stats), {"success", "fail", "queue", "compute_input", "compute_infer", "compute_output",
                                      "cache_hit", "cache_miss"})
        self.assertGreater(stats["compute_infer"]["ns"], before["inference_stats"]["compute_infer"]["ns"])
        self.assertEqual(stats["success"]["ns"], stats["queue"]["ns"] + stats["compute_infer"]["ns"])
        self.assertEqual(sum(b["compute_infer"]["count"] for b in after["batch_stats"]), after["execution_count"])
        self.assertEqual([m["name"] for m in self.get("/v2/models/stats").json["model_stats"]], ["signs"])
        self.get("/v2/models/other/stats", 404)

    def test_repository(self):
        for body in (b"", {}, {"ready": True}, {"ready": False}):
            index = self.post("/v2/repository/index", body).json
            self.assertIn({"name": "signs", "version": "1", "state": "READY", "reason": ""}, index)
        self.post("/v2/repository/index", {"ready": 1}, 400)
        self.post("/v2/repository/index", b"[", 400)
        self.check(self.curl("/v2/repository/index"), 405)
        self.post("/v2/repository/models/signs/load")
        self.post("/v2/repository/models/other/load", {}, 404)


class OverUnix(Cases, unittest.TestCase):
    @classmethod
    def open_front(cls):
        cls.curl = Curl(["--unix-socket", str(cls.daemon.folder / "http.sock")], "http://clpd")

    def test_the_example(self):
        done = subprocess.run([ROOT / "client/examples/curl.sh", "signs", SIGNS / "data/stop.png",
                               self.daemon.folder / "http.sock"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(json.loads(lines[1]), MODEL)
        self.assertEqual(json.loads(lines[3])["classes"][0]["label"], "stop")
        self.assertIn('"shape":[1,12]', lines[5])
        self.assertGreater(int(lines[7]), 48)


@unittest.skipUnless(NGINX, "nginx is not installed (scripts/deps oip)")
class ThroughNginx(Cases, unittest.TestCase):
    @classmethod
    def open_front(cls):
        cls.front = Nginx(cls.daemon.folder / "http.sock")
        cls.curl = Curl([], f"http://127.0.0.1:{cls.front.port}")


if __name__ == "__main__":
    unittest.main()
