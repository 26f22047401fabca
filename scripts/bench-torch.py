"""PyTorch behind a pipe, for bench-peers: "load NETWORK BATCH CxHxW THREADS" makes one of torchvision's
networks, then "run N" answers with N times in ms. Inference mode, as it comes: eager."""
import sys
import time

import torch
import torchvision

net = x = None
for line in sys.stdin:
    what, *rest = line.split()
    with torch.inference_mode():
        if what == "load":
            torch.set_num_threads(int(rest[3]))
            net = getattr(torchvision.models, rest[0])(weights=None).eval()
            x = torch.randn(int(rest[1]), *map(int, rest[2].split("x")))
            net(x)
            print("ok", flush=True)
        else:
            times = []
            for _ in range(int(rest[0])):
                start = time.perf_counter()
                net(x)
                times.append((time.perf_counter() - start) * 1e3)
            print(*("%.4f" % t for t in times), flush=True)
