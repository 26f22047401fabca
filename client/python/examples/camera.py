#!/usr/bin/env python3
"""Takes frames as a camera gives them, keeps a few under way, and drops frames rather than fall behind.

usage: camera.py MODEL [FRAMES [SOCKET]]        the camera here is made of noise; put yours into frames()

ring.py beside this does it without a copy.
"""
import os
import sys
import time

from clpd import Busy, Client, ConnectionLost, Deadline

UNDER_WAY, PER_SECOND = 2, 25.0


def frames(height, width, channels, count):
    """Pixels, R G B, at the model's size; one every 40 ms."""
    for _ in range(count):
        yield os.urandom(height * width * channels)
        time.sleep(1 / PER_SECOND)


def take(client):
    try:
        _, result = client.collect()
        best = result.top[0][0]
        print(f"{best.label or best.index} {best.probability:.2f} "
              f"(waited {1e3 * result.queue_s:.1f} ms, ran {1e3 * result.compute_s:.1f} ms)")
    except (Busy, Deadline) as e:  # the next frame is worth more than this one
        print(f"dropped: {e}")


def main(model, count="100", socket=None):
    with Client(socket) as client:
        shape = next((m["input"]["shape"] for m in client.models()["models"] if m["name"] == model), None)
        if not shape:
            sys.exit(f"{model} is not served")
        _, c, h, w = shape
        for frame in frames(h, w, c, int(count)):
            try:
                if client.pending() >= UNDER_WAY:
                    take(client)
                client.submit(model, frame, (1, h, w, c), top_k=1, scores=False, deadline=0.2)
            except ConnectionLost as e:
                print(f"lost: {e}")
                time.sleep(1)
        while client.pending():
            take(client)


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
