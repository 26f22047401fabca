"""The man pages: sound mdoc, and as complete as the programs and the configuration are."""
import re
import shutil
import subprocess
import unittest

from harness import BUILD, ROOT, clpctl

PAGES = sorted((ROOT / "docs/man").glob("*.[0-9]"))


def commands():
    """Those that `clpctl --help` lists."""
    return re.findall(r"^  ([a-z]+) +[A-Z]", clpctl("--help", check=0).stdout, re.M)


def options(command):
    """The options of a command, as its help has them."""
    lines = clpctl(command, "--help", check=0).stdout.splitlines()
    return {o for l in lines if re.match(r"  (-[a-z],|   ) --", l) for o in re.findall(r"(?<![\w-])--?[a-z]+", l[:24])}


def effective():
    """Every key of the configuration with its value, as `clpd --check` prints them."""
    lines = subprocess.run([BUILD / "clpd", "--config", ROOT / "config/clpd.yaml", "--check"], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    groups, found = [], {}
    for line in lines:
        word, colon, value = line.strip().partition(":")
        if word.startswith("#") or not colon:
            continue
        groups[(len(line) - len(line.lstrip())) // 2:] = [word]
        if value:
            found[".".join(groups)] = value.strip()
    return found


class Man(unittest.TestCase):
    def test_there_is_one_for_everything(self):
        self.assertEqual([p.name for p in PAGES],
                         ["clp-guard.8", "clpctl.1", "clpd-protocol.7", "clpd.8", "clpd.yaml.5"])

    @unittest.skipUnless(shutil.which("mandoc"), "SKIP: mandoc is missing")
    def test_they_please_mandoc(self):
        done = subprocess.run(["mandoc", "-Tlint", *PAGES], capture_output=True, text=True)
        # Pages of others may not be installed, nor ours.
        bad = [l for l in done.stdout.splitlines() if "referenced manual not found" not in l]
        self.assertEqual(bad, [])

    def test_every_key_is_there_with_its_default(self):
        page = (ROOT / "docs/man/clpd.yaml.5").read_text().split(".Ss A model's own file")[0]
        told = {k: (v or "").replace("\\(dq", '"') for k, v in re.findall(r"^\.It Ic (\S+)(?: : Li (.*))?$", page, re.M)}
        self.assertIn("guard.overrides", told)
        del told["guard.overrides"]  # has no value that could be printed
        self.assertEqual(told, effective())

    def test_every_command_and_option_is_there(self):
        page = (ROOT / "docs/man/clpctl.1").read_text()
        self.assertGreater(len(commands()), 8)
        for command in commands():
            part = re.search(rf"^\.It Cm {command}\b.*?(?=^\.It Cm |^\.Sh )", page, re.M | re.S)
            self.assertTrue(part, command)
            for option in options(command) - {"--socket"}:
                self.assertRegex(part[0], rf"(Fl |, ){option[1:]}\b", f"{command} {option}")

    def test_the_protocol_is_that_of_the_header(self):
        page = (ROOT / "docs/man/clpd-protocol.7").read_text()
        header = (ROOT / "client/wire.h").read_text()
        numbers = re.findall(r"^    CLPD_([A-Z_]+) = (\d+)", header.split("struct clpd_header")[0], re.M)
        self.assertGreater(len(numbers), 15)
        for name, number in numbers:
            self.assertRegex(page, rf"(?m)^\.It {number} Ta {name} ")
