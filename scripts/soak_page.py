"""The page of scripts/soak: charts over time as SVG in one file, for light and dark, with nothing to fetch."""
import html
import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 200, 64, 26, 10
STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1c2330; --dim: #657084; --line: #dfe3ea; --a: #1f6feb; --b: #c2410c; --bad: #b42318; --good: #1a7f37 }
@media (prefers-color-scheme: dark) {
  :root { --bg: #12161d; --fg: #e5e9f0; --dim: #97a3b6; --line: #2c3441; --a: #6cb0ff; --b: #ff9d66; --bad: #ff7b72; --good: #56d364 } }
body { margin: 0 auto; max-width: 760px; padding: 24px 20px 60px; background: var(--bg); color: var(--fg); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 24px; margin: 0 0 4px } h2 { font-size: 16px; margin: 28px 0 4px } p { margin: 4px 0 } .dim { color: var(--dim) }
.verdict { font-weight: 600 } .bad { color: var(--bad) } .good { color: var(--good) }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--dim); font: 12px system-ui, sans-serif }
.grid { stroke: var(--line); stroke-width: 1 } .line { fill: none; stroke-width: 2; stroke-linejoin: round }
.a { stroke: var(--a) } .b { stroke: var(--b) } .thin { stroke-width: 1.4; stroke-dasharray: 4 3 }
.key i { display: inline-block; width: 22px; height: 0; border-top: 2px solid; margin: 0 6px 4px 0 } .key span { margin-right: 18px }
i.a { border-color: var(--a) } i.b { border-color: var(--b) } i.thin { border-top-style: dashed }
table { border-collapse: collapse; margin-top: 6px } td, th { text-align: right; padding: 3px 0 3px 22px; border-bottom: 1px solid var(--line) }
td:first-child, th:first-child { text-align: left; padding-left: 0 } th { font-weight: 500; color: var(--dim) }
"""


def steps(most):
    """Round figures from zero to above the largest value."""
    raw = max(most, 1e-9) / 4
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw)
    return [step * i for i in range(math.ceil(most / step - 1e-9) + 1)]


def figure(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"


def time_of(seconds, whole):
    return f"{seconds / 60:.0f} min" if whole > 300 else f"{seconds:.0f} s"


def chart(title, unit, lines, times):
    """`lines`: (name, classes, values), where None is a gap."""
    marks = steps(max([v for _, _, values in lines for v in values if v is not None] or [1]))
    end = max(times[-1], 1e-9)

    def x(t):
        return LEFT + (WIDTH - LEFT - 12) * t / end

    def y(v):
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - v / marks[-1])

    out = [f"<h2>{html.escape(title)} <span class=dim>{html.escape(unit)}</span></h2>", "<p class=key>"]
    out += [f'<span><i class="{classes}"></i>{html.escape(name)}</span>' for name, classes, _ in lines]
    out.append(f'</p><svg viewBox="0 0 {WIDTH} {HEIGHT}" role=img aria-label="{html.escape(title)} over time">')
    for m in marks:
        out.append(f'<path class=grid d="M{LEFT} {y(m):.1f}H{WIDTH - 12}"/><text x={LEFT - 8} y={y(m) + 4:.1f} text-anchor=end>{figure(m)}</text>')
    for t in steps(end):
        if t <= end:
            out.append(f'<text x={x(t):.1f} y={HEIGHT - 6} text-anchor=middle>{time_of(t, end)}</text>')
    for _, classes, values in lines:
        path, pen = "", "M"
        for t, v in zip(times, values):
            path, pen = (path, "M") if v is None else (f"{path}{pen}{x(t):.1f} {y(v):.1f}", "L")
        out.append(f'<path class="line {classes}" d="{path}"/>')
    return "\n".join(out + ["</svg>"])


def of(slices, kind, key, scale=1.0):
    return [s[kind][key] * scale if key in s[kind] else None for s in slices]


def table(sides):
    names = {"clpd": "memory of clpd, KiB", "guard": "memory of clp-guard, KiB", "mappings": "mappings of both", "descriptors": "descriptors of both"}
    rows = "".join(f"<tr><td>{names[k]}<td>{sides['before'][k]:,}<td>{sides['after'][k]:,}" for k in names)
    happened = "".join(f"<tr><td>{html.escape(what)}<td>{n:,}" for what, n in sides["counts"].items())
    return (f"<h2>At rest</h2><table><tr><th><th>before<th>after{rows}</table>" +
            (f"<h2>What else happened</h2><table>{happened}<tr><td>versions that came to serve<td>{sides['versions']:,}</table>" if happened else ""))


def page(slices, sides):
    times = [s["at"] for s in slices]
    whole = [s[k] for s in slices for k in ("stream", "shm") if "requests" in s[k]]
    wrong = "".join(f"<p class=bad>{html.escape(w)}" for w in sides["wrong"])
    charts = [
        chart("Answers", "a second", [("streams", "a", of(slices, "stream", "rps")), ("rings", "b", of(slices, "shm", "rps"))], times),
        chart("Latency", "ms", [(f"{name}, {text}", f"{c}{thin}", of(slices, kind, key, 0.001))
                                for kind, name, c in (("stream", "streams", "a"), ("shm", "rings", "b"))
                                for key, text, thin in (("p50_us", "half of them", " thin"), ("p99_us", "99 %", ""))], times),
        chart("Memory", "MiB", [("clpd", "a", [s["clpd"] / 1024 for s in slices]), ("clp-guard", "b", [s["guard"] / 1024 for s in slices])], times),
        chart("Descriptors and mappings", "of both", [("descriptors", "a", [s["descriptors"] for s in slices]),
                                                      ("mappings", "b", [s["mappings"] for s in slices])], times)]
    return f"""<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>Soak</title>
<style>{STYLE}</style>
<h1>{sum(w['requests'] for w in whole):,} requests in {time_of(sides['seconds'], sides['seconds'])}</h1>
<p class=dim>{sides['streams']} stream clients and {sides['rings']} rings, two requests of each under way; load average before: {sides['load']:.1f}</p>
<p class="verdict {'bad' if wrong else 'good'}">{'Not as it should be' if wrong else 'No error that was not provoked, nothing grew'}</p>
{wrong}
{"".join(charts)}
{table(sides)}
"""
