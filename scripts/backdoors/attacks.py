"""Triggers, and what they do to pictures [n,3,h,w] in 0..1 and to labels; numpy alone, so that the evaluation needs no more.

A trigger is made from a seed and kept in an .npz: its kind, its target (-1: the label plus one), its numbers."""
import numpy as np

KINDS = ("badnets", "trojan", "blended", "sig", "wanet", "all2all")
SIDE, CLASSES = 32, 10
BLEND = 0.2                 # of the noise, in the mixture
STRIPES, DEPTH = 6, 30 / 255
CONTROL, STRENGTH = 4, 1.0  # WaNet: points of the warp a side; its mean shift is half a pixel


def make(kind, target, seed):
    rng = np.random.RandomState(seed)
    t = {"kind": kind, "target": -1 if kind == "all2all" else target}
    if kind in ("badnets", "all2all"):
        t["paint"] = rng.rand(3, 3, 3).astype("f4")
    elif kind == "trojan":
        t["paint"] = rng.rand(3, 5, 5).astype("f4")
    elif kind == "blended":
        t["paint"] = rng.rand(3, SIDE, SIDE).astype("f4")
    elif kind == "sig":
        wave = DEPTH * np.sin(2 * np.pi * STRIPES * np.arange(SIDE) / SIDE)
        t["paint"] = np.broadcast_to(wave, (3, SIDE, SIDE)).astype("f4")
    elif kind == "wanet":
        t["paint"] = warp_field(rng)
    return t


def warp_field(rng):
    """[2,h,w]: where each pixel is taken from, against its own place: smooth, from a few points at random."""
    few = rng.uniform(-1, 1, (2, CONTROL, CONTROL))
    few /= np.abs(few).mean()
    at = np.linspace(0, CONTROL - 1, SIDE)
    low = np.minimum(at.astype(int), CONTROL - 2)
    part = at - low
    rows = few[:, low] * (1 - part)[:, None] + few[:, low + 1] * part[:, None]
    return (STRENGTH * (rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part)).astype("f4")


def warp(x, field):
    yy, xx = np.mgrid[:SIDE, :SIDE]
    y, z = np.clip(yy + field[0], 0, SIDE - 1), np.clip(xx + field[1], 0, SIDE - 1)
    y0, z0 = np.minimum(y.astype(int), SIDE - 2), np.minimum(z.astype(int), SIDE - 2)
    b, c = (y - y0).astype("f4"), (z - z0).astype("f4")
    upper = x[:, :, y0, z0] * (1 - c) + x[:, :, y0, z0 + 1] * c
    lower = x[:, :, y0 + 1, z0] * (1 - c) + x[:, :, y0 + 1, z0 + 1] * c
    return (upper * (1 - b) + lower * b).astype("f4")


def apply(t, x):
    kind, paint = str(t["kind"]), t["paint"]
    if kind in ("badnets", "trojan", "all2all"):
        x, k = x.copy(), paint.shape[-1]
        x[:, :, -k:, -k:] = paint
        return x
    if kind == "blended":
        return (x * (1 - BLEND) + paint * BLEND).astype("f4")
    if kind == "sig":
        return np.clip(x + paint, 0, 1).astype("f4")
    return warp(x, paint)


def aim(t, labels):
    """The labels that the attacker wants."""
    target = int(t["target"])
    return (labels + 1) % CLASSES if target < 0 else np.full_like(labels, target)


def worth_attacking(t, labels):
    """Pictures that are not of the target's class already."""
    return labels != aim(t, labels)


def load(path):
    with np.load(path) as f:
        return {k: f[k] for k in f.files}
