"""Makes the wheel of this folder for pip (PEP 517) by the standard library alone: nothing is fetched to build it."""
import base64
import hashlib
import pathlib
import re
import tarfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
TAG = "py3-none-any"


def _project():
    """The few fields of pyproject.toml that we use; tomllib is not in Python 3.10."""
    text = (HERE / "pyproject.toml").read_text(encoding="utf-8")
    fields = dict(re.findall(r'^([a-z-]+) = "([^"]*)"$', text, re.M))
    extras = dict(re.findall(r'^([a-z]+) = \["([^"]*)"\]$', text.split("[project.optional-dependencies]")[1], re.M))
    return fields, extras


def _metadata():
    fields, extras = _project()
    lines = ["Metadata-Version: 2.1", f"Name: {fields['name']}", f"Version: {fields['version']}",
             f"Summary: {fields['description']}", "License: Apache-2.0", f"Requires-Python: {fields['requires-python']}"]
    for extra, package in extras.items():
        lines += [f"Provides-Extra: {extra}", f'Requires-Dist: {package}; extra == "{extra}"']
    lines += ["Description-Content-Type: text/markdown", "", (HERE / "README.md").read_text(encoding="utf-8")]
    return "\n".join(lines).encode()


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    fields, _ = _project()
    stem = f"{fields['name']}-{fields['version']}"
    files = {f"clpd/{p.name}": p.read_bytes() for p in sorted((HERE / "clpd").iterdir()) if p.is_file()}
    files[f"{stem}.dist-info/METADATA"] = _metadata()
    files[f"{stem}.dist-info/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: clpd\nRoot-Is-Purelib: true\n"
                                        f"Tag: {TAG}\n").encode()
    record = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(data)}\n")
    files[f"{stem}.dist-info/RECORD"] = "".join([*record, f"{stem}.dist-info/RECORD,,\n"]).encode()
    wheel = f"{stem}-{TAG}.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / wheel, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return wheel


def build_sdist(sdist_directory, config_settings=None):
    fields, _ = _project()
    stem = f"{fields['name']}-{fields['version']}"
    with tarfile.open(pathlib.Path(sdist_directory) / f"{stem}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as t:
        for name in ("pyproject.toml", "build_wheel.py", "README.md", "clpd", "examples"):
            t.add(HERE / name, f"{stem}/{name}", filter=lambda i: None if "__pycache__" in i.name else i)
    return f"{stem}.tar.gz"
