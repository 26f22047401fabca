"""What bench-peers writes: the tables of docs/benchmarks.md and the chart beside them."""
import math
import os

HEAD = """# Benchmarks

`make bench-peers` wrote this: median time of one run in ms, float32, the programs in turns on the same networks
(torchvision's, with random weights; `rn16` and `rn32` are small networks for pictures of 32 x 32). Figures of
different machines and hours do not compare; the ratios do. What one thread does is pinned to one core, what two
do to two.

Machine: %s. Load average while it ran: %.1f to %.1f%s.
ONNX Runtime %s (npm onnxruntime-node), all optimisations%s.

![times as fast as ONNX Runtime](%s)
"""


def cpu():
    with open("/proc/cpuinfo") as f:
        text = f.read()
    name = next((l.split(":")[1].strip() for l in text.splitlines() if l.startswith("model name")), "unknown")
    has = [f for f in ("avx2", "avx512f", "avx512_bf16") if " " + f in text]
    return "%s, %d CPUs, %s" % (name, os.cpu_count(), " ".join(has))


def pick(rows, batch, threads):
    return [r for r in rows if r["batch"] == batch and r["threads"] == threads]


def mean(rows):
    ratios = [r["ratio"] for r in rows if "ratio" in r and not r["name"].startswith("rn")]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None, len(ratios)


def speed_table(rows, wanted):
    torch = any("torch" in r for r in rows)
    lines = ["| network | clpd | ONNX Runtime | times as fast |%s%s" % (
                 " wanted |" if wanted else "", " PyTorch | times as fast |" if torch else ""),
             "|---|---|---|---|%s%s" % ("---|" if wanted else "", "---|---|" if torch else "")]
    for r in rows:
        if "error" in r:
            lines.append("| %s | not run: %s |%s" % (r["name"], r["error"].split(": ")[-1], " |" * (2 + bool(wanted) + 2 * torch)))
            continue
        beside = " %.2f | %.2f |" % (r["torch"], r["torch_ratio"]) if "torch" in r else " | |" if torch else ""
        lines.append("| %s | %.2f | %.2f | **%.2f** |%s%s" % (
            r["name"], r["ours"], r["ort"], r["ratio"], " %.2f |" % r["target"] if wanted else "", beside))
    all_of, n = mean(rows)
    return "\n".join(lines + (["", "Geometric mean over the %d networks for 224 x 224 pictures: %.2f." % (n, all_of)]
                              if n else [])) + "\n"


def accuracy_table(rows):
    lines = ["| network | largest difference | same best class |", "|---|---|---|"]
    for r in rows:
        if "error" in r:
            continue
        apart = "not measured" if r.get("difference") is None else "%.1e" % r["difference"]
        same = "%d of %d" % tuple(r["agreement"]) if r.get("agreement") else ""
        lines.append("| %s | %s | %s |" % (r["name"], apart, same))
    return "\n".join(lines) + "\n"


def page(rows, version, torch, load, realtime, chart):
    text = HEAD % (cpu(), min(load), max(load), ", all sides at real-time priority" if realtime else "", version,
                   "; PyTorch %s, eager" % torch if torch else "; PyTorch is not installed", chart)
    parts = [("One thread, batch 1", 1, 1), ("One thread, batch 8", 8, 1), ("Two threads, batch 1", 1, 2)]
    for title, batch, threads in parts:
        some = pick(rows, batch, threads)
        if some:
            text += "\n## %s\n\n%s" % (title, speed_table(some, batch == 1 and threads == 1))
    return text + """
## Accuracy

The largest difference of any output from that of the plain kernels, relative to the largest output; and on how
many of the real pictures at hand (CIFAR-10) both find the same best class.

""" + accuracy_table(pick(rows, 1, 1))


def bf16(rows):
    """`engine.precision: bf16` beside float32, both clpd's."""
    if not rows:
        return ""
    load = [r["load"] for r in rows]
    lines = ["", "## bfloat16", "",
             "clpd with `--precision bf16` beside clpd in float32, one thread, batch 1, by turns, on %s;" % cpu(),
             "load average %.1f to %.1f. The largest difference of any output, relative to the largest output; and on how many of" % (
                 min(load), max(load)),
             "the real pictures at hand (CIFAR-10) both find the same best class.%s" % (
                 " Intel's CPUs multiply pairs of bfloat16 at half the\nspeed of floats, so there clpd itself stays with float32."
                 if "Intel" in cpu() else ""), "",
             "| network | float32, ms | bf16, ms | times as fast | largest difference | same best class |",
             "|---|---|---|---|---|---|"]
    for r in rows:
        lines.append("| %s | %.2f | %.2f | **%.2f** | %s | %s |" % (
            r["name"], r["float32"], r["bf16"], r["ratio"],
            "not measured" if r["difference"] is None else "%.1e" % r["difference"],
            "%d of %d" % tuple(r["agreement"]) if r["agreement"] else ""))
    return "\n".join(lines) + "\n"


def chart(rows):
    """Bars: times as fast as ONNX Runtime, one thread and two, batch 1."""
    one, two = pick(rows, 1, 1), {r["name"]: r for r in pick(rows, 1, 2)}
    one = [r for r in one if "ratio" in r]
    most = max([3.0] + [r["ratio"] for r in one] + [r["ratio"] for r in two.values() if "ratio" in r])
    left, width, step = 150, 520, 34
    scale, height = width / most, 60 + step * len(one)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">'
           % (left + width + 60, height), '<rect width="100%" height="100%" fill="white"/>',
           '<text x="%d" y="18" font-weight="bold">Times as fast as ONNX Runtime, batch 1</text>' % left,
           '<rect x="%d" y="26" width="10" height="10" fill="#2a6f97"/><text x="%d" y="35">one thread</text>' % (left, left + 15),
           '<rect x="%d" y="26" width="10" height="10" fill="#a9d6e5"/><text x="%d" y="35">two threads</text>' % (left + 100, left + 115)]
    for i, r in enumerate(one):
        y = 48 + step * i
        out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (left - 8, y + 17, r["name"]))
        bars = [(r["ratio"], "#2a6f97")]
        if "ratio" in two.get(r["name"], {}):
            bars.append((two[r["name"]]["ratio"], "#a9d6e5"))
        for k, (ratio, colour) in enumerate(bars):
            out.append('<rect x="%d" y="%d" width="%.1f" height="11" fill="%s"/><text x="%.1f" y="%d" font-size="10">%.2f</text>'
                       % (left, y + 12 * k, ratio * scale, colour, left + ratio * scale + 4, y + 9 + 12 * k, ratio))
    x = left + scale
    out += ['<line x1="%.1f" y1="42" x2="%.1f" y2="%d" stroke="#888" stroke-dasharray="3 3"/>' % (x, x, height - 8), "</svg>"]
    return "\n".join(out) + "\n"
