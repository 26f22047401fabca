"""Decodes JPEG and PNG files by Pillow, which is asked for only when one comes."""
from __future__ import annotations

import io
from typing import Any, Sequence


def decode(data: bytes, shape: Sequence[int]) -> bytes:
    """Pixels of an encoded picture, stretched to a model's shape C, H, W."""
    try:
        from PIL import Image
    except ImportError:
        raise ValueError("JPEG and PNG need Pillow (pip install pillow); or give pixels, or use clpd's HTTP plane, "
                         "which decodes") from None
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    if len(shape) != 3 or shape[0] not in modes:
        raise ValueError("the model takes no pictures; use infer()")
    c, h, w = shape
    with Image.open(io.BytesIO(data)) as picture:
        fitted: Any = picture.convert(modes[c]).resize((w, h), Image.Resampling.BILINEAR)
        pixels: bytes = fitted.tobytes()
        return pixels
