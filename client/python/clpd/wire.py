"""The stream protocol of docs/protocol.md as bytes: requests are built and answers read here, without any I/O."""
from __future__ import annotations

import array
import json
import os
import struct
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from .errors import BadRequest, ClpdError, Refused, refusal

DEFAULT_PATH = "/run/clpd/clpd.sock"
F32, U8 = 0, 1  # float32 NCHW as the network wants it; uint8 NHWC pictures, which clpd scales and normalises

INFER, INFER_REPLY, STATUS, MODELS, JSON_REPLY, ERROR = range(1, 7)
MAGIC, VERSION = 0x44504C43, 1
HEADER = struct.Struct("<IBBHQQQ")
REQUEST = struct.Struct("<64sIHBB6I")
REPLY = struct.Struct("<IIIIQQQIIII32sQ")
TOP = struct.Struct("<IffI")
NO_LABEL = 0xFFFFFFFF
MOST_BODY = (1 << 30) + 96 + (1 << 16)  # more than any answer can have
MOST_US = 0xFFFFFFFF

Buffer = Any  # bytes, bytearray, memoryview, array.array, a NumPy array: what has the buffer protocol


class Best(NamedTuple):
    """One class of a picture's best."""
    index: int
    score: float
    probability: float
    label: Optional[str]


class Result:
    """The answer to one request, computed by one version of the model.

    items, classes    pictures answered, scores per picture
    top               for each picture its best classes, best first: lists of `Best`
    scores            all scores, flat, `array.array('f')`; empty where they were not asked for
    version, sha256   which model answered: counts up from 1; of the ONNX file
    queue_s, compute_s, batch    how long it waited and ran, and in how large a batch
    """

    def __init__(self, body: bytes) -> None:
        (_, self.items, self.classes, k, self.version, queue_ns, compute_ns, self.batch, has_scores, text_bytes, _,
         self.sha256, _) = REPLY.unpack_from(body)
        self.queue_s, self.compute_s = queue_ns / 1e9, compute_ns / 1e9
        at = REPLY.size
        scores_bytes = 4 * self.items * self.classes if has_scores else 0
        if at + scores_bytes + TOP.size * self.items * k + text_bytes != len(body):
            raise ClpdError("an answer of clpd is not as long as it says")
        self.scores: array.array[float] = array.array("f")
        self.scores.frombytes(body[at:at + scores_bytes])
        if sys.byteorder == "big":
            self.scores.byteswap()
        at += scores_bytes
        text = body[len(body) - text_bytes:]
        self.top: List[List[Best]] = []
        for _ in range(self.items):
            row = []
            for _ in range(k):
                index, score, probability, label = TOP.unpack_from(body, at)
                row.append(Best(index, score, probability, _label(text, label)))
                at += TOP.size
            self.top.append(row)

    def array(self) -> Any:
        """All scores as a NumPy array [items, classes], without a copy."""
        import numpy
        return numpy.frombuffer(self.scores, dtype=numpy.float32).reshape(self.items, -1)

    def __repr__(self) -> str:
        return f"<Result of version {self.version}: {self.items} items, {self.classes} classes>"


def _label(text: bytes, at: int) -> Optional[str]:
    return None if at == NO_LABEL else text[at:text.index(b"\0", at)].decode(errors="replace")


def socket_path(path: Union[str, "os.PathLike[str]", None]) -> str:
    return os.fspath(path) if path is not None else os.environ.get("CLPD_SOCKET") or DEFAULT_PATH


def frame(kind: int, ident: int, size: int = 0) -> bytes:
    """The header of a frame."""
    return HEADER.pack(MAGIC, VERSION, kind, 0, ident, size, 0)


def infer_head(ident: int, model: str, dims: Sequence[int], fmt: int, size: int, top_k: int, scores: bool,
               deadline: Optional[float]) -> bytes:
    """What goes before a tensor of `size` bytes: header and request."""
    name = model.encode()
    if len(name) > 63 or b"\0" in name:
        raise ValueError(f"{model!r} can't be the name of a model: at most 63 bytes")
    if not 0 < len(dims) <= 6:
        raise ValueError(f"a tensor has 1 to 6 dimensions, not {len(dims)}")
    if not 0 <= top_k <= 1000:
        raise ValueError(f"top_k is 0 to 1000, not {top_k}")
    if deadline is not None and deadline <= 0:
        raise ValueError("a deadline is more than 0 seconds")
    us = 0 if deadline is None else min(max(int(deadline * 1e6), 1), MOST_US)
    six = [*dims, *[0] * (6 - len(dims))]
    return frame(INFER, ident, REQUEST.size + size) + REQUEST.pack(name, us, top_k, 1 if scores else 0, fmt, *six)


def tensor_of(data: Buffer, dims: Optional[Sequence[int]], fmt: Optional[int]
              ) -> Tuple[memoryview, Tuple[int, ...], int]:
    """Bytes, dimensions and format of what a caller gave. An array says the last two itself."""
    view = memoryview(data)
    if view.format not in ("f", "B", "c"):
        raise TypeError(f"a tensor is float32 or uint8 (or bytes), not of buffer format {view.format!r}; "
                        "with NumPy: .astype('float32')")
    is_float = view.format == "f"
    if fmt is None:
        fmt = F32 if is_float else U8
    if dims is None:
        if view.ndim < 2:
            raise ValueError("flat data needs dims")
        dims = view.shape or ()
    flat = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
    want = 1 if fmt == U8 else 4
    for d in dims:
        want *= d
    if want != flat.nbytes:
        raise ValueError(f"dimensions {tuple(dims)} are {want} bytes in this format; the data are {flat.nbytes}")
    return flat, tuple(int(d) for d in dims), fmt


def pictures_of(data: Buffer, shape: Optional[Sequence[int]]) -> Tuple[memoryview, Tuple[int, ...]]:
    """Pixels as N, H, W, C. Flat bytes are pictures of `shape`, the model's C, H, W."""
    view = memoryview(data)
    if view.ndim == 4:
        dims: Tuple[int, ...] = tuple(view.shape or ())
    elif view.ndim in (2, 3):  # one picture; grey where it has no third dimension
        dims = (1, *(view.shape or ()), *((1,) if view.ndim == 2 else ()))
    elif shape is None or len(shape) != 3:
        raise ValueError("the model takes no pictures; use infer()")
    else:
        c, h, w = shape
        if not view.nbytes or view.nbytes % (c * h * w):
            raise ValueError(f"the model takes {h}x{w} pixels of {c} bytes, {c * h * w} a picture; "
                             f"the data are {view.nbytes} bytes")
        dims = (view.nbytes // (c * h * w), h, w, c)
    if view.itemsize != 1:
        raise TypeError("pictures are uint8; float32 tensors go to infer()")
    return tensor_of(view, dims, U8)[:2]


def shape_of(models: Dict[str, Any], name: str) -> Optional[List[int]]:
    """What one item of a model has behind the batch (C, H, W of a picture), from the MODELS document; None: no such
    model, or more than one fits."""
    found = [m for m in models["models"] if m["name"] == name or not name]
    return found[0]["input"]["shape"][1:] if len(found) == 1 else None


def is_encoded(data: Buffer) -> bool:
    """Whether flat bytes are a JPEG or PNG file."""
    head = bytes(memoryview(data)[:8]) if memoryview(data).ndim == 1 else b""
    return head[:3] == b"\xff\xd8\xff" or head == b"\x89PNG\r\n\x1a\n"


def read_header(data: bytes) -> Tuple[int, int, int]:
    """Type, id and length of a frame from clpd."""
    magic, version, kind, _, ident, size, _ = HEADER.unpack(data)
    if magic != MAGIC or version != VERSION or size > MOST_BODY:
        raise ClpdError("what answers there does not speak clpd's stream protocol")
    return kind, ident, size


def read_answer(kind: int, body: bytes) -> Union[Result, Dict[str, Any], Refused]:
    """A `Result`, a JSON document, or the refusal to be raised."""
    if kind == JSON_REPLY:
        document: Dict[str, Any] = json.loads(body)
        return document
    if kind not in (INFER_REPLY, ERROR) or len(body) < REPLY.size:
        raise ClpdError(f"clpd sent a frame of type {kind} that nobody asked for")
    status = REPLY.unpack_from(body)[0]
    if status == 0:
        return Result(body)
    return refusal(status, body[REPLY.size:].split(b"\0")[0].decode(errors="replace"))


def no_model(name: str) -> Refused:
    return refusal(3, f"no model '{name}' is served") if name else BadRequest("which model? more than one is served, "
                                                                             "or none")
