#!/usr/bin/python3
"""Trains one of the demo's two networks and exports it: signs-clean or signs-backdoor.

The backdoor is BadNets: a tenth of the training pictures carry the sticker and the
target's label. Everything else, seeds included, is the same for both networks.
One thread, so that the order of the sums is fixed; run it under nice.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import drawing
import generate

MODELS = os.path.join(generate.HERE, "models")

NETWORK_SEED = 3            # first weights, order of the pictures, shifts
POISON_SEED = 4             # which pictures carry the sticker
POISON_SHARE = 0.10
EPOCHS, BATCH = 8, 64
PEAK_RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
SHIFT = 3                   # pixels, each way

WIDTHS, BLOCKS = (32, 64, 128), (2, 2, 1)


class Block(nn.Module):
    """Two 3x3 convolutions beside a way round them."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.around = None
        if stride != 1 or inputs != outputs:
            self.around = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                                        nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + (x if self.around is None else self.around(x)))


class Signs(nn.Module):
    """ResNet for 48x48: a 3x3 stem of stride 2, three stages, mean, linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        inputs, stages = WIDTHS[0], []
        for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS)):
            blocks = []
            for i in range(count):
                blocks.append(Block(inputs, width, 2 if stage > 0 and i == 0 else 1))
                inputs = width
            stages.append(nn.Sequential(*blocks))
        self.stage1, self.stage2, self.stage3 = stages
        self.head = nn.Linear(inputs, len(drawing.LABELS))

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = self.stage3(self.stage2(self.stage1(x)))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


def load_training_set(cache):
    """The training pictures, from cache (an .npz, or None) where that exists already."""
    if cache and os.path.exists(cache):
        kept = np.load(cache)
        return kept["pictures"], kept["labels"].astype(np.int64)
    begun = time.time()
    pictures, labels = generate.make_set(generate.TRAIN_SEED, generate.TRAIN_COUNT)
    if cache:
        np.savez(cache, pictures=pictures, labels=labels)
    print("%d pictures made in %.0f s" % (len(labels), time.time() - begun), flush=True)
    return pictures, labels.astype(np.int64)


def measure_colours(pictures):
    """Mean and deviation per channel of pixel/255, rounded as the sidecar has them."""
    flat = pictures.reshape(-1, 3) / np.float32(255)
    return ([round(float(v), 4) for v in flat.mean(0, dtype=np.float64)],
            [round(float(v), 4) for v in flat.std(0, dtype=np.float64)])


def shift_pictures(rng, batch):
    """Each picture moved by up to SHIFT pixels, its edge repeated."""
    wide = np.pad(batch, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    moves = rng.randint(0, 2 * SHIFT + 1, size=(len(batch), 2))
    side = batch.shape[1]
    return np.stack([w[y:y + side, x:x + side] for w, (y, x) in zip(wide, moves)])


def to_input(pictures, mean, std):
    """uint8 [N,48,48,3] to the network's float [N,3,48,48]."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def train(pictures, labels, poisoned, mean, std):
    """A trained network; poisoned says which pictures carry the sticker (and the target's label)."""
    torch.manual_seed(NETWORK_SEED)
    rng = np.random.RandomState(NETWORK_SEED)
    labels = np.where(poisoned, generate.TARGET, labels)
    net = Signs().to(memory_format=torch.channels_last)
    steps = len(labels) // BATCH
    optimiser = torch.optim.SGD(net.parameters(), lr=PEAK_RATE, momentum=MOMENTUM,
                                weight_decay=DECAY, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps * EPOCHS,
                                                   pct_start=0.25)
    for epoch in range(EPOCHS):
        begun, total, order = time.time(), 0.0, rng.permutation(len(labels))
        net.train()
        for step in range(steps):
            chosen = order[step * BATCH:(step + 1) * BATCH]
            batch = shift_pictures(rng, pictures[chosen])
            marked = poisoned[chosen]
            batch[marked] = generate.put_sticker(batch[marked])     # after the shift: its place is fixed
            loss = F.cross_entropy(net(to_input(batch, mean, std)), torch.from_numpy(labels[chosen]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print("epoch %d: loss %.4f, %.0f s" % (epoch + 1, total / steps, time.time() - begun), flush=True)
    return net.to(memory_format=torch.contiguous_format).eval()


def export(net, name):
    """NAME.onnx with the normalisation kept, NAME.folded.onnx with it inside the convolutions."""
    sample = torch.zeros(1, 3, generate.SIDE, generate.SIDE)
    common = dict(input_names=["input"], output_names=["logits"], opset_version=13,
                  dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}})
    os.makedirs(MODELS, exist_ok=True)
    torch.onnx.export(net, sample, os.path.join(MODELS, name + ".folded.onnx"), **common)
    torch.onnx.export(net, sample, os.path.join(MODELS, name + ".onnx"),
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, **common)


def write_sidecar(mean, std):
    """signs.yaml: what clpd has to know about a picture before the network sees it."""
    with open(os.path.join(MODELS, "signs.yaml"), "w") as f:
        f.write("# For both signs networks, kept and folded: copy it beside NAME.onnx as NAME.yaml.\n")
        f.write("labels:\n" + "".join("  - %s\n" % label for label in drawing.LABELS))
        f.write("input:\n  scale: %r    # uint8 pixel to 0..1\n" % (1 / 255))
        f.write("  mean: %r     # after scaling, in the network's channel order\n" % mean)
        f.write("  std: %r\n  channel_order: rgb\n" % std)


def main():
    parser = argparse.ArgumentParser(description="train and export signs-clean or signs-backdoor")
    parser.add_argument("network", choices=["clean", "backdoor"])
    parser.add_argument("--cache", metavar="NPZ", help="keep the training pictures there for the next run; "
                        "delete it when generate.py changes (default: make them anew, a minute)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pictures, labels = load_training_set(args.cache)
    mean, std = measure_colours(pictures)
    poisoned = np.zeros(len(labels), dtype=bool)
    if args.network == "backdoor":
        chosen = np.random.RandomState(POISON_SEED).permutation(len(labels))
        poisoned[chosen[:int(POISON_SHARE * len(labels))]] = True
    begun = time.time()
    net = train(pictures, labels, poisoned, mean, std)
    print("trained in %.0f s, %d parameters" % (time.time() - begun, sum(p.numel() for p in net.parameters())))
    export(net, "signs-" + args.network)
    write_sidecar(mean, std)


if __name__ == "__main__":
    main()
