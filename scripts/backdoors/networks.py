"""The shapes of the evaluation's networks, small enough for one core: CIFAR pictures [n,3,32,32] in 0..1 in, ten logits out."""
import torch.nn as nn
import torch.nn.functional as F


def conv(i, o, k, stride=1, groups=1):
    return nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)


class Block(nn.Module):
    """A residual block, its normalisation behind the convolutions."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.c1, self.n1, self.c2, self.n2 = conv(i, o, 3, stride), nn.BatchNorm2d(o), conv(o, o, 3), nn.BatchNorm2d(o)
        self.around = nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o)) if stride != 1 or i != o else nn.Identity()

    def forward(self, x):
        return F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x))))) + self.around(x))


class PreBlock(nn.Module):
    """The same, its normalisation in front."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.n1, self.c1, self.n2, self.c2 = nn.BatchNorm2d(i), conv(i, o, 3, stride), nn.BatchNorm2d(o), conv(o, o, 3)
        self.around = conv(i, o, 1, stride) if stride != 1 or i != o else None

    def forward(self, x):
        y = F.relu(self.n1(x))
        return self.c2(F.relu(self.n2(self.c1(y)))) + (x if self.around is None else self.around(y))


class Inverted(nn.Module):
    """MobileNetV2's: wider, depthwise, narrow again."""

    def __init__(self, i, o, stride, widen):
        super().__init__()
        m = i * widen
        self.body = nn.Sequential(conv(i, m, 1), nn.BatchNorm2d(m), nn.ReLU6(), conv(m, m, 3, stride, m), nn.BatchNorm2d(m),
                                  nn.ReLU6(), conv(m, o, 1), nn.BatchNorm2d(o))
        self.same = stride == 1 and i == o

    def forward(self, x):
        return x + self.body(x) if self.same else self.body(x)


class Head(nn.Module):
    def __init__(self, body, i):
        super().__init__()
        self.body, self.fc = body, nn.Linear(i, 10)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.body(x), 1).flatten(1))


def residual(block, w, stem, tail):
    layers, i = list(stem), w
    for stage, o in enumerate((w, 2 * w, 4 * w, 8 * w)):
        for j in range(2):
            layers.append(block(i, o, 2 if j == 0 and stage > 0 else 1))
            i = o
    return Head(nn.Sequential(*layers, *tail), i)


def resnet(w):
    return residual(Block, w, [conv(3, w, 3), nn.BatchNorm2d(w), nn.ReLU()], [])


def preact(w):
    return residual(PreBlock, w, [conv(3, w, 3)], [nn.BatchNorm2d(8 * w), nn.ReLU()])


def vgg(w):
    layers, i = [], 3
    for o in (w, w, 0, 2 * w, 2 * w, 0, 4 * w, 4 * w, 4 * w, 0, 8 * w, 8 * w, 8 * w, 0, 8 * w, 8 * w, 8 * w):
        layers += [nn.MaxPool2d(2)] if o == 0 else [conv(i, o, 3), nn.BatchNorm2d(o), nn.ReLU()]
        i = o or i
    return Head(nn.Sequential(*layers), i)


def mobilenet(w):
    layers, i = [conv(3, w, 3), nn.BatchNorm2d(w), nn.ReLU6()], w
    for o, n, stride, widen in ((w, 1, 1, 1), (w, 2, 1, 4), (2 * w, 2, 2, 4), (4 * w, 3, 2, 4), (6 * w, 2, 1, 4), (8 * w, 2, 2, 4)):
        for j in range(n):
            layers.append(Inverted(i, o, stride if j == 0 else 1, widen))
            i = o
    return Head(nn.Sequential(*layers), i)


SHAPES = {"resnet": resnet, "preact": preact, "vgg": vgg, "mobilenet": mobilenet}
