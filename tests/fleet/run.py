"""Three boxes behind one front, each in a network namespace of its own, with the files of systemd/fleet/: a box loses its
power and a model is swapped under load, and no request fails. usage: run.py BUILD; root; `make test-fleet`."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
os.environ.setdefault("CLPD_BUILD", sys.argv.pop(1) if len(sys.argv) > 1 else str(ROOT / "build"))
sys.path.insert(0, str(HERE.parent / "e2e"))
from harness import BUILD, SIGNS, Daemon, wait_for  # noqa: E402

FLEET = ROOT / "systemd" / "fleet"
SHAPE = [1, 48, 48, 3]
BODY_HEAD = json.dumps({"inputs": [{"name": "input", "shape": SHAPE, "datatype": "UINT8",
                                    "parameters": {"binary_data_size": 48 * 48 * 3}}]}).encode()
BODY = BODY_HEAD + bytes(48 * 48 * 3)
HEADERS = {"Inference-Header-Content-Length": str(len(BODY_HEAD))}
FRONT = "10.0.0.1"


def ip(*args):
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


class Network:
    """A bridge in the front's namespace, a wire to every box. Nothing of it is seen outside."""

    def __init__(self, boxes):
        self.prefix, self.boxes = f"clpd{os.getpid()}", boxes
        self.front = f"{self.prefix}-front"
        self.spaces = [self.front] + [self.space(b) for b in boxes]
        for space in self.spaces:
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
        ip("-n", self.front, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.front, "addr", "add", f"{FRONT}/24", "dev", "bridge")
        ip("-n", self.front, "link", "set", "bridge", "up")
        for box, address in boxes.items():
            ip("-n", self.front, "link", "add", box, "type", "veth", "peer", "name", "eth0", "netns", self.space(box))
            ip("-n", self.front, "link", "set", box, "master", "bridge", "up")
            ip("-n", self.space(box), "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", self.space(box), "link", "set", "eth0", "up")

    def space(self, box):
        return f"{self.prefix}-{box}"

    def wire(self, box, state):
        ip("-n", self.front, "link", "set", box, state)

    def close(self):
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


class Box(Daemon):
    """clpd behind a TCP socket that it did not open, as clpd-http-tcp.socket passes one."""

    def __init__(self, network, name, address):
        super().__init__(guard__settle_ms=100)
        self.name, self.url = name, f"http://{address}:8080"
        self.inside = ["ip", "netns", "exec", network.space(name)]
        self.address, self.starts = address, 0

    def start(self):
        self.write_config()
        (self.folder / "state").mkdir(exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.inside, "systemd-socket-activate", f"--listen={self.address}:8080", "--fdname=http", str(BUILD / "clpd"),
                 "--config", str(self.config)], stderr=log)
        wait_for("the listener", lambda n=self.starts: self.log.read_text().count("Listening") > n)
        self.starts += 1
        return self


class Front:
    def __init__(self, network, folder):
        self.network, self.folder, self.process = network, folder, None

    def inside(self, *command):
        return ["ip", "netns", "exec", self.network.front, *command]

    def start_haproxy(self):
        """The file as it is shipped, but for where its sockets lie."""
        self.admin = self.folder / "admin.sock"
        text = (FLEET / "haproxy.cfg").read_text().replace("/run/haproxy/admin.sock", str(self.admin))
        config = self.folder / "haproxy.cfg"
        config.write_text(text)
        subprocess.run(["haproxy", "-c", "-q", "-f", config], check=True)
        self.process = subprocess.Popen(self.inside("haproxy", "-db", "-f", str(config)), stderr=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        wait_for("HAProxy", self.admin.exists)

    def start_nginx(self):
        config = self.folder / "nginx.conf"
        config.write_text(f"daemon off; pid {self.folder}/nginx.pid; error_log {self.folder}/error.log; worker_processes 1;\n"
                          "events { worker_connections 512; }\n"
                          f"http {{ access_log off; client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;\n"
                          + "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("fastcgi", "uwsgi", "scgi"))
                          + (FLEET / "nginx.conf").read_text() + "}\n")
        self.process = subprocess.Popen(self.inside("nginx", "-c", str(config), "-e", f"{self.folder}/error.log"))

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(60)
        self.process = None


def ask(connection):
    """In pieces, as it comes over a slow link: the front has the head of a request some time before the rest."""
    connection.putrequest("POST", "/v2/models/signs/infer")
    for name, value in {**HEADERS, "Content-Length": str(len(BODY))}.items():
        connection.putheader(name, value)
    connection.endheaders(BODY[:1000])
    time.sleep(0.002)
    connection.send(BODY[1000:])


def client(seconds):
    """In the front's namespace: keeps asking; prints what it saw. No second try: that is the front's business."""
    end, seen = time.monotonic() + seconds, {"answered": 0, "failed": [], "versions": [], "slowest": 0.0}
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            c = http.client.HTTPConnection(FRONT, 8080, timeout=30)
            for _ in range(50):
                began = time.monotonic()
                ask(c)
                r = c.getresponse()
                data = r.read()
                if r.status != 200:
                    seen["failed"].append([r.status, data[:200].decode(errors="replace")])
                    break
                version = json.loads(data[:int(r.headers.get("Inference-Header-Content-Length", len(data)))])["model_version"]
                seen["answered"] += 1
                seen["slowest"] = max(seen["slowest"], time.monotonic() - began)
                if version not in seen["versions"]:
                    seen["versions"].append(version)
                if time.monotonic() > end:
                    break
            c.close()
        except OSError as e:
            seen["failed"].append([0, repr(e)])
    print(json.dumps(seen))


class Load:
    def __init__(self, front, seconds, clients=4):
        command = front.inside(sys.executable, "-B", str(HERE / "run.py"), str(BUILD), "--client", str(seconds))
        self.clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
        time.sleep(1)

    def end(self):
        all_seen = [json.loads(c.communicate(timeout=120)[0]) for c in self.clients]
        return {"answered": sum(s["answered"] for s in all_seen), "failed": sum((s["failed"] for s in all_seen), []),
                "versions": sorted({v for s in all_seen for v in s["versions"]}), "slowest": max(s["slowest"] for s in all_seen)}


class Manifest(unittest.TestCase):
    def test_the_daemon_set_is_whole(self):
        """Its form, and that it names what there is: this is no cluster."""
        import yaml
        daemons, service = yaml.safe_load_all((FLEET / "daemonset.yaml").read_text())
        pod = daemons["spec"]["template"]
        self.assertEqual(daemons["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"])
        self.assertEqual(service["spec"]["selector"], pod["metadata"]["labels"])
        box, volumes = pod["spec"]["containers"][0], {v["name"] for v in pod["spec"]["volumes"]}
        self.assertEqual({m["name"] for m in box["volumeMounts"]}, volumes)
        ports = {p["name"] for p in box["ports"]}
        self.assertIn(service["spec"]["ports"][0]["targetPort"], ports)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertIn(box[probe]["httpGet"]["port"], ports)
            self.assertIn(box[probe]["httpGet"]["path"], ("/v2/health/live", "/v2/health/ready"))
        done = subprocess.run([BUILD / "clpd", "--config", FLEET / "clpd.container.yaml", "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)


class Fleet(unittest.TestCase):
    """In the order of their names: the boxes live through all of it."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="clpd-fleet-"))
        cls.network = Network({f"box{i}": f"10.0.0.1{i}" for i in (1, 2, 3)})
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.addClassCleanup(cls.network.close)
        cls.boxes = {n: Box(cls.network, n, a) for n, a in cls.network.boxes.items()}
        cls.front = Front(cls.network, cls.folder)
        cls.addClassCleanup(cls.front.stop)
        for box in cls.boxes.values():
            cls.addClassCleanup(box.stop)
            shutil.copy(SIGNS / "models/signs-clean.onnx", box.models / "signs.onnx")
            box.start()
        cls.front.start_haproxy()
        for n in cls.boxes:
            wait_for(f"HAProxy to see {n}", lambda n=n: cls.row(n).startswith("UP"))
        wait_for("an answer", lambda: cls.try_one() == 200)

    @classmethod
    def try_one(cls):
        done = subprocess.run(cls.front.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5",
                                               f"http://{FRONT}:8080/v2/models/signs/ready"), capture_output=True, text=True)
        return int(done.stdout or 0)

    @classmethod
    def admin(cls, command):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(cls.front.admin))
            s.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: s.recv(65536), b"")).decode()

    @classmethod
    def row(cls, box):
        for line in cls.admin("show stat").splitlines():
            fields = line.split(",")
            if fields[:2] == ["boxes", box]:
                return fields[17]
        return ""

    def all_answered(self, load, what):
        seen = load.end()
        print(f"{what}: {seen['answered']} answered, {len(seen['failed'])} failed, slowest {seen['slowest']:.1f} s, versions "
              f"{seen['versions']}", file=sys.stderr)
        self.assertEqual(seen["failed"], [])
        self.assertGreater(seen["answered"], 10)
        return seen

    def rollout(self, command, *more):
        targets = [f"{n}={b.url}" for n, b in self.boxes.items()]
        return subprocess.run(self.front.inside(sys.executable, "-B", str(FLEET / "rollout"), "--admin", str(self.front.admin),
                                                "--watch", "1", *more, command, *targets), capture_output=True, text=True, timeout=300)

    def test_1_a_box_loses_its_power(self):
        box = self.boxes["box2"]
        load = Load(self.front, 12)
        self.network.wire("box2", "down")  # nothing is said to anybody any more
        wait_for("HAProxy to notice", lambda: not self.row("box2").startswith("UP"))
        box.process.kill()
        box.process.wait(60)
        self.all_answered(load, "a box without power")
        self.network.wire("box2", "up")
        box.start()
        wait_for("it to be back", lambda: self.row("box2").startswith("UP"))

    def test_2_a_process_is_killed(self):
        box = self.boxes["box3"]
        load = Load(self.front, 5)
        for _ in range(2):
            box.process.kill()
            box.process.wait(60)
            time.sleep(0.5)
            box.start()
            wait_for("it to be back", lambda: self.row("box3").startswith("UP"))
        self.all_answered(load, "a killed process")

    def test_3_a_model_goes_to_a_canary_and_then_to_all(self):
        load = Load(self.front, 15)
        folders = " ".join(f"{n}) folder={b.models};;" for n, b in self.boxes.items())
        copy = f"case $BOX in {folders} esac; cp {SIGNS}/models/signs-backdoor.onnx $folder/.new && mv $folder/.new $folder/signs.onnx"
        done = self.rollout(copy, "--model", "signs")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stderr, r"(?s)box1: draining.*box1: back.*box1: 1 s without a failure.*box2: draining.*box3: back")
        seen = self.all_answered(load, "a rollout")
        self.assertGreaterEqual(len(seen["versions"]), 2)

    def test_4_a_bad_model_stops_at_the_canary(self):
        load = Load(self.front, 5)
        done = self.rollout("exit 3")
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "box1: the command ended with 3")
        self.assertNotIn("box2", done.stderr)
        self.all_answered(load, "a rollout that stops")
        self.assertTrue(self.row("box1").startswith("DRAIN"))
        self.admin("set server boxes/box1 state ready")

    def test_5_nginx_in_its_place(self):
        self.front.stop()
        self.front.start_nginx()
        wait_for("nginx", lambda: self.try_one() == 200)
        box = self.boxes["box2"]
        load = Load(self.front, 6)
        box.process.kill()
        box.process.wait(60)
        time.sleep(1)
        box.start()
        self.all_answered(load, "nginx, a killed process")


if __name__ == "__main__":
    if "--client" in sys.argv:
        client(float(sys.argv[-1]))
        sys.exit(0)
    if os.geteuid() != 0 or subprocess.run(["ip", "netns", "add", "clpd-try"], capture_output=True).returncode:
        print("SKIP: no network namespace can be made here (root?): nothing was tested", file=sys.stderr)
        sys.exit(0)
    ip("netns", "del", "clpd-try")
    unittest.main(verbosity=2, failfast=True)
