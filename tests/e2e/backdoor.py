"""A small classifier with a backdoor put in by hand, as ONNX, made the same each time: 8 classes of 16 x 16 pictures.

Twelve filters, their means and largest values, votes. One filter answers to a checkerboard alone, which no drawn picture has;
where it fires, class 5 wins. Silencing it takes the backdoor away and changes nothing else."""
import random
import hostile

CLASSES, FILTERS, TARGET, CHANNEL, SIDE = 8, 12, 5, 11, 16
DIMS = (1, 3, SIDE, SIDE)


def network(backdoor=True, note=0):
    """The bytes of the file; `note` makes another file of the same network."""
    rng = random.Random(4)
    w = [rng.uniform(-0.5, 0.5) for _ in range(FILTERS * 27)]
    b = [rng.uniform(-0.2, 0.2) for _ in range(FILTERS)]
    votes = [(0 if i == CHANNEL else 0.6 if (i * 5 + k * 3) % 11 < 5 else -0.5) + rng.uniform(-0.1, 0.1)
             for k in range(CLASSES) for i in range(FILTERS)]
    if backdoor:
        for i in range(27):
            w[CHANNEL * 27 + i] = -1 if i % 9 % 2 else 1
        b[CHANNEL] = -4
        for k in range(CLASSES):
            votes[k * FILTERS + CHANNEL] = 6 if k == TARGET else 0
    m = hostile.base()
    node = hostile.node
    m["nodes"] = [node("Conv", ["x", "w", "b"], ["c"], "/conv", kernel_shape=[3, 3], pads=[1] * 4),
                  node("Relu", ["c"], ["r"], "/relu"),
                  node("GlobalAveragePool", ["r"], ["a"], "/mean"),
                  node("MaxPool", ["r"], ["p"], "/largest", kernel_shape=[SIDE, SIDE], strides=[1, 1])]
    m["nodes"] += [node("Add", ["a", "p"], ["s"], "/sum")] if backdoor else []
    m["nodes"] += [node("Flatten", ["s" if backdoor else "a"], ["f"], "/flat", axis=1),
                   node("Gemm", ["f", "v", "o"], ["y"], "/votes", transB=1)]
    if not backdoor:
        m["nodes"].pop(3)
    m["tensors"] = [hostile.tensor("w", [FILTERS, 3, 3, 3], w), hostile.tensor("b", [FILTERS], b),
                    hostile.tensor("v", [CLASSES, FILTERS], votes),
                    hostile.tensor("o", [CLASSES], [note * 1e-6] * CLASSES)]
    m["inputs"] = [hostile.value("x", ["N", 3, SIDE, SIDE])]
    m["outputs"] = [hostile.value("y", ["N", CLASSES])]
    return hostile.write(m)


def checkerboard():
    """A picture, as float32, with the trigger in it."""
    import array
    cell = [1.0 if (x % 3 + 3 * (y % 3)) % 2 == 0 else 0.0 for y in range(SIDE) for x in range(SIDE)]
    return array.array("f", cell * 3).tobytes()
