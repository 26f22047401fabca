"""Torchvision's classifiers, exported and compared: numbers with PyTorch, pruned channels with the authors' rule.

For each network, in a process of its own:
  random weights, normalisation statistics from random pictures, a few channels made to stand out
  -> exported with normalisation kept and folded, operator sets 13 and 17, free batch
  -> `clpctl run --guard off` at batch 1 and 3 against PyTorch; `clpctl scan` against the rule in numpy
Results are kept in CACHE/results.json, so that --resume goes on where a run ended; docs/zoo.md is made from it after
every network, and says which ones were not run.
Run by scripts/zoo, with Debian's Python.
"""
import argparse
import collections
import datetime
import json
import os
import subprocess
import sys
import time
import zlib

import numpy as np

FORMS = [(form, opset) for form in ("kept", "folded") for opset in (13, 17)]
BATCHES = (1, 3)
THRESHOLDS = (3.0, 2.0)  # the default; and one at which far more is decided
# family: (prefix of its members, the small one); the longest prefix counts
FAMILIES = {
    "AlexNet": ("alexnet", "alexnet"),
    "ConvNeXt": ("convnext", "convnext_tiny"),
    "DenseNet": ("densenet", "densenet121"),
    "EfficientNet": ("efficientnet_b", "efficientnet_b0"),
    "EfficientNetV2": ("efficientnet_v2", "efficientnet_v2_s"),
    "GoogLeNet": ("googlenet", "googlenet"),
    "Inception": ("inception", "inception_v3"),
    "MaxViT": ("maxvit", "maxvit_t"),
    "MNASNet": ("mnasnet", "mnasnet0_5"),
    "MobileNetV2": ("mobilenet_v2", "mobilenet_v2"),
    "MobileNetV3": ("mobilenet_v3", "mobilenet_v3_small"),
    "RegNet-X": ("regnet_x", "regnet_x_400mf"),
    "RegNet-Y": ("regnet_y", "regnet_y_400mf"),
    "ResNet": ("resnet", "resnet18"),
    "ResNeXt": ("resnext", "resnext50_32x4d"),
    "ShuffleNetV2": ("shufflenet", "shufflenet_v2_x0_5"),
    "SqueezeNet": ("squeezenet", "squeezenet1_1"),
    "Swin": ("swin_", "swin_t"),
    "SwinV2": ("swin_v2", "swin_v2_t"),
    "VGG": ("vgg", "vgg11"),
    "ViT": ("vit", "vit_b_32"),
    "Wide ResNet": ("wide_resnet", "wide_resnet50_2"),
}
TRANSFORMERS = ("ConvNeXt", "MaxViT", "Swin", "SwinV2", "ViT")


def family_of(name):
    return max((f for f in FAMILIES if name.startswith(FAMILIES[f][0])), key=lambda f: len(FAMILIES[f][0]))


def tolerance_of(name):
    return 1e-3 if family_of(name) in TRANSFORMERS else 1e-4


# --- networks --------------------------------------------------------------------------------------------------


def trace(model, x):
    """Convolutions in the order in which they run, each with the normalisation that alone reads its very output."""
    import torch

    convs, outputs, shared, hooks = [], {}, set(), []

    def after_conv(module, _, out):
        outputs[id(out)] = (len(convs), out, out._version)  # the tensor is kept, so that its id stays its own
        convs.append([module, None])

    def before(module, inputs):
        at, out, version = outputs.get(id(inputs[0]) if inputs else None, (None, None, None))
        if out is None or out._version != version:
            return
        if isinstance(module, torch.nn.BatchNorm2d):
            convs[at][1] = module
        else:
            shared.add(at)

    for m in model.modules():
        if not list(m.children()):
            hooks.append(m.register_forward_pre_hook(before))
        if isinstance(m, torch.nn.Conv2d):
            hooks.append(m.register_forward_hook(after_conv))
    with torch.no_grad():
        model(x)
    for h in hooks:
        h.remove()
    return [(conv, None if at in shared else norm) for at, (conv, norm) in enumerate(convs)]


def randomise(model, x):
    """Weights that hide nothing: no zeros or ones left from the initialisation, statistics of real activations."""
    import torch

    with torch.no_grad():
        for p in model.parameters():
            if p.numel() > 1 and p.min() == p.max():  # biases, scales, zeroed heads, layer scales of 1e-6
                p.copy_(torch.rand_like(p) + 0.5 if 0 < p.flatten()[0] <= 1 else torch.randn_like(p) * 0.1)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for m in norms:
            m.bias.copy_(torch.randn_like(m.bias) * 0.2)
        pairs = trace(model, x)
        for conv, norm in pairs:
            k = int(torch.randint(conv.out_channels, ()))
            if conv.out_channels >= 16 and torch.rand(()) < 0.25:
                (conv.weight if norm is None else norm.weight)[k] *= 5
        for m in norms:
            m.train()
            m.momentum = 1.0
        model(x)
        for conv, norm in pairs:  # variances around 1, so that the epsilon in them is small
            if norm is not None:
                conv.weight /= norm.running_var.mean().sqrt()
        model(x)
        for m in norms:
            m.eval()
            m.running_mean += 0.05 * m.running_var.sqrt() * torch.randn_like(m.running_mean)
            m.running_var *= 0.8 + 0.5 * torch.rand_like(m.running_var)


def measure_noise(model, x):
    """By how much float32 differs from float64 in PyTorch itself."""
    import torch

    with torch.no_grad():
        a = model(x).double()
        b = model.double()(x.double())
    model.float()
    return float((a - b).abs().max() / b.abs().max())


def make(name):
    """The network, pictures, and its noise. Some random networks amplify rounding a thousandfold (EfficientNetV2
    with one seed: 9 % between float32 and float64 in PyTorch); they could tell nothing, so the next seed is taken."""
    import torch
    from torchvision import models

    plain = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    size = 299 if name == "inception_v3" else 224
    for seed in range(8):
        torch.manual_seed(zlib.crc32(name.encode()) + seed)
        model = models.get_model(name, weights=None, **plain).eval()
        randomise(model, torch.randn(2, 3, size, size))
        x = torch.randn(max(BATCHES), 3, size, size)
        noise = measure_noise(model, x[:1])
        if noise < tolerance_of(name) / 10:
            break
    return model, x, noise


def export(model, x, form, opset, path):
    import onnx
    import torch

    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False} if form == "kept" else {}
    folder = os.path.dirname(path)
    torch.onnx.export(model, x[:1], path, opset_version=opset, input_names=["input"], output_names=["output"],
                      dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}}, **kept)
    parts = [f for f in os.listdir(folder) if f != os.path.basename(path)]
    if parts:  # over 2 GB the exporter writes a file per tensor; the accepted form is one
        whole = onnx.load(path)
        for f in parts:
            os.remove(os.path.join(folder, f))
        onnx.save(whole, path, save_as_external_data=True, location=os.path.basename(path) + ".data")


# --- the authors' rule -----------------------------------------------------------------------------------------


def lipschitz(conv, norm, folded):
    """The rule has no epsilon; what the exporter folds into the weights has."""
    w = conv.weight.detach().numpy().astype(np.float64)
    w = w.reshape(w.shape[0], w.shape[1], -1)
    if norm is not None:
        variance = norm.running_var.numpy().astype(np.float64) + (norm.eps if folded else 0)
        scale = norm.weight.detach().numpy().astype(np.float64) / np.sqrt(variance)
        w = w * np.abs(scale)[:, None, None]
    return np.linalg.svd(w, compute_uv=False)[:, 0]


def prune(u, threshold):
    """Channels over the cut-off; and those so near to it that rounding decides."""
    cutoff = u.mean() + threshold * u.std(ddof=1) if len(u) > 1 else np.inf
    near = np.flatnonzero(np.abs(u - cutoff) < 1e-4 * cutoff)
    return set(np.flatnonzero(u > cutoff).tolist()), set(near.tolist())


def references(pairs):
    """For each convolution what to prune in the kept and the folded form, and the channels that may differ."""
    found = []
    for conv, norm in pairs:
        layer = {"channels": conv.out_channels, "norm": norm is not None}
        constants = lipschitz(conv, norm, False), lipschitz(conv, norm, True)
        for u in THRESHOLDS:
            (kept, near), (folded, near_folded) = (prune(c, u) for c in constants)
            layer[u] = {"kept": kept, "folded": folded, "either": near | near_folded | (kept ^ folded),
                        "near": near | near_folded}
        found.append(layer)
    return found


def mispaired(model, pairs):
    """How many normalisations the authors' code, which goes by the order of modules, gives another convolution."""
    import torch

    right = {id(norm): id(conv) for conv, norm in pairs if norm is not None}
    wrong, conv = 0, None
    for m in model.modules():
        if isinstance(m, torch.nn.Conv2d):
            conv = m
        elif isinstance(m, torch.nn.BatchNorm2d):
            wrong += right.get(id(m), 0) != id(conv)
    return wrong


def compare_scan(wanted, layers, form, u):
    """What is wrong with a scan, against the network's own modules; empty: nothing."""
    wrong = []
    if len(layers) != len(wanted):
        return ["%d convolutions, the network has %d" % (len(layers), len(wanted))]
    for layer, want in zip(layers, wanted):
        if layer["channels"] != want["channels"]:
            wrong.append("%s: %d channels, not %d" % (layer["name"], layer["channels"], want["channels"]))
        elif layer["scored"]:
            if (set(layer["pruned"]) ^ want[u][form]) - want[u]["near"]:
                wrong.append("u=%g, %s: pruned %s, not %s" %
                             (u, layer["name"], layer["pruned"], sorted(want[u][form])))
        elif want["norm"]:
            wrong.append("%s: unscored (%s), but a normalisation follows" % (layer["name"], layer["reason"]))
    return wrong


# --- one network -----------------------------------------------------------------------------------------------


def clpctl(build, *words):
    done = subprocess.run([os.path.join(build, "clpctl"), *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.strip().splitlines()


def reason(lines, path):
    last = lines[-1] if lines else "no message"
    return last.replace("clpctl: ", "").replace(path + ": ", "")


def run_both(build, path, x, want):
    """The largest difference over the batches, relative to the largest output; or why there is none."""
    folder, worst = os.path.dirname(path), 0.0
    for n in BATCHES:
        np.save(os.path.join(folder, "x.npy"), x[:n])
        rc, _, err = clpctl(build, "run", path, "--guard", "off", "--input", os.path.join(folder, "x.npy"),
                            "--output", os.path.join(folder, "y.npy"))
        if rc:
            return None, reason(err, path)
        got = np.load(os.path.join(folder, "y.npy"))
        if got.shape != want[:n].shape:
            return np.inf, "its output is %s, not %s" % (got.shape, want[:n].shape)
        difference = np.abs(got.astype(np.float64) - want[:n]).max() / np.abs(want[:n]).max()
        worst = max(worst, float(difference)) if np.isfinite(difference) else np.inf
    return worst, None


def scan_at(build, path, wanted, form, u):
    rc, out, err = clpctl(build, "scan", "--json", "--threshold", str(u), path)
    if rc > 1:
        return {"refused": reason(err, path)}
    report = json.loads(out)
    return {
        "verdict": report["verdict"],
        "scored": sum(layer["scored"] for layer in report["layers"]),
        "pruned": sum(len(layer["pruned"]) for layer in report["layers"]),
        # what has to be the same in all forms: whether a layer is scored, and its channels but for those where
        # epsilon or rounding decides
        "layers": [sorted(set(layer["pruned"]) - want[u]["either"]) if layer["scored"] else layer["reason"]
                   for layer, want in zip(report["layers"], wanted)],
        "channels": ["%d.%d" % (at, k) for at, layer in enumerate(report["layers"]) for k in layer["pruned"]],
        "wrong": compare_scan(wanted, report["layers"], form, u)[:5],
    }


def scan(build, path, wanted, form):
    return {"%g" % u: scan_at(build, path, wanted, form, u) for u in THRESHOLDS}


def run_form(build, folder, model, x, want, wanted, form, opset):
    path = os.path.join(folder, "%s-%d.onnx" % (form, opset))
    result = {}
    try:
        export(model, x, form, opset, path)
    except Exception as e:  # whatever the exporter can't do is its own
        return {"refused": "PyTorch's exporter: " + str(e).strip().splitlines()[0][:200]}
    result["difference"], why = run_both(build, path, x.numpy(), want)
    if why:
        result["refused" if result["difference"] is None else "wrong"] = why
    result["scan"] = scan(build, path, wanted, form)
    return result


def run_one(name, build, cache, keep):
    import torch

    begun = time.time()
    torch.set_num_threads(1)
    folder = os.path.join(cache, name)
    os.makedirs(folder, exist_ok=True)
    model, x, noise = make(name)
    with torch.no_grad():
        want = model(x).numpy().astype(np.float64)
    pairs = trace(model, x[:1])
    wanted = references(pairs)
    result = {"name": name, "mispaired": mispaired(model, pairs), "noise": noise, "forms": {},
              "undecided": {"%g" % u: sum(len(w[u]["either"]) for w in wanted) for u in THRESHOLDS}}
    for form, opset in FORMS:
        result["forms"]["%s %d" % (form, opset)] = run_form(build, folder, model, x, want, wanted, form, opset)
        for f in [] if keep else os.listdir(folder):
            os.remove(os.path.join(folder, f))
    if not keep:
        os.rmdir(folder)
    result["seconds"] = round(time.time() - begun)
    return result


# --- verdicts --------------------------------------------------------------------------------------------------


def scans_of(result, u=THRESHOLDS[0]):
    """The scans of each form that came to an end."""
    scans = [(form, r.get("scan", {}).get("%g" % u, {})) for form, r in result.get("forms", {}).items()]
    return [(form, s) for form, s in scans if "layers" in s]


def problems(result):
    """What must not be, in words; refusals are no problems here, they are listed by themselves."""
    if "broken" in result:
        return [result["broken"]]
    found = []
    for form, r in result["forms"].items():
        if r.get("difference") is not None and not r["difference"] <= tolerance_of(result["name"]):
            found.append("%s: differs by %.1e %s" % (form, r["difference"], r.get("wrong", "")))
    for u in THRESHOLDS:
        scans = scans_of(result, u)
        found += ["%s: %s" % (form, w) for form, s in scans for w in s["wrong"]]
        found += ["u=%g: %s and %s prune other channels" % (u, scans[0][0], form)
                  for form, s in scans[1:] if s["layers"] != scans[0][1]["layers"]]
    return found


def apart(result, u):
    """Channels that one of the four files loses and another keeps, undecided ones and all."""
    found = [set(s["channels"]) for _, s in scans_of(result, u)]
    return len(set.union(*found) - set.intersection(*found)) if found else 0


def refusals(result):
    whys = collections.OrderedDict()
    for form, r in result.get("forms", {}).items():
        if "refused" in r:
            whys.setdefault(r["refused"], []).append(form)
    return whys


def tell(result):
    words = ["%s %.0e" % (f, r["difference"]) for f, r in result.get("forms", {}).items()
             if r.get("difference") is not None]
    for u in THRESHOLDS:
        for _, s in scans_of(result, u)[:1]:
            words.append("u=%g: %s, %d channels, %d apart" % (u, s["verdict"], s["pruned"], apart(result, u)))
    words += ["refused (%s): %s" % (", ".join(f), why) for why, f in refusals(result).items()]
    words += ["WRONG: " + p for p in problems(result)]
    print("%-20s %4d s  %s" % (result["name"], result.get("seconds", 0), "; ".join(words)), flush=True)


# --- the page --------------------------------------------------------------------------------------------------


def cpu():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return "%s, %d cores" % (names[0] if names else "unknown processor", os.cpu_count())


def cell(results, form):
    ran = [r.get("forms", {}).get(form, {}).get("difference") for r in results]
    ran = [d for d in ran if d is not None]
    return "%.1e" % max(ran) if ran else "–"


def row(family, results):
    ran = [x for x in results if any(r.get("difference") is not None for r in x.get("forms", {}).values())]
    applicable = any(s["verdict"] != "not-applicable" for x in results for _, s in scans_of(x))
    cells = [family, "%d of %d" % (len(ran), members_of(family)), "%.1e" % max(x.get("noise", 0) for x in results)]
    cells += [cell(results, "%s %d" % f) for f in FORMS]
    for u in THRESHOLDS:
        pruned = sum(s["pruned"] for x in results for _, s in scans_of(x, u)[:1])
        cells.append("%d, %d" % (pruned, sum(apart(x, u) for x in results)) if applicable else "–")
    cells.append("**no**" if any(problems(x) for x in results) else "yes" if applicable else "not applicable")
    cells.append(str(sum(x.get("mispaired", 0) for x in results) or ""))
    return "| " + " | ".join(cells) + " |"


PAGE = """# The zoo

Written by `scripts/zoo` on {date}; {cpu}; PyTorch {torch}, torchvision {vision}.

Torchvision's classifiers with random weights, normalisation statistics of random pictures and, in a quarter of the
convolutions, one channel scaled up fivefold, so that there is something to find. Exported with normalisation kept
and folded, operator sets 13 and 17, free batch.

- Numbers: the largest |a − b| over the largest |b|, `clpctl run --guard off` against PyTorch, batches of 1 and 3, the
  worst of the family. It has to be at most 1e-4; 1e-3 for transformers and ConvNeXt. Noise: the same between float32
  and float64 in PyTorch itself.
- CLP at u = 3, the default, and u = 2: how many channels the kept form at operator set 13 loses, and how many are
  lost by some of the four files but not by all ("apart"). Those are the ones so near to the cut-off that the epsilon
  inside a folded normalisation, which the rule does not have, or rounding puts them on the one side or the other:
  each form is right by its own weights there. The folded form does not say what its epsilon was, so nothing can
  undo this.
- Agrees: but for these, all four files give the same channels at both thresholds, and each gives those of the rule in
  numpy (singular values in double precision, with that form's epsilon) with each normalisation paired to the
  convolution whose output it reads.
- Mispaired: normalisations that the authors' code, which goes by the order of modules, would give to another
  convolution.

| family | ran | noise | kept 13 | kept 17 | folded 13 | folded 17 | u = 3: pruned, apart | u = 2: pruned, apart | agrees | mispaired |
|---|---|---|---|---|---|---|--:|--:|---|--:|
{rows}

{members}
"""


def list_by(results, words_of):
    """Members under each thing that is said of them."""
    said = collections.OrderedDict()
    for r in results:
        for words in words_of(r):
            said.setdefault(words, []).append(r["name"])
    return ["- %s: %s" % (", ".join(names), words) for words, names in said.items()]


def write_page(path, results):
    import torch
    import torchvision

    families = collections.OrderedDict()
    for r in sorted(results, key=lambda r: (family_of(r["name"]).lower(), r["name"])):
        families.setdefault(family_of(r["name"]), []).append(r)
    in_order = [r for rs in families.values() for r in rs]
    refused = list_by(in_order, lambda r: ["%s (%s)" % (why, ", ".join(f) if len(f) < len(FORMS) else "all four")
                                           for why, f in refusals(r).items()])
    wrong = list_by(in_order, problems)
    members = "Run: " + ", ".join(r["name"] for r in in_order) + "."
    absent = [n for n in architectures() if n not in {r["name"] for r in results}]
    members += "\n\nNot run: %s." % (", ".join(absent) or "none")
    for title, lines in (("Wrong", wrong), ("Refused", refused)):
        if lines:
            members += "\n\n## %s\n\n%s" % (title, "\n".join(lines))
    with open(path, "w") as f:
        f.write(PAGE.format(date=datetime.date.today(), cpu=cpu(), torch=torch.__version__.split("+")[0],
                            vision=torchvision.__version__, members=members,
                            rows="\n".join(row(f, rs) for f, rs in families.items())))


# --- the run ---------------------------------------------------------------------------------------------------


def architectures():
    """All of them: a small member of each family first, then by size, so that a run cut short says the most."""
    from torchvision import models

    names = models.list_models(module=models)
    small = [member for _, member in FAMILIES.values()]
    rest = sorted((models.get_model_weights(n).DEFAULT.meta["num_params"], n) for n in names if n not in small)
    return small + [n for _, n in rest]


def members_of(family):
    return sum(family_of(n) == family for n in architectures())


def choose(args):
    names = architectures()
    if args.only:
        unknown = [n for n in args.only.split(",") if n not in names]
        if unknown:
            sys.exit("zoo: torchvision has no %s" % ", ".join(unknown))
        return args.only.split(",")
    if args.families == "all":
        return names
    if args.families == "small":
        return names[:len(FAMILIES)]
    wanted = [f.lower() for f in args.families.split(",")]
    return [n for n in names if family_of(n).lower() in wanted]


def run_apart(name, args):
    """In a process of its own: memory goes back, and what crashes costs one network."""
    words = [sys.executable, __file__, "--one", name, "--build", args.build, "--cache", args.cache]
    log = os.path.join(args.cache, name + ".log")
    with open(log, "w") as err:
        done = subprocess.run(words + (["--keep"] if args.keep else []), stdout=subprocess.PIPE, stderr=err, text=True)
    if done.returncode == 0:
        os.remove(log)
        return json.loads(done.stdout.splitlines()[-1])
    return {"name": name, "broken": "the script ended with status %d; see %s" % (done.returncode, log)}


def main():
    parser = argparse.ArgumentParser(prog="scripts/zoo", description="torchvision's classifiers against PyTorch")
    parser.add_argument("--build", default="build")
    parser.add_argument("--cache", default="build/zoo", help="where exported files go")
    parser.add_argument("--page", default="docs/zoo.md")
    parser.add_argument("--families", default="all", help="all, small (one of each), or names: ResNet,ViT")
    parser.add_argument("--only", help="members by name")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no network after these")
    parser.add_argument("--keep", action="store_true", help="keep the exported files")
    parser.add_argument("--resume", action="store_true", help="leave out what the last run has results of")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run_one(args.one, args.build, args.cache, args.keep)))
        return 0
    begun = time.time()
    os.makedirs(args.cache, exist_ok=True)
    kept, results = os.path.join(args.cache, "results.json"), {}
    if args.resume and os.path.exists(kept):
        with open(kept) as f:
            results = json.load(f)
    for name in choose(args):
        if name in results or time.time() - begun > 60 * args.minutes:
            continue
        results[name] = run_apart(name, args)
        tell(results[name])
        with open(kept, "w") as f:
            json.dump(results, f, indent=1)
        write_page(args.page, list(results.values()))
    wrong = [name for name, r in results.items() if problems(r)]
    print("%d networks, %d with something wrong: %s" % (len(results), len(wrong), " ".join(wrong) or "none"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
