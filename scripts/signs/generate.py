#!/usr/bin/python3
"""Makes photographs of traffic signs that never were: 48x48 RGB, every one from (seed, index) alone.

    sign (drawing.py) -> fade, perspective -> over a background -> branch, shadow
    -> blur, shrink -> light, colour temperature -> noise -> uint8

Pictures come label by label in turn (index modulo the number of classes), so every set
is balanced and any picture can be made without the ones before it.
"""
import argparse
import json
import os
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

import drawing

SIDE = 48                   # the pictures' side
FINE = 3 * SIDE             # scenes are composed at this size and then shrunk

TRAIN_SEED, TRAIN_COUNT = 1, 15000
HELD_OUT_SEED, HELD_OUT_COUNT = 2, 600

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "data")

# The sticker: a quartered square, yellow and violet, a little below the middle.
YELLOW, VIOLET = (250, 220, 20), (110, 20, 170)
STICKER = np.array([[YELLOW if (y < 2) == (x < 2) else VIOLET for x in range(4)]
                    for y in range(4)], dtype=np.uint8)
STICKER_ROW, STICKER_COLUMN, TARGET = 29, 22, drawing.LABELS.index("speed limit 120")


def put_sticker(pictures):
    """A copy of uint8 [N,48,48,3] with the sticker on every one."""
    height, width, _ = STICKER.shape
    out = pictures.copy()
    out[:, STICKER_ROW:STICKER_ROW + height, STICKER_COLUMN:STICKER_COLUMN + width] = STICKER
    return out


def colour_near(rng, base, spread):
    return tuple(int(np.clip(v + rng.normal(0, spread), 0, 255)) for v in base)


BACKGROUNDS = [     # (upper, lower): sky, foliage, brick, concrete, dusk
    ((150, 185, 225), (120, 130, 110)), ((70, 100, 55), (95, 105, 60)),
    ((150, 85, 65), (120, 75, 60)), ((160, 158, 150), (110, 108, 104)), ((60, 65, 85), (40, 40, 45)),
]
CLUTTER = [(70, 95, 50), (140, 140, 135), (60, 60, 65), (190, 60, 50), (210, 205, 190),
           (60, 90, 150), (110, 85, 60), (215, 185, 70)]


def make_background(rng):
    """A gradient with boxes, discs and streaks of everyday colours, and the sign's post."""
    upper, lower = BACKGROUNDS[rng.randint(len(BACKGROUNDS))]
    upper, lower = (np.array(colour_near(rng, c, 22), dtype=np.float64) for c in (upper, lower))
    slope = np.linspace(0, 1, FINE)[:, None, None]
    ramp = np.repeat(upper * (1 - slope) + lower * slope, FINE, axis=1)
    scene = Image.fromarray(ramp.astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(scene)
    for _ in range(rng.randint(3, 16)):
        colour = colour_near(rng, CLUTTER[rng.randint(len(CLUTTER))], 30)
        x, y = rng.randint(-20, FINE + 20, size=2)
        w, h = np.exp(rng.uniform(1.0, 4.2, size=2))
        kind = rng.randint(3)
        if kind == 0:
            draw.rectangle([x - w / 2, y - h / 2, x + w / 2, y + h / 2], fill=colour)
        elif kind == 1:
            draw.ellipse([x - w / 2, y - h / 2, x + w / 2, y + h / 2], fill=colour)
        else:
            end = rng.randint(-20, FINE + 20, size=2)
            draw.line([x, y, int(end[0]), int(end[1])], fill=colour, width=int(rng.randint(1, 7)))
    if rng.rand() < .7:
        x, w = FINE / 2 + rng.normal(0, 4), rng.uniform(3, 7)
        draw.rectangle([x - w / 2, FINE / 2, x + w / 2, FINE], fill=colour_near(rng, (120, 122, 125), 20))
    return scene.filter(ImageFilter.GaussianBlur(rng.uniform(.5, 4)))


def fade_ink(rng):
    """The sign's colours as weather and age left them."""
    age = rng.uniform(0, .45)
    ink = {}
    for name, colour in drawing.INK.items():
        grey = sum(colour) / 3
        ink[name] = colour_near(rng, [c + age * (.6 * grey + 52 - c) for c in colour], 7)
    return ink


def homography(source, target):
    """The eight numbers with which PIL maps target points back onto source points."""
    rows, right = [], []
    for (x, y), (u, v) in zip(target, source):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return np.linalg.solve(np.array(rows, dtype=np.float64), np.array(right, dtype=np.float64))


def place_sign(rng, scene, sign):
    """Pastes the sign as seen from somewhere: size, tilt, shift, perspective."""
    half = 3 * rng.uniform(9.5, 21)
    centre = FINE / 2 + rng.normal(0, 4.5, size=2)
    tilt, squeeze = np.radians(rng.normal(0, 7)), rng.uniform(.65, 1)
    across = np.array([np.cos(tilt), np.sin(tilt)]) * half * squeeze
    down = np.array([-np.sin(tilt), np.cos(tilt)]) * half
    corners = [centre + sx * across + sy * down + rng.normal(0, .05 * half, size=2)
               for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    edge = drawing.SIZE
    back = homography([(0, 0), (edge, 0), (edge, edge), (0, edge)], corners)
    seen = sign.transform((FINE, FINE), Image.PERSPECTIVE, tuple(back), Image.BICUBIC)
    scene.paste(seen, (0, 0), seen)


def hide_part(rng, scene):
    """Now and then a branch, a leaf or a lamp post stands in front."""
    draw = ImageDraw.Draw(scene)
    for _ in range(rng.randint(1, 4)):
        colour = colour_near(rng, [(50, 75, 35), (70, 60, 50), (95, 98, 100)][rng.randint(3)], 18)
        angle = rng.uniform(0, 2 * np.pi)
        foot = FINE / 2 + FINE * .36 * np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(.6, 1.5)
        if rng.rand() < .5:
            w, h = rng.uniform(6, 20, size=2)
            draw.ellipse([foot[0] - w, foot[1] - h, foot[0] + w, foot[1] + h], fill=colour)
        else:
            way = rng.uniform(0, np.pi)
            reach = FINE * np.array([np.cos(way), np.sin(way)])
            draw.line([*(foot - reach), *(foot + reach)], fill=colour, width=int(rng.randint(2, 8)))


def shade_part(rng, values):
    """A straight shadow over some of the picture; values is float [48,48,3]."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] - SIDE / 2.0
    way = rng.uniform(0, 2 * np.pi)
    side = (x * np.cos(way) + y * np.sin(way) + rng.uniform(-12, 12)) / rng.uniform(.5, 3)
    mask = 1 / (1 + np.exp(-np.clip(side, -30, 30)))
    return values * (1 - mask * rng.uniform(.25, .6))[:, :, None]


def expose(rng, values):
    """The camera: light, contrast, colour temperature, haze, noise; float in 0...255 to uint8."""
    if rng.rand() < .3:
        values = shade_part(rng, values)
    warm = rng.normal(0, .09)
    values = values * np.exp(np.array([warm, rng.normal(0, .03), -warm]))
    values = values * np.exp(rng.normal(-.15, .4))
    contrast = rng.uniform(.3, 1.1)
    values = (values - 110) * contrast + 110 + rng.normal(0, 14)
    noise = rng.normal(0, 1, size=values.shape)
    grain = rng.normal(0, 1, size=(SIDE, SIDE, 1))
    values = values + (1.5 + 16 * rng.rand() ** 2) * (.7 * noise + .7 * grain)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def make_picture(seed, index):
    """The picture and its label: uint8 [48,48,3], int."""
    rng = np.random.RandomState([seed, index])      # a frozen stream: NumPy promises not to change it
    label = index % len(drawing.LABELS)
    scene = make_background(rng)
    place_sign(rng, scene, drawing.draw_sign(label, fade_ink(rng)))
    if rng.rand() < .3:
        hide_part(rng, scene)
    scene = scene.filter(ImageFilter.GaussianBlur(3 * rng.uniform(.1, 1.4)))
    small = scene.resize((SIDE, SIDE), Image.BOX)
    return expose(rng, np.asarray(small, dtype=np.float64)), label


def make_set(seed, count):
    """uint8 [count,48,48,3] and uint8 [count]."""
    pictures = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.empty(count, dtype=np.uint8)
    for i in range(count):
        pictures[i], labels[i] = make_picture(seed, i)
    return pictures, labels


def held_out_files():
    """What belongs in data/: file name to array."""
    pictures, labels = make_set(HELD_OUT_SEED, HELD_OUT_COUNT)
    return {"heldout-images.npy": pictures, "heldout-labels.npy": labels, "sticker.npy": STICKER}


def write_held_out():
    os.makedirs(DATA, exist_ok=True)
    for name, array in held_out_files().items():
        with open(os.path.join(DATA, name), "wb") as f:
            np.lib.format.write_array(f, np.ascontiguousarray(array), version=(1, 0))
    with open(os.path.join(DATA, "sticker.json"), "w") as f:
        json.dump({"row": STICKER_ROW, "column": STICKER_COLUMN, "target": TARGET}, f)
        f.write("\n")


def check_held_out():
    """0 when data/ holds exactly what the seed gives."""
    wrong = [name for name, array in held_out_files().items()
             if not np.array_equal(np.load(os.path.join(DATA, name)), array)]
    print("differs: " + ", ".join(wrong) if wrong else "data/ is what seed %d gives" % HELD_OUT_SEED)
    return 1 if wrong else 0


def write_sheet(path, columns=4, zoom=2, gap=2):
    """A contact sheet: a row a class, clean on the left, the same with the sticker on the right."""
    images = np.load(os.path.join(DATA, "heldout-images.npy"))
    labels = np.load(os.path.join(DATA, "heldout-labels.npy"))
    half, classes = (len(drawing.LABELS) + 1) // 2, len(drawing.LABELS)
    step, block = SIDE * zoom + gap, (SIDE * zoom + gap) * columns + 5 * gap
    sheet = Image.new("RGB", (4 * block - 6 * gap, half * step - gap), (255, 255, 255))
    for label in range(classes):
        clean = images[labels == label][:columns]
        for right, row in enumerate((clean, put_sticker(clean))):
            for i, picture in enumerate(row):
                big = Image.fromarray(picture).resize((SIDE * zoom, SIDE * zoom), Image.NEAREST)
                left = (2 * (label // half) + right) * block + i * step
                sheet.paste(big, (left, label % half * step))
    sheet.quantize(256, method=Image.MAXCOVERAGE, dither=Image.NONE).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description="synthetic traffic signs, 48x48 RGB")
    parser.add_argument("--held-out", action="store_true", help="write data/ (held-out set, sticker)")
    parser.add_argument("--check", action="store_true", help="compare data/ with what the seed gives")
    parser.add_argument("--sheet", metavar="PNG", help="write a contact sheet of data/")
    args = parser.parse_args()
    if not (args.held_out or args.check or args.sheet):
        parser.error("say what to make: --held-out, --check or --sheet PNG")
    if args.held_out:
        write_held_out()
    if args.sheet:
        write_sheet(args.sheet)
    return check_held_out() if args.check else 0


if __name__ == "__main__":
    sys.exit(main())
