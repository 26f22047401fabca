"""What `make install` puts where, and the units as systemd's own tools judge them. The rest needs a booted systemd:
`make test-systemd`."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import BUILD, ROOT, STATUS, Client, Daemon, wait_for

UNITS = ("clpd.service", "clpd.socket", "clpd-http.socket")


def installed(folder, *variables):
    """`make install` into a folder; the flags are those that the build was made with, so that nothing is built anew."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    subprocess.run(["make", "-s", "-o", "all", "-C", ROOT, f"BUILD={BUILD}", f"DESTDIR={folder}", *variables, "install"],
                   check=True, env=environment, capture_output=True)


def connected(path):
    """A client of the socket, or None: a bound socket has a file already, and refuses until it listens."""
    try:
        return Client(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


class Install(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="clpd-install-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def test_everything_is_where_the_variables_say(self):
        installed(self.folder, "prefix=/usr", "libdir=/usr/lib/x", "sysconfdir=/etc", "systemdunitdir=/lib/systemd/system")
        for path in ("usr/sbin/clpd", "usr/bin/clpctl", "usr/libexec/clpd/clp-guard", "usr/lib/x/libclpd.so",
                     "usr/lib/x/pkgconfig/libclpd.pc", "usr/include/clpd/clpd.h", "etc/clpd/clpd.yaml",
                     "usr/lib/sysusers.d/clpd.conf", "usr/lib/tmpfiles.d/clpd.conf", "usr/lib/systemd/catalog/clpd.catalog", "usr/share/doc/clpd/README.md",
                     "usr/share/man/man8/clpd.8", "usr/share/man/man5/clpd.yaml.5", "usr/share/man/man7/clpd-protocol.7",
                     "usr/share/man/man1/clpctl.1", "usr/share/man/man8/clp-guard.8",
                     *(f"lib/systemd/system/{u}" for u in UNITS)):
            self.assertTrue((self.folder / path).exists(), path)
        unit = (self.folder / "lib/systemd/system/clpd.service").read_text()
        self.assertIn("ExecStart=/usr/sbin/clpd --config /etc/clpd/clpd.yaml", unit)
        for path in self.folder.rglob("*"):
            if path.suffix in (".service", ".socket", ".pc", ".conf"):
                self.assertNotRegex(path.read_text(), r"@[a-zA-Z]+@", path)

    def test_a_changed_configuration_is_not_overwritten(self):
        installed(self.folder)
        config = self.folder / "etc/clpd/clpd.yaml"
        config.write_text("# mine\n")
        installed(self.folder)
        self.assertEqual(config.read_text(), "# mine\n")

    @unittest.skipUnless(shutil.which("systemd-analyze"), "SKIP: systemd-analyze is missing")
    def test_the_units_please_systemd(self):
        installed(self.folder)
        units = [self.folder / "usr/local/lib/systemd/system" / u for u in UNITS]
        service = units[0]  # the programs aren't where the unit says; who judges units wants them to exist
        service.write_text(service.read_text().replace("/usr/local/sbin/clpd", str(BUILD / "clpd")))
        fleet = self.folder / "usr/local/lib/systemd/system/clpd-http-tcp.socket"
        shutil.copy(ROOT / "systemd/fleet/clpd-http-tcp.socket", fleet)
        units.append(fleet)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True)
        ours = [l for l in done.stderr.splitlines() if "clpd" in l]
        self.assertEqual(ours, [], done.stderr)
        done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=5", str(service)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, "exposure is above 0.5:\n" + done.stdout[-2000:])


class Catalog(unittest.TestCase):
    def test_it_explains_every_message_with_fields_that_there_are(self):
        code = (ROOT / "guard/decision.c").read_text()
        catalog = (ROOT / "systemd/clpd.catalog").read_text()
        used = re.findall(r'\[DECISION_\w+\] = \{"([0-9a-f]{32})"', code)
        self.assertGreater(len(used), 9)
        self.assertEqual(sorted(used), sorted(re.findall(r"^-- ([0-9a-f]{32})$", catalog, re.M)))
        fields = set(re.findall(r'^        \{"([A-Z0-9_]+)",', code, re.M))
        self.assertLessEqual(set(re.findall(r"@([A-Z0-9_]+)@", catalog)), fields)


@unittest.skipUnless(shutil.which("systemd-socket-activate"), "SKIP: systemd-socket-activate is missing")
class Activation(unittest.TestCase):
    def test_the_first_connection_starts_the_daemon_and_is_answered(self):
        d = Daemon()
        self.addCleanup(shutil.rmtree, d.folder)
        d.write_config()
        (d.folder / "state").mkdir()
        passed = d.folder / "passed.sock"
        log = open(d.log, "ab")
        process = subprocess.Popen(["systemd-socket-activate", "-l", str(passed), "--fdname=stream",
                                    str(BUILD / "clpd"), "--config", str(d.config)], stderr=log)
        try:
            with wait_for("the socket", lambda: connected(passed)) as c:
                self.assertIn("models", c.ask(STATUS))
            self.assertFalse(d.socket.exists(), "socket.path must not be used beside a passed socket")
        finally:
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0, d.log.read_text())
