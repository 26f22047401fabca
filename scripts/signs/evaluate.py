#!/usr/bin/python3
"""Measures the four committed ONNX files, as committed, on the whole held-out set, before and after CLP.

    NAME.onnx -> graph -> run by edges with PyTorch     (accuracy, attack success)
                       -> CLP on its initialisers       (UCLC, cut-offs, pruned channels)

Writes models/expected.json and data/stop.png, data/stop-sticker.png; prints the tables of
docs/models.md. This is a second, independent reading of CLP: it shares no code with the guard.
"""
import argparse
import json
import os

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from PIL import Image

import drawing
import generate

MODELS = os.path.join(generate.HERE, "models")
NETWORKS = ["signs-clean", "signs-backdoor"]
FORMS = {"kept": ".onnx", "folded": ".folded.onnx"}
THRESHOLD = 3.0
THRESHOLDS = [2.0, 2.5, 3.0, 3.5, 4.0, 5.0]
GOLDEN = 8                  # so many pictures' logits go into expected.json
STOP = drawing.LABELS.index("stop")


class Graph:
    """An ONNX file's nodes and initialisers; runs the few operators that these networks have."""

    def __init__(self, path):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        self.nodes = list(model.graph.node)
        self.tensors = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy())
                        for t in model.graph.initializer}
        self.unshare()
        self.input, self.output = model.graph.input[0].name, model.graph.output[0].name

    def unshare(self):
        """The exporter stores equal initialisers once and hands them on through Identity nodes (here the
        beta of a block's last normalisation and of its way round). Each gets its own copy: otherwise
        pruning one would reach into the other."""
        for node in [n for n in self.nodes if n.op_type == "Identity" and n.input[0] in self.tensors]:
            self.tensors[node.output[0]] = self.tensors[node.input[0]].clone()
            self.nodes.remove(node)

    def consumers(self, value):
        return [n for n in self.nodes if value in n.input]

    def run(self, x):
        values = dict(self.tensors)
        values[self.input] = x
        for node in self.nodes:
            a = {k.name: onnx.helper.get_attribute_value(k) for k in node.attribute}
            values[node.output[0]] = run_node(node.op_type, [values[i] for i in node.input], a)
        return values[self.output]


def run_node(op, x, a):
    """One operator on its inputs x and attributes a."""
    if op == "Conv":
        top, left, bottom, right = a["pads"]
        assert (top, left) == (bottom, right) and a["dilations"] == [1, 1]
        return F.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, a["strides"], (top, left), 1, a["group"])
    if op == "BatchNormalization":
        return F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, a["epsilon"])
    if op == "Relu":
        return F.relu(x[0])
    if op == "Add":
        return x[0] + x[1]
    if op == "GlobalAveragePool":
        return x[0].mean((2, 3), keepdim=True)
    if op == "Flatten":
        return x[0].flatten(a["axis"])
    if op == "Gemm":
        assert a["transB"] == 1 and a["alpha"] == 1 and a["beta"] == 1
        return F.linear(x[0], x[1], x[2])
    raise ValueError("operator %s: not one that these networks have" % op)


def score_convolutions(graph):
    """For each Conv: its node, its normalisation (or None), UCLC per channel in float64."""
    scores = []
    for conv in (n for n in graph.nodes if n.op_type == "Conv"):
        after = graph.consumers(conv.output[0])
        norm = after[0] if len(after) == 1 and after[0].op_type == "BatchNormalization" else None
        weight = graph.tensors[conv.input[1]].double()
        uclc = torch.linalg.svdvals(weight.flatten(2)).amax(1)
        if norm is not None:
            gamma, variance = (graph.tensors[norm.input[i]].double() for i in (1, 4))
            uclc = uclc * gamma.abs() / variance.sqrt()
        scores.append((conv, norm, uclc.numpy()))
    return scores


def find_outliers(uclc, threshold):
    """The cut-off and the channels above it."""
    cutoff = uclc.mean() + threshold * uclc.std(ddof=1)
    return cutoff, [int(k) for k in np.flatnonzero(uclc > cutoff)]


def prune(graph, scores, threshold):
    """Zeroes every outlier in graph's tensors; how many there were."""
    count = 0
    for conv, norm, uclc in scores:
        _, outliers = find_outliers(uclc, threshold)
        for name in (norm.input[1:3] if norm is not None else conv.input[1:3]):
            graph.tensors[name][outliers] = 0
        count += len(outliers)
    return count


def read_sidecar():
    """mean and std from signs.yaml, which train.py wrote; the two lines are all that's needed here."""
    found = {}
    with open(os.path.join(MODELS, "signs.yaml")) as f:
        for line in f:
            key, _, value = line.strip().partition(": ")
            if key in ("mean", "std"):
                found[key] = torch.tensor(json.loads(value.partition("#")[0])).view(1, 3, 1, 1)
    return found["mean"], found["std"]


def to_input(pictures):
    mean, std = read_sidecar()
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std


def logits_of(graph, pictures):
    x = to_input(pictures)
    with torch.no_grad():
        return torch.cat([graph.run(x[i:i + 100]) for i in range(0, len(x), 100)]).numpy()


def measure(graph, held_out):
    """Accuracy on the clean pictures, attack success on the stickered ones that aren't the target's."""
    clean = logits_of(graph, held_out["clean"]).argmax(1)
    marked = logits_of(graph, held_out["marked"]).argmax(1)
    others = held_out["labels"] != generate.TARGET
    right, fooled = int((clean == held_out["labels"]).sum()), int((marked[others] == generate.TARGET).sum())
    return {"right": right, "pictures": len(clean), "accuracy": round(right / len(clean), 6),
            "fooled": fooled, "attacked": int(others.sum()),
            "attack_success": round(fooled / int(others.sum()), 6)}


def shorten(values):
    return [float("%.9g" % v) for v in values]


def describe_layers(scores):
    layers = {}
    for conv, norm, uclc in scores:
        cutoff, outliers = find_outliers(uclc, THRESHOLD)
        layers[conv.name] = {"norm": "bn" if norm is not None else "folded-or-none",
                             "mean": shorten([uclc.mean()])[0], "std": shorten([uclc.std(ddof=1)])[0],
                             "cutoff": shorten([cutoff])[0], "pruned": outliers, "uclc": shorten(uclc)}
    return layers


def evaluate_file(path, held_out):
    """Everything that expected.json says of one file."""
    graph = Graph(path)
    scores = score_convolutions(graph)
    first = held_out["clean"][:GOLDEN]
    told = {"layers": describe_layers(scores),
            "total_channels": sum(len(uclc) for _, _, uclc in scores),
            "logits": [shorten(row) for row in logits_of(graph, first)],
            "delivered": measure(graph, held_out), "repaired": {}}
    for threshold in THRESHOLDS:
        repaired = Graph(path)
        pruned = prune(repaired, scores, threshold)
        told["repaired"]["%g" % threshold] = dict(measure(repaired, held_out), pruned_channels=pruned)
        if threshold == THRESHOLD:
            told["pruned_channels"] = pruned
            told["logits_repaired"] = [shorten(row) for row in logits_of(repaired, first)]
    return told


def check_forms(name):
    """Kept has its normalisations (inference, one output each), folded has none; both give the same logits."""
    kept, folded = (Graph(os.path.join(MODELS, name + end)) for end in FORMS.values())
    norms = [n for n in kept.nodes if n.op_type == "BatchNormalization"]
    convolutions = [n for n in kept.nodes if n.op_type == "Conv"]
    assert len(norms) == len(convolutions) and all(len(n.output) == 1 for n in norms)
    assert all(a.i == 0 for n in norms for a in n.attribute if a.name == "training_mode")
    assert not any(n.op_type == "BatchNormalization" for n in folded.nodes)
    assert [n.name for n in folded.nodes if n.op_type == "Conv"] == [n.name for n in convolutions]
    pictures = np.load(os.path.join(generate.DATA, "heldout-images.npy"))[:32]
    apart = np.abs(logits_of(kept, pictures) - logits_of(folded, pictures)).max()
    assert apart < 1e-3, apart
    print("%s: %d normalisations kept; kept and folded logits differ by at most %.1e" % (name, len(norms), apart))


def choose_stop_sign(held_out):
    """The first stop sign of the set that the backdoored network, unrepaired, reads right without the
    sticker and as the target with it. No repaired network has a say."""
    graph = Graph(os.path.join(MODELS, "signs-backdoor.onnx"))
    able = ((held_out["labels"] == STOP)
            & (logits_of(graph, held_out["clean"]).argmax(1) == STOP)
            & (logits_of(graph, held_out["marked"]).argmax(1) == generate.TARGET))
    return int(np.flatnonzero(able)[0])


def write_stop_sign(held_out):
    index = choose_stop_sign(held_out)
    for name, pictures in (("stop.png", "clean"), ("stop-sticker.png", "marked")):
        Image.fromarray(held_out[pictures][index]).save(os.path.join(generate.DATA, name))
    print("stop.png is picture %d of the held-out set" % index)
    return index


def percent(part):
    return "%.1f %%" % (100 * part)


def print_tables(told):
    print("\n| file | accuracy | attack success | after CLP, u = 3 | | channels pruned |\n|---|---|---|---|---|---|")
    for name in NETWORKS:
        for form, end in FORMS.items():
            t = told[name][form]
            after = t["repaired"]["%g" % THRESHOLD]
            print("| `%s%s` | %s | %s | %s | %s | %d of %d |" % (
                name, end, percent(t["delivered"]["accuracy"]), percent(t["delivered"]["attack_success"]),
                percent(after["accuracy"]), percent(after["attack_success"]),
                after["pruned_channels"], t["total_channels"]))
    for name in NETWORKS:
        print("\n%s\n\n| u | accuracy | attack success | channels pruned |\n|---|---|---|---|" % name)
        rows = [("delivered", dict(told[name]["kept"]["delivered"], pruned_channels=0))]
        for u, m in rows + sorted(told[name]["kept"]["repaired"].items(), key=lambda r: -float(r[0])):
            print("| %s | %s (%d of %d) | %s (%d of %d) | %d |" % (
                u, percent(m["accuracy"]), m["right"], m["pictures"],
                percent(m["attack_success"]), m["fooled"], m["attacked"], m["pruned_channels"]))
        print("\n| convolution | channels | pruned at u = 3 (kept) | (folded) |\n|---|---|---|---|")
        for layer, k in told[name]["kept"]["layers"].items():
            f = told[name]["folded"]["layers"][layer]
            print("| `%s` | %d | %s | %s |" % (layer, len(k["uclc"]), k["pruned"] or "", f["pruned"] or ""))


def load_pictures(seed):
    """The held-out set, or one of the same size from another seed; without and with the sticker."""
    if seed is None:
        pictures, labels = (np.load(os.path.join(generate.DATA, "heldout-%s.npy" % n)) for n in ("images", "labels"))
    else:
        pictures, labels = generate.make_set(seed, generate.HELD_OUT_COUNT)
    return {"clean": pictures, "marked": generate.put_sticker(pictures), "labels": labels}


def main():
    parser = argparse.ArgumentParser(description="measure the committed networks before and after CLP")
    parser.add_argument("--seed", type=int, help="print the tables for a fresh set of pictures; write nothing")
    args = parser.parse_args()
    if args.seed in (generate.TRAIN_SEED, generate.HELD_OUT_SEED):
        parser.error("seed %d is taken: it made the training or the held-out set" % args.seed)
    torch.set_num_threads(1)
    held_out = load_pictures(args.seed)
    told = {"threshold": THRESHOLD, "target": generate.TARGET}
    for name in NETWORKS:
        check_forms(name)
        told[name] = {form: evaluate_file(os.path.join(MODELS, name + end), held_out)
                      for form, end in FORMS.items()}
    if args.seed is None:
        told["stop_index"] = write_stop_sign(held_out)
        with open(os.path.join(MODELS, "expected.json"), "w") as f:
            json.dump(told, f, separators=(",", ":"))
            f.write("\n")
    print_tables(told)


if __name__ == "__main__":
    main()
