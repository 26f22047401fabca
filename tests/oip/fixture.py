"""One daemon with one model for all cases; curl over its Unix socket, or over TCP through nginx."""
import array
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from harness import PATIENCE, SIGNS, Daemon, read_npy, wait_for

SHAPE = [1, 3, 48, 48]
SIZE = 3 * 48 * 48
NGINX = shutil.which("nginx") or (pathlib.Path("/usr/sbin/nginx").exists() and "/usr/sbin/nginx")


class Served:
    """The daemon, made at first use and stopped at exit."""
    daemon = None
    users = 0

    @classmethod
    def take(cls):
        cls.users += 1
        if cls.daemon:
            return cls.daemon
        cls.daemon = Daemon(limits__request_bytes="1M", http__body_bytes="4M", http__picture_bytes="1M").start()
        cls.daemon.drop(SIGNS / "models/signs-clean.onnx", "signs", SIGNS / "models/signs.yaml")
        cls.daemon.wait_serving("signs")
        return cls.daemon

    @classmethod
    def give(cls):
        cls.users -= 1
        if cls.users == 0:
            daemon, cls.daemon = cls.daemon, None
            daemon.stop()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Nginx:
    """nginx in a folder of its own, in front of the daemon's socket."""

    def __init__(self, upstream):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="clpd-nginx-"))
        self.port = free_port()
        (self.folder / "nginx.conf").write_text(f"""
daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off; client_max_body_size 8m; large_client_header_buffers 4 64k;
    client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
    uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
    upstream clpd {{ server unix:{upstream}; keepalive 8; }}
    server {{ listen 127.0.0.1:{self.port};
        location / {{ proxy_pass http://clpd; proxy_http_version 1.1; proxy_set_header Connection "";
                      proxy_request_buffering off; }} }}
}}
""")
        self.process = subprocess.Popen([NGINX, "-p", self.folder, "-c", self.folder / "nginx.conf"],
                                        stderr=subprocess.DEVNULL)
        wait_for("nginx to listen", self.listens)

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def split(self):
        """JSON and what stands behind it."""
        n = int(self.headers["inference-header-content-length"])
        return json.loads(self.body[:n]), self.body[n:]


class Curl:
    """`where` are curl's arguments that lead to the daemon."""

    def __init__(self, where, origin):
        self.where, self.origin = where, origin

    def __call__(self, path, *args, body=None, headers=None):
        command = ["curl", "--silent", "--show-error", "--max-time", str(int(PATIENCE)), *self.where,
                   "--dump-header", "/dev/stderr", "--header", "Expect:"]
        for name, value in (headers or {}).items():
            command += ["--header", f"{name}: {value}"]
        if body is not None:
            body = json.dumps(body).encode() if not isinstance(body, bytes) else body
            command += ["--data-binary", "@-"]
        done = subprocess.run([*command, *args, self.origin + path], input=body or b"", capture_output=True)
        head = done.stderr.decode("latin-1").replace("\r", "").strip().split("\n\n")[-1].splitlines()
        assert head and head[0].startswith("HTTP/"), (done.returncode, done.stderr[-300:])
        fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        return Answer(int(head[0].split()[1]), {k.lower(): v for k, v in fields.items()}, done.stdout)


TENSOR = array.array("f", ((i * 7919 % 1000) / 333 - 1.5 for i in range(SIZE)))


def request(data=None, shape=SHAPE, datatype="FP32", name="input", **more):
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": list(TENSOR) if data is None else data}
    return {"inputs": [tensor], **more}
