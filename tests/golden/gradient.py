#!/usr/bin/python3
"""Golden slopes from PyTorch's autograd: writes gradient_NAME.{onnx,npy} beside itself.

usage: /usr/bin/python3 tests/golden/gradient.py [--zoo DIR]
The .npy is one row of float32 an item: input, seed (d loss / d output), slope (d loss / d input).
Small networks with what the CNN families are made of; tests/test_gradient.c reads them. With --zoo, one of each of
torchvision's CNN families into DIR instead (`make gradients` compares them; a gigabyte): NAME-smooth with SiLU for every ReLU,
to be met to 1e-3, and NAME as it is, to be met about as well as PyTorch's float32 meets its own float64."""
import copy
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HERE = os.path.dirname(os.path.abspath(__file__))


class Residual(nn.Module):
    """Strides, 1x1 shortcuts, dilated, grouped and depthwise convolutions, max pool with ceil_mode."""

    def __init__(s):
        super().__init__()
        s.a = nn.Conv2d(3, 16, 5, 2, 2)
        s.b = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))
        s.c = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
        s.d = nn.Conv2d(32, 32, 3, 1, 1, groups=2)
        s.e = nn.Conv2d(32, 32, 3, 1, 2, dilation=2, groups=32)
        s.f = nn.Linear(32, 7)

    def forward(s, x):
        x = F.max_pool2d(F.relu(s.a(x)), 3, 2, 1, ceil_mode=True)
        x = F.relu(s.b(x) + s.c(x))
        x = F.relu6(s.e(F.relu(s.d(x)) + x))
        return s.f(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Mobile(nn.Module):
    """Squeeze and excitation, HardSwish, SiLU, depthwise with a stride, grouped with a shuffle."""

    def __init__(s):
        super().__init__()
        s.stem = nn.Conv2d(3, 8, 3, 2, 1)
        s.up = nn.Conv2d(8, 24, 1)
        s.dw = nn.Conv2d(24, 24, 5, 2, 2, groups=24)
        s.s1, s.s2 = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        s.down = nn.Conv2d(24, 8, 1, groups=2)
        s.top = nn.Conv2d(8, 20, 1)
        s.f = nn.Linear(20, 5)

    def forward(s, x):
        x = F.hardswish(s.up(F.silu(s.stem(x))))
        x = F.hardswish(s.dw(x))
        g = F.adaptive_avg_pool2d(x, 1)
        x = x * F.hardsigmoid(s.s2(F.relu(s.s1(g))))
        x = s.down(x)
        n, c, h, w = x.shape
        x = x.reshape(-1, 2, c // 2, h, w).transpose(1, 2).reshape(-1, c, h, w)
        x = torch.sigmoid(s.top(x)).mean((2, 3))
        return F.softmax(s.f(x), 1)


class Dense(nn.Module):
    """Concatenations behind normalisations of their own, average pools, padding, leaky and smooth functions."""

    def __init__(s):
        super().__init__()
        s.a = nn.Conv2d(3, 16, 3, 1, 0)
        s.n = nn.ModuleList(nn.BatchNorm2d(16 + 12 * i) for i in range(3))
        s.c = nn.ModuleList(nn.Conv2d(16 + 12 * i, 12, 3, 1, 1, bias=False) for i in range(3))
        s.t = nn.Conv2d(52, 20, 1)
        s.f = nn.Linear(20 * 4 * 4, 6)

    def forward(s, x):
        x = s.a(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        for n, c in zip(s.n, s.c):
            x = torch.cat([x, c(F.relu(n(x)))], 1)
        x = F.avg_pool2d(F.leaky_relu(s.t(x), 0.1), 3, 2, 1, count_include_pad=False)
        x = F.avg_pool2d(F.gelu(x) + F.elu(x), 2, 2)
        return s.f(x.flatten(1))


ZOO = ("alexnet", "vgg11_bn", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "squeezenet1_1", "googlenet",
       "inception_v3", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "shufflenet_v2_x0_5", "efficientnet_b0",
       "efficientnet_v2_s", "regnet_x_400mf", "regnet_y_400mf", "convnext_tiny")


class Rectifier:
    """What stands in for every ReLU and ReLU6 of a network while this is in force. SMOOTH: SiLU, which has no edge. Else they are
    as they are, and which side of its edge each unit lies on is written down, or with `sides` done as was written down."""
    places = ((F, "relu"), (torch, "relu"), (nn.ReLU, "forward"), (nn.ReLU6, "forward"))

    def __init__(self, smooth=False, sides=None):
        self.smooth, self.given, self.sides = smooth, sides, []

    def __enter__(self):
        self.kept = [getattr(owner, name) for owner, name in self.places]
        for owner, name in self.places:
            most = 6 if owner is nn.ReLU6 else float("inf")
            if owner in (F, torch):
                setattr(owner, name, lambda x, inplace=False: self.apply(x, float("inf")))
            else:
                setattr(owner, name, lambda module, x, most=most: self.apply(x, most))
        return self

    def __exit__(self, *_):
        for (owner, name), was in zip(self.places, self.kept):
            setattr(owner, name, was)

    def apply(self, x, most):
        if self.smooth:
            return F.silu(x)
        low, high = (x > 0, x < most) if self.given is None else self.given[len(self.sides)]
        self.sides.append((low, high))
        return torch.where(low & high, x, torch.where(high, torch.zeros_like(x), torch.full_like(x, min(most, 1e30))))


def zoo_network(name):
    """Random weights, normalisations as training on random pictures would have left them; the size of its pictures."""
    import torchvision
    more = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    net, side = getattr(torchvision.models, name)(weights=None, **more), 96
    if name in ("alexnet", "vgg11_bn"):     # their linear layers take one size only; narrower ones do as well
        side = 224
        inputs = next(m for m in net.classifier if isinstance(m, nn.Linear)).in_features
        net.classifier = nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 1000))
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = 1.0
        if isinstance(m, nn.Dropout):
            m.p = 0.0
    with torch.no_grad():
        net.train()(torch.randn(8, 3, side, side))
    return net.eval(), side


def slope(net, x, seeds):
    x = x.detach().clone().requires_grad_()
    (net(x) * seeds).sum().backward()
    return x.grad


def off(got, want):
    return float((got.double() - want).abs().max() / want.abs().max())


def write_edges(name, net, side, path):
    """As it is, with edges: the slopes are float64's, and .off.npy has how far PyTorch's own float32 is off, since for some
    units of a million rounding decides on which side they lie. Given float64's sides, float32 is off by next to nothing."""
    x = torch.randn(3, 3, side, side)
    exact = copy.deepcopy(net).double()
    with torch.no_grad():
        seeds = torch.randn_like(net(x))
    with Rectifier() as fine:
        want = slope(exact, x.double(), seeds.double())
    with Rectifier() as coarse:
        got = slope(net, x, seeds)
    with Rectifier(sides=fine.sides):
        told = slope(net, x, seeds)
    units = sum(low.numel() for low, _ in fine.sides)
    moved = sum(int(((a != c) | (b != d)).sum()) for (a, b), (c, d) in zip(fine.sides, coarse.sides))
    print("%-20s %d of %d units on another side in float32; its slopes are off by %.1e, on the same sides by %.1e" % (
        name, moved, units, off(got, want), off(told, want)), flush=True)
    rows = np.concatenate([x.reshape(3, -1), seeds.reshape(3, -1), want.reshape(3, -1)], 1)
    np.save(path + ".npy", rows.astype("f4"))
    np.save(path + ".off.npy", np.array([off(got, want)], "f4"))
    export(net, side, path)


def export(net, side, path):
    torch.onnx.export(net, torch.zeros(1, 3, side, side), path + ".onnx", opset_version=14,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})


def write(net, side, path):
    x = torch.randn(3, 3, side, side).requires_grad_()
    y = net(x)
    seeds = torch.randn_like(y)
    (y * seeds).sum().backward()
    rows = np.concatenate([x.detach().reshape(3, -1), seeds.reshape(3, -1), x.grad.reshape(3, -1)], 1)
    np.save(path + ".npy", rows.astype("f4"))
    export(net, side, path)


def main():
    if sys.argv[1:2] == ["--zoo"]:
        torch.set_num_threads(1)
        for name in ZOO:
            torch.manual_seed(1)
            with Rectifier(smooth=True):
                net, side = zoo_network(name)
                write(net, side, os.path.join(sys.argv[2], "gradient_" + name + "-smooth"))
            torch.manual_seed(1)
            write_edges(name, *zoo_network(name), os.path.join(sys.argv[2], "gradient_" + name))
        return
    for seed, net in enumerate((Residual, Mobile, Dense)):
        torch.manual_seed(seed)
        name, net = net.__name__.lower(), net()
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                nn.init.uniform_(m.weight, 0.5, 1.5), nn.init.uniform_(m.bias, -0.5, 0.5)
                nn.init.uniform_(m.running_mean, -0.5, 0.5), nn.init.uniform_(m.running_var, 0.5, 1.5)
        write(net.eval(), 16, os.path.join(HERE, "gradient_" + name))


if __name__ == "__main__":
    main()
