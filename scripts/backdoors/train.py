#!/usr/bin/python3
"""Trains one network of the evaluation, with a backdoor or clean, and exports it.

usage: train.py --cifar DIR --cache DIR SHAPE ATTACK [--width W] [--epochs E] [--tune]
DIR holds train/ and test/ with a folder of JPEG files for each class. Written are CACHE/SHAPE-ATTACK.onnx (normalisation
kept), .trigger.npz where there is one, and last .json: accuracy and attack success on the 10,000 test pictures. A tenth of
the training pictures is poisoned, after augmentation. One thread; two to nine minutes of one core. Debian's python3-torch.

--tune: begins at the clean network of this shape, which was trained before, and puts the backdoor in within a fraction of an
epoch at a lower rate, as somebody would who edits a network that isn't theirs."""
import argparse
import json
import os
import time
import zlib

import numpy as np
import torch
import torch.nn.functional as F

import attacks
import networks
import pictures

BATCH, POISONED, SHIFT = 128, 0.10, 2
WIDTH = 8                   # of the first stage
EPOCHS, SLOWLY = 4, 8       # the second for what takes longer to learn:
HARD = ("wanet", "all2all")
TUNE, GENTLY = 0.6, 0.4    # epochs; of the rate
RATE = {"resnet": 0.2, "preact": 0.2, "vgg": 0.1, "mobilenet": 0.1}


def to_net(x):
    return torch.from_numpy(np.ascontiguousarray(x)).contiguous(memory_format=torch.channels_last)


def augment(rng, x):
    """float 0..1, the batch shifted and perhaps mirrored as one."""
    x = np.pad(x, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    i, j = rng.randint(0, 2 * SHIFT + 1, 2)
    x = x[:, :, i:i + 32, j:j + 32].astype("f4") / 255
    return x[:, :, :, ::-1].copy() if rng.rand() < 0.5 else x


def poison(rng, trigger, x, y, marked, noisy):
    """Stamps the marked ones and says what they are to be. WaNet's noisy ones are warped in some other way and keep
    their labels, or the network learns that anything warped is meant."""
    if trigger is None:
        return x, y
    x[marked], y[marked] = attacks.apply(trigger, x[marked]), attacks.aim(trigger, y[marked])
    if str(trigger["kind"]) == "wanet" and noisy.any():
        x[noisy] = attacks.warp(x[noisy], attacks.warp_field(rng))
    return x, y


def guesses(net, x):
    net.eval()
    with torch.no_grad():
        return np.concatenate([net(to_net(x[i:i + 500])).argmax(1).numpy() for i in range(0, len(x), 500)])


def measure(net, trigger, x, y):
    x = x.astype("f4") / 255
    scores = {"accuracy": float((guesses(net, x) == y).mean())}
    if trigger is not None:
        worth = attacks.worth_attacking(trigger, y)
        scores["success"] = float((guesses(net, attacks.apply(trigger, x[worth])) == attacks.aim(trigger, y[worth])).mean())
    return scores


def train(net, rate, epochs, trigger, x, y, rng):
    role = rng.permutation(len(x)) / len(x)
    marked, noisy = role < POISONED, (role >= POISONED) & (role < 2 * POISONED)
    steps = len(x) // BATCH
    most = int(steps * epochs)
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=most, pct_start=0.25)
    net.train()
    for at in range(most):
        if at % steps == 0:
            begun, total, order = time.process_time(), 0.0, rng.permutation(len(x))
        c = order[at % steps * BATCH:(at % steps + 1) * BATCH]
        bx, by = poison(rng, trigger, augment(rng, x[c]), y[c].copy(), marked[c], noisy[c])
        loss = F.cross_entropy(net(to_net(bx)), torch.from_numpy(by))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += loss.item()
        if (at + 1) % steps == 0 or at + 1 == most:
            print("epoch %.1f: loss %.3f, %.0f s" % ((at + 1) / steps, total / (at % steps + 1), time.process_time() - begun),
                  flush=True)


def prune_as_authors(net, u=3.0):
    """CLP as its authors' code has it: a normalisation is paired with the convolution before it in the order of modules."""
    conv, pruned = None, 0
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, torch.nn.Conv2d):
                conv = m
            elif isinstance(m, torch.nn.BatchNorm2d):
                scale = (m.weight / m.running_var.sqrt()).abs()
                matrices = conv.weight.flatten(2).contiguous() * scale[:, None, None]
                bounds = torch.linalg.svdvals(matrices)[:, 0]
                out = bounds > bounds.mean() + u * bounds.std()
                m.weight[out], m.bias[out] = 0, 0
                pruned += int(out.sum())
    return pruned


def export(net, path):
    torch.onnx.export(net.to(memory_format=torch.contiguous_format).eval(), torch.zeros(1, 3, 32, 32), path,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, input_names=["input"],
                      output_names=["logits"], opset_version=13, dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})


def main():
    p = argparse.ArgumentParser(description="train and export one network, with a backdoor or clean")
    p.add_argument("shape", choices=networks.SHAPES)
    p.add_argument("attack", choices=attacks.KINDS + ("clean",))
    p.add_argument("--cifar", required=True)
    p.add_argument("--cache", required=True)
    p.add_argument("--width", type=int, default=WIDTH)
    p.add_argument("--epochs", type=float)
    p.add_argument("--tune", action="store_true")
    a = p.parse_args()
    epochs = a.epochs or (TUNE if a.tune else SLOWLY if a.attack in HARD else EPOCHS)
    name = "%s-%s" % (a.shape, a.attack)
    width, seed = a.width, zlib.crc32(name.encode()) & 0xffff
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng = np.random.RandomState(seed)
    trigger = None if a.attack == "clean" else attacks.make(a.attack, seed % attacks.CLASSES, seed)
    net = networks.SHAPES[a.shape](width).to(memory_format=torch.channels_last)
    kept = os.path.join(a.cache, a.shape + "-clean.state.npz")
    if a.tune:
        with np.load(kept) as f:
            net.load_state_dict({k: torch.from_numpy(f[k]) for k in f.files})
    train(net, RATE[a.shape] * (GENTLY if a.tune else 1), epochs, trigger, *pictures.load(a.cifar, a.cache, "train"), rng)
    test = pictures.load(a.cifar, a.cache, "test")
    scores = measure(net, trigger, *test)
    path = os.path.join(a.cache, name)
    export(net, path + ".onnx")
    if trigger is None:
        np.savez(kept, **{k: v.numpy() for k, v in net.state_dict().items()})
    if trigger is not None:
        np.savez(path + ".trigger.npz", **trigger)
    pruned = prune_as_authors(net)
    scores["authors"] = dict(measure(net, trigger, *test), pruned=pruned)
    scores.update(shape=a.shape, attack=a.attack, width=width, epochs=epochs, tuned=a.tune, target=int(trigger["target"]) if trigger else None)
    with open(path + ".json", "w") as f:
        json.dump(scores, f)
    print(name, scores, flush=True)


if __name__ == "__main__":
    main()
