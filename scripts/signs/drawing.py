"""Draws each sign flat and upright on a transparent canvas; no fonts, no files, no chance.

Coordinates: the sign's centre is (0, 0), its edge about 1 away, y points down.
Glyphs are strokes in a unit box, so that nothing depends on what fonts a machine has.
"""
import math
from PIL import Image, ImageDraw

SIZE = 160                  # canvas, pixels
REACH = 0.94 * SIZE / 2     # pixels per unit

LABELS = [
    "speed limit 30", "speed limit 50", "speed limit 80", "speed limit 120",
    "stop", "yield", "no entry", "priority road",
    "turn right ahead", "roundabout", "pedestrian crossing", "no overtaking",
]


def arc(cx, cy, rx, ry, start, end):
    """Points along an ellipse, degrees clockwise from the right as the eye sees it."""
    steps = max(2, int(abs(end - start) / 12))
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


GLYPHS = {
    "0": [arc(.5, .5, .42, .5, 0, 360)],
    "1": [[(.22, .24), (.6, 0), (.6, 1)]],
    "2": [arc(.5, .29, .42, .29, 190, 400) + [(.06, 1), (.95, 1)]],
    "3": [arc(.45, .25, .40, .25, 200, 450), arc(.45, .75, .47, .25, 270, 520)],
    "5": [[(.86, 0), (.2, 0), (.13, .46)] + arc(.45, .68, .46, .32, 225, 500)],
    "8": [arc(.5, .25, .36, .25, 0, 360), arc(.5, .75, .44, .25, 0, 360)],
    "S": [arc(.5, .25, .4, .25, 330, 90) + arc(.5, .75, .42, .25, 270, 510)],
    "T": [[(.02, 0), (.98, 0)], [(.5, 0), (.5, 1)]],
    "O": [arc(.5, .5, .42, .5, 0, 360)],
    "P": [[(.12, 1), (.12, 0), (.5, 0)] + arc(.5, .28, .4, .28, 270, 450) + [(.12, .56)]],
}


class Canvas:
    """A transparent square to draw on in sign coordinates."""

    def __init__(self):
        self.image = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 0))
        self.draw = ImageDraw.Draw(self.image)

    def at(self, points):
        return [(SIZE / 2 + x * REACH, SIZE / 2 + y * REACH) for x, y in points]

    def polygon(self, points, colour):
        self.draw.polygon(self.at(points), fill=colour)

    def disc(self, radius, colour, cx=0.0, cy=0.0):
        self.draw.ellipse(self.at([(cx - radius, cy - radius), (cx + radius, cy + radius)]), fill=colour)

    def stroke(self, points, width, colour):
        self.draw.line(self.at(points), fill=colour, width=max(1, round(width * REACH)), joint="curve")
        for x, y in (points[0], points[-1]):    # round ends
            self.disc(width / 2, colour, x, y)

    def text(self, word, width, height, stroke, colour, gap=0.12):
        """Writes word, centred, in a box of width x height."""
        each = (width - gap * (len(word) - 1)) / len(word)
        for i, letter in enumerate(word):
            left = -width / 2 + i * (each + gap)
            for line in GLYPHS[letter]:
                self.stroke([(left + x * each, (y - .5) * height) for x, y in line], stroke, colour)

    def arrow_head(self, tip, direction, size, colour):
        """A triangle that ends at tip, pointing along direction (degrees)."""
        a = math.radians(direction)
        along, across = (math.cos(a), math.sin(a)), (-math.sin(a), math.cos(a))
        base = [(tip[0] - size * along[0] + s * .62 * size * across[0],
                 tip[1] - size * along[1] + s * .62 * size * across[1]) for s in (1, -1)]
        self.polygon([tip] + base, colour)


def corners(count, radius, turn):
    """The corners of a regular polygon; turn in degrees."""
    return [(radius * math.cos(math.radians(turn + 360 * i / count)),
             radius * math.sin(math.radians(turn + 360 * i / count))) for i in range(count)]


def red_ring(c, ink):
    c.disc(1.0, ink["white"])
    c.disc(.97, ink["red"])
    c.disc(.72, ink["white"])


def speed(number):
    def draw(c, ink):
        red_ring(c, ink)
        wide = len(number) == 3
        c.text(number, 1.06 if wide else .90, .62 if wide else .74,
               .13 if wide else .15, ink["black"], .17 if wide else .2)
    return draw


def stop(c, ink):
    c.polygon(corners(8, 1.04, 22.5), ink["white"])
    c.polygon(corners(8, .97, 22.5), ink["red"])
    c.text("STOP", 1.42, .60, .12, ink["white"], .15)


def give_way(c, ink):
    c.polygon([(-1.03, -.82), (1.03, -.82), (0, .98)], ink["white"])
    c.polygon([(-.98, -.79), (.98, -.79), (0, .92)], ink["red"])
    c.polygon([(-.58, -.56), (.58, -.56), (0, .46)], ink["white"])


def no_entry(c, ink):
    c.disc(1.0, ink["white"])
    c.disc(.96, ink["red"])
    c.polygon([(-.7, -.2), (.7, -.2), (.7, .2), (-.7, .2)], ink["white"])


def priority_road(c, ink):
    c.polygon(corners(4, 1.05, 0), ink["black"])
    c.polygon(corners(4, 1.0, 0), ink["white"])
    c.polygon(corners(4, .72, 0), ink["yellow"])


def blue_disc(c, ink):
    c.disc(1.0, ink["white"])
    c.disc(.95, ink["blue"])


def turn_right(c, ink):
    blue_disc(c, ink)
    c.stroke([(-.28, .58), (-.28, .05), (-.2, -.12), (-.02, -.2), (.2, -.2)], .22, ink["white"])
    c.arrow_head((.66, -.2), 0, .46, ink["white"])


def roundabout(c, ink):
    blue_disc(c, ink)
    for turn in (-90, 30, 150):         # three arrows chasing one another
        c.stroke(arc(0, 0, .52, .52, turn + 62, turn - 4), .16, ink["white"])
        a = math.radians(turn - 34)
        c.arrow_head((.54 * math.cos(a), .54 * math.sin(a)), turn - 112, .36, ink["white"])


def pedestrian_crossing(c, ink):
    c.polygon([(-.9, -.9), (.9, -.9), (.9, .9), (-.9, .9)], ink["white"])
    c.polygon([(-.85, -.85), (.85, -.85), (.85, .85), (-.85, .85)], ink["blue"])
    c.polygon([(0, -.72), (.74, .62), (-.74, .62)], ink["white"])
    c.disc(.11, ink["black"], .02, -.27)
    c.stroke([(.0, -.1), (-.02, .18)], .17, ink["black"])
    c.stroke([(-.02, .18), (.17, .36), (.2, .54)], .1, ink["black"])
    c.stroke([(-.04, .18), (-.12, .38), (-.28, .52)], .1, ink["black"])
    c.stroke([(-.22, .12), (-.02, -.06), (.2, .12)], .08, ink["black"])
    for x in (-.46, -.02, .42):         # the stripes underfoot
        c.polygon([(x - .12, .56), (x + .12, .56), (x + .14, .62), (x - .14, .62)], ink["black"])


def no_overtaking(c, ink):
    red_ring(c, ink)
    for x, colour in ((-.3, ink["red"]), (.3, ink["black"])):       # two cars from behind
        c.polygon([(x - .24, .0), (x + .24, .0), (x + .24, .22), (x - .24, .22)], colour)
        c.polygon([(x - .15, -.2), (x + .15, -.2), (x + .22, .02), (x - .22, .02)], colour)
        for wheel in (-.15, .15):
            c.polygon([(x + wheel - .06, .2), (x + wheel + .06, .2),
                       (x + wheel + .06, .3), (x + wheel - .06, .3)], colour)


DRAWERS = [speed("30"), speed("50"), speed("80"), speed("120"), stop, give_way, no_entry,
           priority_road, turn_right, roundabout, pedestrian_crossing, no_overtaking]

INK = {"white": (238, 238, 234), "black": (24, 24, 26), "red": (196, 22, 34),
       "blue": (14, 74, 160), "yellow": (250, 198, 24)}


def draw_sign(label, ink=INK):
    """The sign of that label as an RGBA picture, SIZE x SIZE."""
    canvas = Canvas()
    DRAWERS[label](canvas, ink)
    return canvas.image
