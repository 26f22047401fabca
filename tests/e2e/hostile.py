"""Hostile model files, made the same each time: one for each kind of mistake (mistakes), and any number of
mutations of good ones (mutations). Protobuf is written by hand, since no library would write most of these."""
import copy
import random
import struct

FLOAT, INT32, INT64, STRING, DOUBLE = 1, 6, 7, 8, 11
A_FLOAT, A_INT, A_STRING, A_TENSOR, A_GRAPH, A_FLOATS, A_INTS, A_STRINGS = 1, 2, 3, 4, 5, 6, 7, 8


# ---- protobuf ----

def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def number(field, n):
    return varint(field << 3) + varint(n)


def chunk(field, payload):
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def word(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


# ---- ONNX: plain dictionaries that are written out; "extra" is appended to the message as it stands ----

def tensor(name, dims, values=None, dtype=FLOAT, raw=None, extra=b"", dims_bytes=None):
    count = 1
    for d in dims:
        count *= d
    if values is None:
        values = [((i * 37 + len(name) * 11) % 19 - 9) / 16 for i in range(max(count, 0))]
    return {"name": name, "dims": list(dims), "values": values, "dtype": dtype, "raw": raw, "extra": extra}


def write_tensor(t):
    out = b"".join(number(1, d) for d in t["dims"])
    if t["dtype"] is not None:
        out += number(2, t["dtype"])
    out += chunk(8, t["name"])
    raw = t["raw"]
    if raw is None:
        code = {FLOAT: "f", INT64: "q", INT32: "i", DOUBLE: "d"}.get(t["dtype"], "f")
        raw = struct.pack(f"<{len(t['values'])}{code}", *t["values"])
    return out + (chunk(9, raw) if raw != b"" else b"") + t["extra"]


def attribute(name, value, kind=None):
    out = chunk(1, name)
    if kind is None:
        kind = (A_INT if isinstance(value, int) else A_FLOAT if isinstance(value, float) else A_STRING
                if isinstance(value, (str, bytes)) else A_TENSOR if isinstance(value, dict) else
                A_FLOATS if value and isinstance(value[0], float) else A_INTS)
    if isinstance(value, int):
        out += number(3, value)
    elif isinstance(value, float):
        out += word(2, value)
    elif isinstance(value, (str, bytes)):
        out += chunk(4, value)
    elif isinstance(value, dict):
        out += chunk(5, write_tensor(value))
    elif value and isinstance(value[0], float):
        out += b"".join(word(7, v) for v in value)
    else:
        out += b"".join(number(8, v) for v in value)
    return out + number(20, kind)


def node(op, inputs, outputs, name="", domain="", extra=b"", **attributes):
    return {"op": op, "in": list(inputs), "out": list(outputs), "name": name or f"n_{op}", "domain": domain,
            "attributes": {k: attribute(k, v) for k, v in attributes.items()}, "extra": extra}


def write_node(n):
    out = b"".join(chunk(1, i) for i in n["in"]) + b"".join(chunk(2, o) for o in n["out"])
    out += chunk(3, n["name"]) + (chunk(4, n["op"]) if n["op"] is not None else b"")
    out += b"".join(chunk(5, a) for a in n["attributes"].values())
    return out + (chunk(7, n["domain"]) if n["domain"] else b"") + n["extra"]


def value(name, dims, dtype=FLOAT, body=None):
    if body is None:
        shape = b"".join(chunk(1, chunk(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
        body = chunk(1, number(1, dtype) + chunk(2, shape))
    return {"name": name, "body": body}


def write_value(v):
    return chunk(1, v["name"]) + chunk(2, v["body"])


def write(m):
    g = b"".join(chunk(1, write_node(n)) for n in m["nodes"]) + chunk(2, "g")
    g += b"".join(chunk(5, write_tensor(t)) for t in m["tensors"])
    g += b"".join(chunk(11, write_value(v)) for v in m["inputs"])
    g += b"".join(chunk(12, write_value(v)) for v in m["outputs"]) + m["graph_extra"]
    out = b"" if m["ir"] is None else number(1, m["ir"])
    out += b"".join(chunk(8, (chunk(1, d) if d else b"") + number(2, v)) for d, v in m["opsets"])
    return out + (chunk(7, g) if m["graph"] else b"") + m["extra"]


def base():
    """Two convolutions with all that usually goes with them: [N,3,8,8] -> [N,5]."""
    return {"ir": 8, "opsets": [("", 17)], "graph": True, "extra": b"", "graph_extra": b"",
            "nodes": [node("Conv", ["x", "w0", "b0"], ["c0"], "conv", kernel_shape=[3, 3], strides=[1, 1],
                           pads=[1, 1, 1, 1], dilations=[1, 1], group=1),
                      node("BatchNormalization", ["c0", "s", "t", "m", "v"], ["n0"], "norm", epsilon=1e-5),
                      node("Relu", ["n0"], ["r0"], "relu"),
                      node("MaxPool", ["r0"], ["p0"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
                      node("Conv", ["p0", "w1"], ["c1"], "conv2", kernel_shape=[1, 1]),
                      node("Add", ["c1", "p0"], ["a0"], "add"),
                      node("GlobalAveragePool", ["a0"], ["g0"], "mean"),
                      node("Flatten", ["g0"], ["f0"], "flat", axis=1),
                      node("Gemm", ["f0", "w2", "b2"], ["y"], "linear", alpha=1.0, beta=1.0, transB=1)],
            "tensors": [tensor("w0", [8, 3, 3, 3]), tensor("b0", [8]), tensor("s", [8]), tensor("t", [8]),
                        tensor("m", [8]), tensor("v", [8], [1.0] * 8), tensor("w1", [8, 8, 1, 1]),
                        tensor("w2", [5, 8]), tensor("b2", [5])],
            "inputs": [value("x", ["N", 3, 8, 8])], "outputs": [value("y", ["N", 5])]}


# ---- one for each kind of mistake ----

class Mistakes:
    """Names to bytes. What ends in "?" may be taken as well as refused: it is nobody's mistake but odd."""

    def __init__(self):
        self.made = {}

    def raw(self, name, content):
        assert name not in self.made, name
        self.made[name] = content

    def change(self, name, change):
        m = copy.deepcopy(base())
        change(m)
        self.raw(name, write(m))


def by_name(m, name):
    return next(x for x in m["tensors"] + m["nodes"] if x["name"] == name)


def container(out):
    good = write(base())
    out.raw("text", b"Dear Sir,\nthis is no model at all.\n" * 40)
    out.raw("zip", b"PK\x03\x04" + bytes(range(256)) * 8)
    out.raw("gzip", b"\x1f\x8b\x08\x00" + bytes(range(256)) * 8)
    out.raw("png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    out.raw("elf", b"\x7fELF\x02\x01\x01" + bytes(2000))
    out.raw("json", b'{"ir_version": 8, "graph": {}}')
    out.raw("pickle", b"\x80\x02cos\nsystem\nU\x02id\x85R." * 20)
    out.raw("hdf5", b"\x89HDF\r\n\x1a\n" + bytes(2000))
    out.raw("utf16", good.decode("latin1").encode("utf-16"))
    out.raw("zeros", bytes(1 << 20))
    out.raw("ones", b"\xff" * 4096)
    out.raw("base64", __import__("base64").b64encode(good))
    out.raw("line-ends", good.replace(b"\n", b"\r\n"))
    out.raw("wire-type-6", good + b"\x0e\x00")
    out.raw("wire-type-7", good + b"\x0f\x00")
    out.raw("group", good + b"\x0b\x0c")
    out.raw("field-0", good + b"\x02\x00")
    out.raw("field-too-high", good + varint((1 << 35) << 3) + b"\x00")
    out.raw("varint-of-11-bytes", good + b"\x08" + b"\x80" * 10 + b"\x01")
    out.raw("varint-without-end", good + b"\x08" + b"\xff" * 9)
    for bits in (31, 32, 63, 64):
        out.raw(f"length-{bits}-bits", good + b"\x3a" + varint((1 << bits) - 1) + b"x")
    for part in (1, 2, 5, 10, 50, 90, 99):
        out.raw(f"cut-at-{part}-percent", good[:max(1, len(good) * part // 100)])
    out.raw("last-byte-missing", good[:-1])
    out.raw("twice", good + good)
    out.raw("graph-in-graph", number(1, 8) + chunk(8, number(2, 17)) + chunk(7, chunk(7, good)))
    nested = b""
    for _ in range(3000):
        nested = chunk(6, chunk(1, chunk(5, nested)))
    m = base()
    m["nodes"][0]["extra"] = chunk(5, chunk(1, "deep") + nested + number(20, A_GRAPH))
    out.raw("nested-3000-deep", write(m))


def header(out):
    for ir in (0, 1, 2, 13, 1000, (1 << 63), (1 << 64) - 1):
        out.change(f"ir-{ir}", lambda m: m.update(ir=ir))
    out.change("no-ir", lambda m: m.update(ir=None))
    for v in (0, 1, 6, 24, 1000, (1 << 64) - 1):
        out.change(f"opset-{v}", lambda m: m.update(opsets=[("", v)]))
    out.change("no-opset", lambda m: m.update(opsets=[]))
    out.change("two-opsets", lambda m: m.update(opsets=[("", 17), ("", 9)]))
    out.change("foreign-opset-only", lambda m: m.update(opsets=[("com.example", 1)]))
    out.change("no-graph", lambda m: m.update(graph=False))
    out.change("two-graphs?", lambda m: m.update(extra=chunk(7, chunk(2, "another"))))
    out.change("training-info?", lambda m: m.update(extra=chunk(20, chunk(1, b""))))
    out.change("function", lambda m: m.update(extra=chunk(25, chunk(1, "Relu") + chunk(10, ""))))


def graph(out):
    out.change("no-nodes", lambda m: m.update(nodes=[]))
    out.change("no-inputs", lambda m: m.update(inputs=[]))
    out.change("no-outputs", lambda m: m.update(outputs=[]))
    out.change("two-inputs", lambda m: m["inputs"].append(value("z", ["N", 3, 8, 8])))
    out.change("two-like-inputs", lambda m: m["inputs"].append(m["inputs"][0]))
    out.change("output-undefined", lambda m: m.update(outputs=[value("nowhere", ["N", 5])]))
    out.change("output-is-the-input", lambda m: m.update(outputs=[value("x", ["N", 3, 8, 8])]))
    out.change("output-is-a-weight", lambda m: m.update(outputs=[value("w0", [8, 3, 3, 3])]))
    for dtype in (0, INT32, INT64, STRING, DOUBLE, 9, 10, 14, 16, 99):
        odd = "?" if dtype in (10, DOUBLE, 16) else ""
        out.change(f"input-type-{dtype}{odd}", lambda m: m.update(inputs=[value("x", ["N", 3, 8, 8], dtype)]))
    out.change("input-sequence", lambda m: m.update(inputs=[value("x", [], body=chunk(4, chunk(1, b"")))]))
    out.change("input-without-type", lambda m: m.update(inputs=[value("x", [], body=b"")]))
    out.change("input-without-shape", lambda m: m.update(inputs=[value("x", [], body=chunk(1, number(1, 1)))]))
    shapes = {"zero?": [0, 3, 8, 8], "no-channels": ["N", 0, 8, 8], "negative": ["N", -3, 8, 8],
              "huge": ["N", 1 << 62, 8, 8], "overflow": ["N", 1 << 21, 1 << 21, 1 << 21], "rank-0": [], "rank-1": ["N"],
              "rank-9": ["N"] + [2] * 8, "rank-1000": ["N"] + [1] * 1000, "symbolic-height": ["N", 3, "H", "W"],
              "batch-7?": [7, 3, 8, 8], "wrong-channels": ["N", 4, 8, 8], "large": ["N", 3, 100000, 100000],
              "same-symbol-twice": ["N", 3, "N", 8]}
    for name, dims in shapes.items():
        out.change(f"input-{name}", lambda m: m.update(inputs=[value("x", dims)]))
    out.change("node-without-operator", lambda m: m["nodes"][2].update(op=None))
    out.change("node-with-empty-operator", lambda m: m["nodes"][2].update(op=""))
    out.change("node-without-outputs", lambda m: m["nodes"][2].update(out=[]))
    out.change("node-with-empty-output", lambda m: m["nodes"][2].update(out=[""]))
    out.change("node-without-inputs", lambda m: m["nodes"][2].update({"in": []}))
    out.change("unknown-operator", lambda m: m["nodes"][2].update(op="Frobnicate"))
    out.change("operator-in-other-case", lambda m: m["nodes"][2].update(op="RELU"))
    out.change("foreign-domain", lambda m: m["nodes"][2].update(domain="com.example"))
    for op in ("If", "Loop", "Scan"):
        body = chunk(5, chunk(1, "body") + chunk(6, chunk(2, "inner")) + number(20, A_GRAPH))
        out.change(f"control-{op}", lambda m: m["nodes"][2].update(op=op, extra=body))
    out.change("sub-graph-attribute", lambda m: m["nodes"][2].update(
        extra=chunk(5, chunk(1, "a") + chunk(6, chunk(2, "inner")) + number(20, A_GRAPH))))
    out.change("cycle", lambda m: m["nodes"][0].update({"in": ["f0", "w0", "b0"]}))
    out.change("feeds-itself", lambda m: m["nodes"][2].update({"in": ["r0"]}))
    out.change("used-before-defined", lambda m: m["nodes"].reverse())
    out.change("undefined-input", lambda m: m["nodes"][2].update({"in": ["nothing"]}))
    out.change("defined-twice", lambda m: m["nodes"][4].update(out=["c0"]))
    out.change("shadows-the-input", lambda m: m["nodes"][2].update(out=["x"]))
    out.change("shadows-a-weight", lambda m: m["nodes"][2].update(out=["w2"]))
    out.change("weight-twice", lambda m: m["tensors"].append(m["tensors"][0]))
    out.change("weight-without-a-name", lambda m: by_name(m, "w0").update(name=""))
    out.change("sparse-weight", lambda m: m.update(graph_extra=chunk(15, chunk(1, write_tensor(tensor("q", [4]))))))
    out.change("name-of-a-megabyte?", lambda m: m["nodes"][2].update(name="n" * (1 << 20)))
    out.change("name-with-control-characters?", lambda m: m["nodes"][2].update(name="a\x1b[2J\n\r\x07"))
    out.change("bad-utf-8-in-a-name?", lambda m: m["nodes"][2].update(name=b"\xff\xfe\xc0\x80"))
    out.change("control-characters-in-an-operator", lambda m: m["nodes"][2].update(op="\x1b[31mRelu\n"))
    out.change("a-hundred-thousand-nodes", lambda m: m.update(nodes=[
        node("Relu", ["x" if i == 0 else f"v{i - 1}"], ["y" if i == 99999 else f"v{i}"]) for i in range(100000)]))
    out.change("fan-out-bomb", lambda m: m.update(nodes=[
        node("Concat", [f"d{i - 1}" if i else "x"] * 2, [f"d{i}" if i < 59 else "y"], axis=1) for i in range(60)]))
    out.change("mixes-the-batch", lambda m: m["nodes"][7].update(attributes={"axis": attribute("axis", 0)}))


def tensors(out):
    def weight(name, **fields):
        out.change(f"weight-{name}", lambda m: by_name(m, "w0").update(**fields))
    for dtype in (None, 0, 2, 3, INT32, INT64, STRING, 9, 10, DOUBLE, 14, 15, 16, 17, 20, 21, 99, 1 << 31):
        weight(f"type-{dtype}", dtype=dtype, raw=bytes(864))
    weight("short", raw=bytes(860))
    weight("long", raw=bytes(868))
    weight("odd", raw=bytes(863))
    weight("empty", raw=b"")
    weight("raw-and-floats", extra=word(4, 1.0))
    weight("segment", extra=chunk(3, number(1, 0) + number(2, 10)))
    weight("rank-20", dims=[1] * 16 + [8, 3, 3, 3])
    weight("flat", dims=[216])
    weight("negative-dimension", dims=[8, -3, 3, -3])
    weight("overflow", dims=[1 << 32, 1 << 32, 3, 3])
    weight("zero-channels", dims=[0, 3, 3, 3], raw=b"")
    weight("other-channels", dims=[8, 9, 3, 1])
    weight("scalar", dims=[])
    for name, pattern in {"nan": b"\x00\x00\xc0\x7f", "inf": b"\x00\x00\x80\x7f", "minus-inf": b"\x00\x00\x80\xff",
                          "signalling-nan": b"\x01\x00\x80\x7f"}.items():
        weight(name, raw=bytes(400) + pattern + bytes(460))
    weight("huge-values?", raw=struct.pack("<f", 3e38) * 216)
    weight("denormals?", raw=b"\x01\x00\x00\x00" * 216)

    def stored(name, *pairs, location=1):
        entries = b"".join(chunk(13, chunk(1, k) + chunk(2, v)) for k, v in pairs)
        weight(f"stored-{name}", raw=b"", extra=entries + number(14, location))
    stored("nowhere")
    stored("without-a-name", ("offset", "0"))
    for name, path in {"above": "../secret", "root": "/etc/passwd", "dot": ".", "dots": "..", "below": "a/b", "empty": "",
                       "nul": "a\0b", "long": "n" * 5000, "proc": "/proc/self/environ", "itself": "model.onnx",
                       "backslash": "..\\secret"}.items():
        stored(f"at-{name}", ("location", path))
    for key, text in (("offset", "-1"), ("offset", "x"), ("offset", "9" * 30), ("length", "-1"), ("length", "1e3"),
                      ("length", "18446744073709551615")):
        stored(f"{key}-{text[:5]}", ("location", "weights"), (key, text))
    stored("two-locations", ("location", "a"), ("location", "b"))
    weight("data-location-7", extra=number(14, 7))
    for which in "stmv":
        out.change(f"norm-{which}-short", lambda m: by_name(m, which).update(dims=[7], values=[1.0] * 7))
        out.change(f"norm-{which}-nan", lambda m: by_name(m, which).update(values=[float("nan")] * 8))
    out.change("norm-variance-0", lambda m: by_name(m, "v").update(values=[0.0] * 8))
    out.change("norm-variance-negative", lambda m: by_name(m, "v").update(values=[1.0] * 7 + [-1.0]))
    out.change("linear-shape", lambda m: by_name(m, "w2").update(dims=[8, 5]))
    out.change("linear-bias", lambda m: by_name(m, "b2").update(dims=[4], values=[0.0] * 4))


def attributes(out):
    def give(where, name, what, data, kind=None):
        out.change(f"{where}-{name}-{what}",
                   lambda m: by_name(m, where)["attributes"].update({name: attribute(name, data, kind)}))
    for name in ("kernel_shape", "strides", "dilations", "pads"):
        good = [1] * (4 if name == "pads" else 2)
        give("conv", name, "one-too-few", good[1:])
        give("conv", name, "one-too-many", good + [1])
        give("conv", name, "negative", [-1] * len(good))
        give("conv", name, "huge", [1 << 40] * len(good))
        give("conv", name, "floats", [1.0] * len(good))
        give("conv", name, "text", "same")
        give("conv", name, "claims-to-be-text", good, A_STRING)
        if name != "pads":
            give("conv", name, "zero", [0] * len(good))
    for group in (0, -1, 2, 3, 1 << 40):
        give("conv", "group", str(group), group)
    give("conv", "group", "float", 1.0)
    give("conv", "auto_pad", "unknown", "SAME_BOTH")
    give("conv", "auto_pad", "int", 3)
    give("conv", "unheard_of", "int", 3)
    for name in ("kernel_shape", "strides"):
        give("pool", name, "zero", [0, 0])
        give("pool", name, "huge", [1 << 40] * 2)
        give("pool", name, "one", [2])
    give("pool", "pads", "as-large-as-the-window", [2, 2, 2, 2])
    give("pool", "ceil_mode", "7", 7)
    give("pool", "storage_order", "1?", 1)
    out.change("pool-without-window", lambda m: by_name(m, "pool")["attributes"].pop("kernel_shape"))
    for name, data in {"nan": float("nan"), "inf": float("inf"), "negative": -1.0, "int": 1}.items():
        give("norm", "epsilon", name, data)
    give("norm", "training_mode", "1", 1)
    for axis in (9, -9, 2):
        give("flat", "axis", str(axis), axis)
    for name in ("alpha", "beta"):
        give("linear", name, "nan", float("nan"))
        give("linear", name, "inf", float("inf"))
        give("linear", name, "int", 1)
    give("linear", "transA", "1", 1)
    give("linear", "transB", "0", 0)
    out.change("conv-attribute-twice", lambda m: by_name(m, "conv").update(extra=chunk(5, attribute("group", 2))))
    out.change("conv-attribute-without-name", lambda m: by_name(m, "conv").update(extra=chunk(5, number(3, 1))))
    out.change("conv-attribute-by-reference", lambda m: by_name(m, "conv").update(
        extra=chunk(5, chunk(1, "auto_pad") + chunk(21, "outer") + number(20, A_STRING))))


def operators(out):
    """Each operator that has a rule: without an operand, and with an output that no operator has."""
    ops = ("Abs Add AveragePool BatchNormalization Cast Ceil Clip Concat Conv ConvTranspose Div Dropout Einsum Elu Erf Exp "
           "Expand Flatten Floor Gather Gemm GlobalAveragePool GlobalMaxPool HardSigmoid HardSwish Identity "
           "InstanceNormalization LRN LayerNormalization LeakyRelu MatMul MaxPool Mul Neg PRelu Pad Pow ReduceMean Relu "
           "Reshape Resize Shape Sigmoid Slice Softmax Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Unsqueeze Where").split()
    for op in ops:
        out.change(f"op-{op}-no-operand", lambda m: m["nodes"].__setitem__(2, node(op, [], ["r0"], "odd")))
        out.change(f"op-{op}-twelfth-output", lambda m: m["nodes"].__setitem__(
            2, node(op, ["n0"], [f"q{i}" for i in range(11)] + ["r0"], "odd")))


def mistakes():
    """{name: bytes}, in an order that stays."""
    out = Mistakes()
    for part in (container, header, graph, tensors, attributes, operators):
        part(out)
    return out.made


# ---- mutations ----

def mutate(rng, good, weights):
    """One file out of a good one. `weights`: where most of its bytes, which mean little, begin and end."""
    b = bytearray(good)

    def place():
        at = rng.randrange(len(b))
        if weights[0] <= at < weights[1] and rng.random() < 0.9:  # else the structure would hardly ever be hit
            at = rng.randrange(weights[0]) if rng.random() < 0.5 else rng.randrange(min(weights[1], len(b) - 1), len(b))
        return at
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at, size, kind = place(), rng.choice((1, 1, 2, 4, 16, 200)), rng.randrange(9)
        if kind == 0:
            b[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            b[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            del b[at:at + size]
        elif kind == 3:
            b[at:at] = bytes(rng.randrange(256) for _ in range(size))
        elif kind == 4:
            b[at:at] = b[at:at + size]
        elif kind == 5:
            other = place()
            b[at:at + size], b[other:other + size] = b[other:other + size], b[at:at + size]
        elif kind == 6:
            b[at:at + size] = bytes(len(b[at:at + size]))
        elif kind == 7:
            b[at:at + 10] = varint(rng.choice((0, 1, 127, 128, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)))
        elif rng.random() < 0.2:
            del b[max(1, at):]
        if len(b) < 2:
            b = bytearray(good)
    return bytes(b)


def mutations(count, files, seed=20220801):
    """`count` files; a third out of `files` (bytes), the others out of the small network above."""
    rng, small = random.Random(seed), write(base())
    for i in range(count):
        if files and i % 3 == 0:
            good = files[i // 3 % len(files)]
            yield mutate(rng, good, (len(good) // 50, len(good) * 49 // 50))
        else:
            yield mutate(rng, small, (0, 0))
