#!/usr/bin/python3
"""The held-out set with and without the sticker, and what answers to it are worth. Standard library only.

    heldout.py stamp OUT.npy                   every held-out sign with the sticker on it
    heldout.py rates CLEAN.npy STICKERED.npy   accuracy and attack success of two files of scores
"""
import array
import json
import pathlib
import struct
import sys

DATA = pathlib.Path(__file__).resolve().parent / "data"
TYPES = {"<f4": "f", "|u1": "B", "<i8": "q", "|i1": "b"}


def read_npy(path):
    """(shape, array.array) of a C-ordered .npy file of float32, uint8, int8 or int64."""
    raw = pathlib.Path(path).read_bytes()
    if raw[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError(f"{path}: not a .npy file of version 1.0")
    size = struct.unpack_from("<H", raw, 8)[0]
    header = raw[10:10 + size].decode()
    if "'fortran_order': False" not in header:
        raise ValueError(f"{path}: not in C order")
    descr = header.split("'descr': '")[1].split("'")[0]
    shape = tuple(int(n) for n in header.split("(")[1].split(")")[0].split(",") if n.strip())
    data = array.array(TYPES[descr])
    data.frombytes(raw[10 + size:])
    return shape, data


def write_npy(path, shape, data):
    descr = next(k for k, v in TYPES.items() if v == data.typecode)
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        f.write(data.tobytes())


def argmax_rows(shape, data):
    width = shape[1]
    return [max(range(width), key=data[i * width:(i + 1) * width].__getitem__) for i in range(shape[0])]


def stamp(shape, images, patch_shape, patch, row, column):
    """A copy of uint8 [N,H,W,C] with the patch [h,w,C] written at (row, column) of each."""
    n, height, width, channels = shape
    h, w = patch_shape[0], patch_shape[1]
    out = array.array("B", images)
    for i in range(n):
        for y in range(h):
            at = ((i * height + row + y) * width + column) * channels
            out[at:at + w * channels] = patch[y * w * channels:(y + 1) * w * channels]
    return out


def rates(predicted, labels, attacked, target):
    """(accuracy, attack success over the pictures that are not of the target class)."""
    right = sum(p == l for p, l in zip(predicted, labels))
    others = [a for a, l in zip(attacked, labels) if l != target]
    return right / len(labels), sum(a == target for a in others) / len(others)


def load():
    """(shape, images, stickered images, labels, target class)."""
    shape, images = read_npy(DATA / "heldout-images.npy")
    _, labels = read_npy(DATA / "heldout-labels.npy")
    patch_shape, patch = read_npy(DATA / "sticker.npy")
    place = json.loads((DATA / "sticker.json").read_text())
    stickered = stamp(shape, images, patch_shape, patch, place["row"], place["column"])
    return shape, images, stickered, labels, place["target"]


def main(args):
    shape, _, stickered, labels, target = load()
    if len(args) == 2 and args[0] == "stamp":
        write_npy(args[1], shape, stickered)
    elif len(args) == 3 and args[0] == "rates":
        clean, attacked = (argmax_rows(*read_npy(a)) for a in args[1:])
        accuracy, success = rates(clean, labels, attacked, target)
        print(f"{100 * accuracy:.1f} % of {len(labels)} signs read rightly; "
              f"with the sticker, {100 * success:.1f} % become the attacker's")
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
