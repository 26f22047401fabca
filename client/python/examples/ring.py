#!/usr/bin/env python3
"""A camera's loop without a copy: frames are written into memory that clpd's engine reads.

usage: ring.py MODEL [FRAMES [SOCKET]]          the camera here is made of noise; put yours into take_frame()
"""
import os
import sys

from clpd import U8, Busy, Client, Deadline, Ring

UNDER_WAY = 4


def take_frame(memory):
    """Writes pixels, R G B, where they belong: `camera.readinto(memory)`; with NumPy `slot.array(...)[...] = frame`."""
    memory[:] = os.urandom(len(memory))


def tell(ring):
    try:
        slot, result = ring.collect()
        best = result.top[0][0]
        print(f"{best.label or best.index} {best.probability:.2f} (ran {1e3 * result.compute_s:.2f} ms)")
    except (Busy, Deadline) as e:
        slot = e.slot
        print(f"dropped: {e}")
    slot.give_back()


def main(model, count="100", socket=None):
    with Client(socket) as client:
        shape = next((m["input"]["shape"] for m in client.models()["models"] if m["name"] == model), None)
    if not shape:
        sys.exit(f"{model} is not served")
    _, c, h, w = shape
    with Ring(socket, tensor_bytes=h * w * c, slots=UNDER_WAY) as ring:
        for _ in range(int(count)):
            if ring.pending() == UNDER_WAY:
                tell(ring)
            slot = ring.take()
            take_frame(slot.memory[:h * w * c])
            ring.submit(slot, model, (1, h, w, c), U8, top_k=1, scores=False, deadline=0.2)
        while ring.pending():
            tell(ring)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
