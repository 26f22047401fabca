"""CIFAR-10 from folders of JPEG files (SET/CLASS/*.jpg, classes in alphabetical order) to one .npz a set; Debian's python3-pil."""
import os

import numpy as np


def decode(folder):
    from PIL import Image
    x, y = [], []
    for label, name in enumerate(sorted(os.listdir(folder))):
        for f in sorted(os.listdir(os.path.join(folder, name))):
            with Image.open(os.path.join(folder, name, f)) as picture:
                x.append(np.asarray(picture.convert("RGB")))
            y.append(label)
    order = np.random.RandomState(0).permutation(len(x))
    return np.stack(x)[order].transpose(0, 3, 1, 2), np.array(y, "u1")[order]


def load(cifar, cache, which):
    """uint8 [n,3,32,32] and labels of 'train' or 'test', decoded once."""
    kept = os.path.join(cache, which + ".npz")
    if not os.path.exists(kept):
        x, y = decode(os.path.join(cifar, which))
        np.savez(kept, x=np.ascontiguousarray(x), y=y)
    with np.load(kept) as f:
        return f["x"], f["y"].astype(np.int64)
