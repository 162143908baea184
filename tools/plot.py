"""Pictures of benchmark figures as SVG, for bench-plot and bench-table. The same figures give the same bytes.

A picture brings its own background and follows the reader's colour scheme, light or dark.
"""

import math
from xml.sax.saxutils import escape

WIDTH = 860
LEFT = 250  # labels end here
RIGHT = WIDTH - 30
ROW = 18
STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 } .head { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
.ground { fill: #ffffff } .grid { stroke: #d1d9e0; stroke-width: 1 } .one { stroke: #59636e; stroke-width: 1.5 }
.s0 { fill: #0969da; stroke: #0969da } .s1 { fill: #bc4c00; stroke: #bc4c00 }
.s2 { fill: #1a7f37; stroke: #1a7f37 } .s3 { fill: #8250df; stroke: #8250df }
.line { fill: none; stroke-width: 1.8 } .dotted { stroke-dasharray: 2 3 } .hollow { fill: #ffffff; stroke-width: 1.8 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .small { fill: #9198a1 } .ground { fill: #0d1117 } .grid { stroke: #3d444d } .one { stroke: #9198a1 }
.s0 { fill: #4493f8; stroke: #4493f8 } .s1 { fill: #f0883e; stroke: #f0883e }
.s2 { fill: #3fb950; stroke: #3fb950 } .s3 { fill: #ab7df8; stroke: #ab7df8 }
.line { fill: none } .hollow { fill: #0d1117 }
}
"""
MAX_SERIES = 4
GROUPS = {
    "start": "Start", "open": "Start", "daemon": "Daemon", "call": "Call", "copy": "Data", "getrandom": "Data",
    "console": "Data", "rpc": "Data", "lockstep": "Lockstep and copies", "clone": "Lockstep and copies",
    "stop": "Stop and parallel runs", "parallel": "Stop and parallel runs", "processor": "Guest code", "linux": "Linux",
}


class Picture:
    """Elements from top to bottom; `y` is where the next one goes."""

    def __init__(self, title):
        self.parts = []
        self.y = 30
        self.text(20, self.y, title, "title")
        self.y += 12

    def add(self, element):
        self.parts.append(element)

    def text(self, x, y, text, kind="", anchor="start"):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}"{attribute("class", kind)}'
                 f'{attribute("text-anchor", "" if anchor == "start" else anchor)}>{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, kind):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def rectangle(self, x, y, width, height, kind):
        self.add(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" class="{kind}"/>')

    def mark(self, x, y, series):
        """A circle, or a diamond in every second series: so that they do not differ in colour only."""
        if series % 2 == 0:
            self.add(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="s{series}"/>')
        else:
            self.add(f'<path d="M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z" class="s{series} hollow"/>')

    def legend(self, names, of_bars=False):
        self.y += 16
        x = 20
        for number, name in enumerate(names):
            if of_bars:
                self.rectangle(x, self.y - 9, 10, 10, f"s{number}")
            else:
                self.mark(x + 5, self.y - 4, number)
            self.text(x + 16, self.y, name)
            x += 40 + width_of(name)
        self.y += 6

    def note(self, text):
        self.y += 18
        self.text(20, self.y, text, "small")

    def svg(self):
        height = self.y + 20
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
                f'height="{height:.0f}">\n<style>{STYLE}</style>\n<rect width="100%" height="100%" class="ground"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def attribute(name, value):
    return f' {name}="{value}"' if value else ""


def width_of(text):
    """More pixels than the text takes in any usual font."""
    return 7.5 * len(text)


def compact(value):
    """A number in at most three significant digits, with k, M or G."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


class Axis:
    """Values on the width of a picture, logarithmic or linear."""

    def __init__(self, low, high, is_logarithmic=True, left=LEFT, right=RIGHT):
        self.is_logarithmic = is_logarithmic
        self.low, self.high, self.left, self.right = low, high, left, right

    def x(self, value):
        scale = math.log if self.is_logarithmic else float
        low, high = scale(self.low), scale(self.high)
        return self.left + (scale(value) - low) / (high - low) * (self.right - self.left)

    def ticks(self):
        """Round values, at least 55 pixels apart."""
        if self.is_logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            values = [step * 10.0 ** power for step in (1, 2, 5, 3, 7, 1.5) for power in range(first, last + 1)]
        else:
            step = 10.0 ** math.floor(math.log10((self.high - self.low) / 2))
            step *= next(factor for factor in (1, 2, 5, 10, 20) if (self.high - self.low) / (step * factor) <= 10)
            values = [count * step for count in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        chosen = []
        for value in values:
            if self.low <= value <= self.high and all(abs(self.x(value) - self.x(other)) >= 55 for other in chosen):
                chosen.append(value)
        return sorted(chosen)

    def draw(self, picture, top, bottom, label, emphasized=None):
        for value in self.ticks():
            picture.line(self.x(value), top, self.x(value), bottom, "grid")
            picture.text(self.x(value), bottom + 15, label(value), "small", "middle")
        if emphasized is not None and self.low <= emphasized <= self.high:
            picture.line(self.x(emphasized), top, self.x(emphasized), bottom, "one")


def dots(picture, title, groups, explanation):
    """A dot plot on a logarithmic axis: `groups` are names of groups with rows of a label and a value a series (or None)."""
    values = [value for _, rows in groups for _, row in rows for value in row if value is not None]
    axis = Axis(min(values + [1]) / 1.15, max(values + [1]) * 1.15)
    picture.y += 28
    picture.text(20, picture.y, title, "head")
    picture.text(LEFT, picture.y, explanation, "small")
    top = picture.y + 8
    height = sum(ROW * len(rows) + (ROW if name else 0) for name, rows in groups)
    axis.draw(picture, top, top + height, lambda value: f"{value:g}×", 1)
    picture.y = top
    for name, rows in groups:
        if name:
            picture.y += ROW
            picture.text(20, picture.y - 4, name, "small")
        for label, row in rows:
            picture.y += ROW
            picture.text(LEFT - 12, picture.y - 5, label, anchor="end")
            for series in reversed(range(len(row))):
                if row[series] is not None:
                    picture.mark(axis.x(row[series]), picture.y - 9, series)
    picture.y += 18


def bars(picture, title, rows, label=lambda value: f"{value:,}"):
    """Horizontal bars from zero: rows of a label and a value a series (or None), each value written next to its bar."""
    highest = max(value for _, row in rows for value in row if value is not None)
    axis = Axis(0, highest, is_logarithmic=False, right=RIGHT - 90)
    picture.y += 28
    picture.text(20, picture.y, title, "head")
    picture.y += 6
    for name, row in rows:
        top = picture.y + 5
        picture.text(LEFT - 12, top + 7.5 * len(row) + 2, name, anchor="end")
        for series, value in enumerate(row):
            middle = top + 14 * series
            if value is not None:
                picture.rectangle(LEFT, middle, axis.x(value) - LEFT, 10, f"s{series}")
            picture.text(LEFT + 8 if value is None else axis.x(value) + 8, middle + 9,
                         "not available" if value is None else label(value), "small")
        picture.y = top + 14 * len(row) + 3


def changes(picture, rows):
    """Bars to the left and right of zero: rows of a label and a change in percent."""
    low, high = min([value for _, value in rows] + [-1]), max([value for _, value in rows] + [1])
    axis = Axis(low * 1.05, high * 1.05, is_logarithmic=False, left=LEFT, right=RIGHT - 60)
    picture.y += 12
    top = picture.y
    axis.draw(picture, top, top + ROW * len(rows), lambda value: f"{value:+g} %" if round(value, 9) else "0", 0)
    for label, value in rows:
        picture.y += ROW
        picture.text(LEFT - 12, picture.y - 5, label, anchor="end")
        ends = sorted((axis.x(0), axis.x(value)))
        picture.rectangle(ends[0], picture.y - 14, ends[1] - ends[0], 10, "s1" if value > 0 else "s0")
        picture.text(RIGHT, picture.y - 5, f"{round(value, 1) + 0.0:+.1f} %", "small", "end")
    picture.y += 18


def distribution(picture, title, series):
    """Cumulative distributions: for each series its number, points of a value and a part of the samples, and whether dotted."""
    values = [value for _, points, _ in series for value, _ in points]
    low, high = min(values), max(values)
    if low == high:
        low, high = low * 0.9, high * 1.1 + 1
    axis = Axis(low, high, is_logarithmic=low > 0 and high > 10 * low, left=80)
    picture.y += 30
    picture.text(20, picture.y, title, "head")
    top, bottom = picture.y + 10, picture.y + 150
    axis.draw(picture, top, bottom, compact)
    for part in (0, 0.5, 1):
        y = bottom - part * (bottom - top)
        picture.line(axis.left, y, axis.right, y, "grid")
        picture.text(axis.left - 8, y + 4, f"{part * 100:.0f} %", "small", "end")
    for number, points, is_dotted in series:
        path = "".join(f"{'L' if place else 'M'}{axis.x(value):.1f} {bottom - part * (bottom - top):.1f}"
                       for place, (value, part) in enumerate(points))
        picture.add(f'<path d="{path}" class="s{number} line{" dotted" if is_dotted else ""}"/>')
    picture.y = bottom + 20


def ratio(result):
    """The ratio to the baseline (in the file: "floor"); None if there is no baseline."""
    baseline = result["floor"]["typical"] if result and "floor" in result else 0
    return result["typical"] / baseline if baseline > 0 else None


def ratios(titles, runs, title):
    """A picture of a dot for each run and benchmark; None if none has a baseline. A run has results by name."""
    names = list(dict.fromkeys(name for run in runs for name in run))
    rows = {name: [ratio(run.get(name)) for run in runs] for name in names}
    rows = {name: row for name, row in rows.items() if any(value is not None for value in row)}
    if not rows:
        return None
    is_memory = {name: any(run[name]["unit"] == "bytes" for run in runs if name in run) for name in rows}
    groups = {}
    for name, row in rows.items():
        if not is_memory[name]:
            groups.setdefault(GROUPS.get(name.split("-")[0], "Other"), []).append((name, row))
    memory = [(name, row) for name, row in rows.items() if is_memory[name]]
    picture = Picture(title)
    picture.legend(titles)
    if groups:
        dots(picture, "Work", list(groups.items()), "times the baseline; further left is better")
    if memory:
        dots(picture, "Memory", [("", memory)], "times the baseline, an axis of its own")
    return picture
