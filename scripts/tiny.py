"""Writes ONNX files of networks that do next to nothing, so that what is left to measure is the way to them.

usage: tiny.py FLOATS FILE      input [N,1,1,FLOATS], output its first four numbers [N,4]
"""
import struct
import sys


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def piece(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def value(name, dims):
    """ValueInfoProto of float32; a text as dimension is a symbolic one."""
    shape = b"".join(piece(1, piece(2, d) if isinstance(d, str) else number(1, d)) for d in dims)
    return piece(1, name) + piece(2, piece(1, number(1, 1) + piece(2, shape)))


def numbers(name, values):
    """TensorProto of int64."""
    return number(1, len(values)) + number(2, 7) + piece(8, name) + piece(9, struct.pack(f"<{len(values)}q", *values))


def node(op, inputs, output, *attributes):
    return (b"".join(piece(1, i) for i in inputs) + piece(2, output) + piece(3, output) + piece(4, op) +
            b"".join(piece(5, a) for a in attributes))


def integer(name, n):
    """AttributeProto."""
    return piece(1, name) + number(3, n) + number(20, 2)


def network(floats, scores=4):
    graph = (piece(1, node("Slice", ["x", "from", "to", "axes"], "part")) +
             piece(1, node("Flatten", ["part"], "y", integer("axis", 1))) + piece(2, "tiny") +
             piece(5, numbers("from", [0])) + piece(5, numbers("to", [scores])) + piece(5, numbers("axes", [3])) +
             piece(11, value("x", ["N", 1, 1, floats])) + piece(12, value("y", ["N", scores])))
    return number(1, 8) + piece(7, graph) + piece(8, piece(1, "") + number(2, 13))


if __name__ == "__main__":
    with open(sys.argv[2], "wb") as f:
        f.write(network(int(sys.argv[1])))
