"""Sections, sweeps, history -> figures: Vega-Lite charts, and their SVG and PNG. Pure.

A figure without data is not drawn and says why. One colour a framework, the same in every figure; entries of one
framework are told apart by shape and by their names.
"""

import hashlib
import json
import math
import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

from bench.attribution import LEAST_SIZES, Fit, seconds_per_step
from bench.publish import escape, sweeps, units
from bench.publish.history import Shown
from bench.publish.history import title as history_title
from bench.publish.sweeps import Sweep
from bench.publish.tables import REFERENCE, Section, entry_text
from bench.record import Case, Trial
from bench.stats import TIE_BAND, counts, half_width, spread
from bench.task import is_shipped

# Okabe and Ito 2008: told apart by people with any kind of colour vision, and on white and on black.
COLOURS = {
    "PyTorch": "#D55E00",
    "TensorFlow": "#0072B2",
    "Keras": "#CC79A7",
    "JAX": "#009E73",
    "NumPy": "#56B4E9",
    "scikit-learn": "#E69F00",
}
OTHER_COLOUR = "#808080"
INK, GRID = "#1b1f24", "#d8dee4"  # the page's style sheet puts others in their place where it is dark
LEGEND_COLUMNS = 3  # the page's script takes 2 where it is narrow
NAMES = {
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "jax": "JAX",
    "numpy": "NumPy",
    "sklearn": "scikit-learn",
}

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # the first is in vl-convert, so that files are alike everywhere
STATIC_WIDTH = 720  # pixels, of the files; in the page a chart is as wide as its place
LINE_POINTS = 24  # of a fitted line: on logarithmic axes it is a curve
VEGA_LITE = "6.4"
_SOURCE = "evenhand:svg-sha256"  # keyword of a PNG's text chunk
_LAST = 12  # bytes of a PNG's last chunk, IEND: length, name, checksum

Spec = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One chart. name: of its files, without the ending. label: what tells it from others of its figure."""

    name: str
    label: str
    description: str
    spec: Spec


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Charts of one kind. why: why there is none, where there is none."""

    name: str
    title: str
    note: str
    plots: tuple[Plot, ...]
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Charts:
    """The charts of one section or sweep, by the name of their figure. rank: the least stands first in a figure.

    name and label: what tells them from others of their figure; machine: what does so where there are several.
    """

    rank: tuple[bool, int]
    name: str
    label: str
    machine: str
    specs: dict[str, Spec]


def of_section(section: Section) -> Charts:
    """The charts of a section, the fullest to stand first."""
    made = {"throughput": throughput, "ratios": ratios, "accuracy": accuracy, "memory": memory}
    return Charts(
        rank=(not is_shipped(section.task), -len(section.rows)),
        name=_section_name(section),
        label=_section_label(section),
        machine=section.machine.name,
        specs={name: spec for name, make in made.items() for spec in [make(section)] if spec is not None},
    )


def of_sweep(sweep: Sweep) -> Charts:
    """The chart of a sweep."""
    name: str = {"batch-size": "batch", "width": "widths", "threads": "threads"}.get(sweep.kind, "processes")
    spec = over_sizes(sweep) if sweep.kind in ("batch-size", "width") else over_workers(sweep)
    return Charts(
        rank=(False, 0),
        name=_sweep_name(sweep) if name != "processes" else f"{sweep.kind}_{_sweep_name(sweep)}",
        label=sweeps.title(sweep),
        machine=sweep.machine.name,
        specs={} if spec is None else {name: spec},
    )


def figures(
    sections: Iterable[Charts], found: Iterable[Charts], history: Sequence[Shown], *, several: bool
) -> list[Figure]:
    """Every figure of the page, in order, of the charts of sections and sweeps in theirs. several: machines."""
    charts = [*sorted(sections, key=lambda one: one.rank), *found]  # sort keeps the rest in order

    def of(name: str) -> tuple[Plot, ...]:
        return tuple(
            Plot(name=f"{name}_{one.name}", label=label, description=f"{name}: {label}", spec=one.specs[name])
            for one in charts
            if name in one.specs
            for label in [one.label + (f", {one.machine}" if several else "")]
        )

    return [
        Figure(
            name="throughput",
            title="Throughput",
            note="Samples a second in steady state: the bar is the median over trials, the line their range.",
            plots=of("throughput"),
            why="no trial counts",
        ),
        Figure(
            name="ratios",
            title=f"Throughput beside {REFERENCE}",
            note=f"Ratio of samples/s to {REFERENCE} in the same blocks of the same run, with its 95% interval. "
            "The band is a tie (±1%).",
            plots=of("ratios"),
            why=f"no entry has run in the same blocks as {REFERENCE}",
        ),
        Figure(
            name="batch",
            title="Time of a step over the batch size",
            note="Dots are medians, lines the fit overhead + work × batch size. A dashed rule is where a line of "
            "PyTorch and one of TensorFlow cross; there is one only where both ends of the range are told apart.",
            plots=of("batch"),
            why=f"a sweep needs {LEAST_SIZES} batch sizes in one run (`bench run --batch-size`)",
        ),
        Figure(
            name="widths",
            title="Time of a step over the width",
            note="Dots are medians; the width is that of both hidden layers.",
            plots=of("widths"),
            why=f"a sweep needs {LEAST_SIZES} widths in one run (`bench run --width`)",
        ),
        Figure(
            name="threads",
            title="Samples a second over threads",
            note="Dots are medians, bars the range; the thin lines are N times the speed of the fewest threads.",
            plots=of("threads"),
            why="a sweep needs 2 numbers of threads in one run (`bench run --threads`)",
        ),
        Figure(
            name="processes",
            title="Samples a second over processes",
            note="Dots are medians, bars the range; the thin lines are N times the speed of the fewest processes. "
            "Strong scaling: they share one batch; weak scaling: the batch grows with them.",
            plots=of("processes"),
            why="a sweep needs 2 numbers of processes in one run (`bench run --processes`)",
        ),
        Figure(
            name="accuracy",
            title="Accuracy over training time",
            note="Test accuracy after each epoch, mean over trials, at the median of the training seconds until then; "
            "evaluation is not counted. The first step, with what is compiled for it, is.",
            plots=of("accuracy"),
            why="no trial counts",
        ),
        Figure(
            name="memory",
            title="Memory",
            note="Resident memory of the process, medians. The whole bar is the peak in training, its dark part what "
            "is resident after the import.",
            plots=of("memory"),
            why="no trial has its memory",
        ),
        Figure(
            name="history",
            title="History",
            note="Each point is one run: the ratio of a case to a pinned reference, with its 95% interval.",
            plots=tuple(_history(one) for one in history if len(one.series.points) > 1),
            why="a series needs two runs"
            + (f", and each of {len(history)} has one" if history else "; none is kept (`bench history`)"),
        ),
    ]


# --- charts -------------------------------------------------------------------------------------------------------


def throughput(section: Section) -> Spec | None:
    """Bars of medians with the range of the trials."""
    rows = [
        {
            **_who(row.case),
            "median": seen.median,
            "least": seen.least,
            "greatest": seen.greatest,
            "told": units.rate_spread(seen),
        }
        for row in section.rows
        for seen in [row.summary.samples_per_second]
        if seen is not None
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: -row["median"])
    return _filled(_throughput(), rows, height=_row_height(rows))


@cache
def _throughput() -> Spec:
    import altair as alt

    y = alt.Y("entry:N", sort=_order(), title=None)
    tooltip = [alt.Tooltip("entry:N"), alt.Tooltip("told:N", title="samples/s")]
    base = alt.Chart(_data())
    bars = base.mark_bar(height={"band": 0.62}).encode(
        y=y, x=alt.X("median:Q", title="samples/s", axis=_axis("~s")), color=_colour(), tooltip=tooltip
    )
    ranges = base.mark_rule(strokeWidth=2, color=INK).encode(y=y, x="least:Q", x2="greatest:Q", tooltip=tooltip)
    return _spec(alt.layer(bars, ranges))


def ratios(section: Section) -> Spec | None:
    """Ratios to the reference with their intervals, on a logarithmic axis."""
    rows = [
        {
            **_who(row.case),
            "ratio": of.ratio,
            "low": of.interval[0] if of.interval else of.ratio,
            "high": of.interval[1] if of.interval else of.ratio,
            "told": units.ratio(of),
            "verdict": units.verdict(of),
        }
        for row in section.rows
        for of in [row.comparison]
        if of is not None and of.ratio is not None
    ]
    if not rows:
        return None
    rows.sort(key=lambda row: -row["ratio"])
    band = [{"low": math.exp(-TIE_BAND), "high": math.exp(TIE_BAND)}]
    return _filled(_ratios(), rows, height=_row_height(rows), beside=band)


@cache
def _ratios() -> Spec:
    import altair as alt

    y = alt.Y("entry:N", sort=_order(), title=None)
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("ratio:Q", title=f"times the samples/s of {REFERENCE}", scale=scale, axis=_axis("~g"))
    tooltip = [alt.Tooltip("entry:N"), alt.Tooltip("told:N", title="ratio"), alt.Tooltip("verdict:N")]
    base = alt.Chart(_data())
    tie = alt.Chart(_data("beside")).mark_rect(opacity=0.25, color=OTHER_COLOUR).encode(x="low:Q", x2="high:Q")
    intervals = base.mark_rule(strokeWidth=2).encode(y=y, x="low:Q", x2="high:Q", color=_colour(), tooltip=tooltip)
    points = base.mark_point(filled=True, size=64, opacity=1).encode(y=y, x=x, color=_colour(), tooltip=tooltip)
    return _spec(alt.layer(tie, intervals, points))


def over_sizes(sweep: Sweep) -> Spec | None:
    """Times of a step over batch sizes or widths, with fitted lines and where PyTorch and TensorFlow cross."""
    batch = sweep.kind == "batch-size"
    if len(sweep.points) < LEAST_SIZES:
        return None
    points: list[Spec] = []
    lines: list[Spec] = []
    for one in sweep.entries:
        for size in sweep.points:
            of = spread(seconds_per_step(t) for t in one.trials if sweeps.point_of(t, sweep.kind) == size)
            if of is not None:
                told = f"{units.micro(of.median)} µs (n = {of.n})"
                points.append({**_who(one.case), "size": size, "micro": of.median * 1e6, "told": told})
        if batch and isinstance(one.fit, Fit):
            low, high = (math.log(end) for end in (sweep.points[0], sweep.points[-1]))
            for step in range(LINE_POINTS + 1):
                at = math.exp(low + (high - low) * step / LINE_POINTS)
                seconds = one.fit.predict(at).mean
                if seconds is not None and seconds > 0:
                    lines.append({**_who(one.case), "size": at, "micro": seconds * 1e6})
    crossings = [
        {"size": one.at, "told": sweeps.crossover_text(one, sweep)}
        for one in (sweeps.crossovers(sweep) if batch else [])
        if one.at is not None and {one.a.framework, one.b.framework} == {"torch", "tensorflow"}
    ]
    template = _over_sizes(batch=batch, lines=bool(lines), crossings=bool(crossings))
    return _filled(template, points, height=320, ticks=sweep.points, lines=lines, beside=crossings)


@cache
def _over_sizes(*, batch: bool, lines: bool, crossings: bool) -> Spec:
    import altair as alt

    log = alt.Scale(type="log", nice=False, padding=10)
    ticks = alt.Axis(values=_later("ticks"), format="d", grid=False)
    x = alt.X("size:Q", title="batch size" if batch else "width of the hidden layers", scale=log, axis=ticks)
    y = alt.Y("micro:Q", title="µs a step", scale=log, axis=_axis(",.0f"))
    colour, shape = _entry_colour(), _shape()
    tooltip = [alt.Tooltip("entry:N"), alt.Tooltip("size:Q", title="size"), alt.Tooltip("told:N", title="step")]
    base = alt.Chart(_data())
    layers: list[alt.Chart] = []
    if crossings:
        rules = alt.Chart(_data("beside")).mark_rule(strokeDash=[4, 4], color=OTHER_COLOUR)
        layers.append(rules.encode(x="size:Q", tooltip=alt.Tooltip("told:N", title="crossover")))
    drawn = alt.Chart(_data("lines")) if lines else base
    layers.append(drawn.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour, detail="entry:N"))
    layers.append(
        base.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)
    )
    return _spec(alt.layer(*layers))


def over_workers(sweep: Sweep) -> Spec | None:
    """Rates over threads or processes beside what as many times the speed of the fewest would be."""
    noun = "threads" if sweep.kind == "threads" else "processes"
    rows: list[Spec] = []
    for one in sweep.entries:
        known = sorted(one.efficiencies, key=lambda seen: seen.workers)
        for seen in known:
            rows.append(
                {
                    **_who(one.case),
                    noun: seen.workers,
                    "median": seen.rate.median,
                    "least": seen.rate.least,
                    "greatest": seen.rate.greatest,
                    "ideal": known[0].rate.median * seen.workers / known[0].workers,
                    "told": units.rate_spread(seen.rate),
                }
            )
    return _filled(_over_workers(noun), rows, height=300, ticks=sweep.points) if rows else None


@cache
def _over_workers(noun: str) -> Spec:
    import altair as alt

    x = alt.X(
        f"{noun}:Q",
        title=noun,
        scale=alt.Scale(padding=16, nice=False, zero=False),
        axis=alt.Axis(values=_later("ticks"), format="d", grid=False),
    )
    y = alt.Y("median:Q", title="samples/s", axis=_axis("~s"))
    colour = _entry_colour()
    tooltip = [alt.Tooltip("entry:N"), alt.Tooltip(f"{noun}:Q"), alt.Tooltip("told:N", title="samples/s")]
    base = alt.Chart(_data())
    return _spec(
        alt.layer(
            base.mark_line(strokeWidth=1, opacity=0.45).encode(x=x, y="ideal:Q", color=colour, detail="entry:N"),
            base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, detail="entry:N"),
            base.mark_rule(strokeWidth=1.5).encode(x=x, y="least:Q", y2="greatest:Q", color=colour),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                x=x, y=y, color=colour, shape=_shape(), tooltip=tooltip
            ),
        )
    )


def accuracy(section: Section) -> Spec | None:
    """Test accuracy after each epoch over the seconds of training until then."""
    rows: list[Spec] = []
    for row in section.rows:
        courses = [_course(trial) for trial in row.trials if counts(trial)]
        for epoch in range(min(map(len, courses), default=0)):
            at = spread(course[epoch][0] for course in courses)
            reached = math.fsum(course[epoch][1] for course in courses) / len(courses)
            if at is not None:
                told = f"{units.percent(reached)} after {units.seconds(at.median)}"
                rows.append(
                    {**_who(row.case), "seconds": at.median, "accuracy": reached, "epoch": epoch + 1, "told": told}
                )
    return _filled(_accuracy(), rows, height=340) if rows else None


@cache
def _accuracy() -> Spec:
    import altair as alt

    x = alt.X(
        "seconds:Q",
        title="seconds of training",
        scale=alt.Scale(type="log", nice=False, padding=10),
        axis=_axis("~g"),
    )
    y = alt.Y(
        "accuracy:Q", title="test accuracy", scale=alt.Scale(zero=False), axis=alt.Axis(format=".1%", tickCount=6)
    )
    tooltip = [alt.Tooltip("entry:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("told:N", title="reached")]
    base = alt.Chart(_data())
    order = alt.Order("epoch:Q")
    return _spec(
        alt.layer(
            base.mark_line(strokeWidth=1.5, opacity=0.8).encode(
                x=x, y=y, color=_entry_colour(), detail="entry:N", order=order
            ),
            base.mark_point(filled=True, size=40, opacity=1).encode(
                x=x, y=y, color=_entry_colour(), shape=_shape(), tooltip=tooltip
            ),
        )
    )


def _course(trial: Trial) -> list[tuple[float, float]]:
    """Seconds of training until the end of each epoch, and the accuracy then."""
    epochs = trial.measurements.epochs if trial.measurements else []
    seconds = accumulate(epoch.first_batch_seconds + epoch.window_seconds for epoch in epochs)
    return [(at, epoch.test_accuracy) for at, epoch in zip(seconds, epochs, strict=True)]


def memory(section: Section) -> Spec | None:
    """Bars of the peak in training, what the import took marked in them."""
    rows: list[Spec] = []
    for row in section.rows:
        peak, imported = row.summary.peak_training_bytes, row.summary.after_import
        if peak is not None:
            resident = None if imported is None else imported.rss_bytes.median
            rows.append(
                {
                    **_who(row.case),
                    "peak": peak.median / units.MIB,
                    "import": None if resident is None else resident / units.MIB,
                    "told": f"{units.mebibytes(peak.median)}, after import {units.mebibytes(resident)}",
                }
            )
    rows.sort(key=lambda row: row["peak"])
    return _filled(_memory(), rows, height=_row_height(rows)) if rows else None


@cache
def _memory() -> Spec:
    import altair as alt

    y = alt.Y("entry:N", sort=_order(), title=None)
    x = alt.X("peak:Q", title="MiB", axis=_axis(",d"))
    tooltip = [alt.Tooltip("entry:N"), alt.Tooltip("told:N", title="peak")]
    base = alt.Chart(_data())
    return _spec(
        alt.layer(
            base.mark_bar(height={"band": 0.62}, opacity=0.45).encode(y=y, x=x, color=_colour(), tooltip=tooltip),
            base.mark_bar(height={"band": 0.62}).encode(y=y, x="import:Q", color=_colour(), tooltip=tooltip),
        )
    )


def _history(one: Shown) -> Plot:
    """Ratios of a series over its runs, its changes as rules."""
    series, rows = one.series, []
    for index, point in enumerate(series.points):
        half = half_width(point.standard_error * math.sqrt(point.line.n), point.line.n)
        rows.append(
            {
                **_who(series.line.case),
                "run": f"{index + 1}",
                "commit": point.line.commit[:12],
                "ratio": math.exp(point.log_ratio),
                "low": math.exp(point.log_ratio - half),
                "high": math.exp(point.log_ratio + half),
            }
        )
    changes = [{"run": f"{change.index + 1}", "told": f"{100 * (change.ratio - 1):+.1f} %"} for change in one.changes]
    label = history_title(series)
    return Plot(
        name=f"history-page_{series.key}",
        label=label,
        description=f"history: {label}",
        spec=_filled(
            _over_runs(changes=bool(changes)),
            rows,
            height=260,
            ticks=[row["run"] for row in rows],
            title=escape.plain(f"times {series.reference}"),
            beside=changes,
        ),
    )


@cache
def _over_runs(*, changes: bool) -> Spec:
    import altair as alt

    x = alt.X("run:O", title="run", sort=_later("ticks"), axis=alt.Axis(labelAngle=0))
    y = alt.Y("ratio:Q", title=_later("title")[0], scale=alt.Scale(zero=False), axis=_axis("~g"))
    tooltip = [alt.Tooltip("commit:N"), alt.Tooltip("ratio:Q", format=".4")]
    base = alt.Chart(_data())
    layers = [
        base.mark_rule(strokeWidth=1.5).encode(x=x, y="low:Q", y2="high:Q", color=_colour()),
        base.mark_point(filled=True, size=50, opacity=1).encode(x=x, y=y, color=_colour(), tooltip=tooltip),
    ]
    if changes:
        rules = alt.Chart(_data("beside")).mark_rule(strokeDash=[4, 4], color=OTHER_COLOUR)
        layers.insert(0, rules.encode(x=x, tooltip=alt.Tooltip("told:N", title="change")))
    return _spec(alt.layer(*layers))


# --- what charts share --------------------------------------------------------------------------------------------


def _who(case: Case) -> Spec:
    framework = NAMES.get(case.framework, case.framework)
    return {"entry": escape.plain(entry_text(case)), "framework": escape.plain(framework)}


# A chart's form is made once, by Altair, which checks it against Vega-Lite's schema: to do so for every chart would be
# most of a report's time. Where a value is to stand, the form has a name.


def _later(name: str) -> list[str]:
    """A list that `_filled` puts in; its only element is the place of a single value."""
    return [f"@{name}@"]


def _data(name: str = "rows") -> Any:
    import altair as alt

    return alt.NamedData(name=_later(name)[0])


def _order() -> list[str]:
    """The entries in the order of the rows."""
    return _later("order")


def _filled(form: Spec, rows: Sequence[Spec], *, height: int, **values: Any) -> Spec:
    """The form with these rows, and what follows from them, in its places. values: of its further places."""
    found: dict[str, Any] = {
        "rows": rows,
        "order": [row["entry"] for row in rows],
        **_frameworks(rows),
        **_of_entries(rows),
        **values,
    }
    places = {_later(name)[0]: value for name, value in found.items()}
    return dict(_put_in(form, places)) | {"height": height}


def _put_in(form: Any, places: dict[str, Any]) -> Any:
    if isinstance(form, dict):
        made = {key: _put_in(value, places) for key, value in form.items()}
        if "data" in made:
            made["data"] = {"values": _plain(places[form["data"]["name"]])}
        return made
    if isinstance(form, list):
        if len(form) == 1 and isinstance(form[0], str) and form[0] in places:
            return list(places[form[0]])
        return [_put_in(value, places) for value in form]
    return places.get(form, form) if isinstance(form, str) else form


def _plain(rows: Iterable[Spec]) -> list[Spec]:
    """Plain also because Vega-Lite writes expressions with these texts, in which a line separator is no character."""
    return [{key: _drawn(row[key]) for key in sorted(row)} for row in rows]


def _drawn(value: Any) -> Any:
    """A value as a chart has it: six digits, since processors differ in the last bits of a fitted line."""
    if isinstance(value, str):
        return escape.plain(value)
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _axis(form: str) -> Any:
    import altair as alt

    return alt.Axis(format=form, tickCount=6)


def _colour() -> Any:
    """The frameworks that are there, in the order of COLOURS, others in grey behind them."""
    import altair as alt

    scale = alt.Scale(domain=_later("frameworks"), range=_later("colours"))
    return alt.Color("framework:N", scale=scale, title=None)


def _frameworks(rows: Iterable[Spec]) -> dict[str, list[str]]:
    there = {row["framework"] for row in rows}
    known = [name for name in COLOURS if name in there]
    domain = known + sorted(there - set(known))
    return {"frameworks": domain, "colours": [COLOURS.get(name, OTHER_COLOUR) for name in domain]}


_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")


def _shape() -> Any:
    """A shape for each entry, counted anew in each framework, whose colour tells it from the others'."""
    import altair as alt

    return alt.Shape("entry:N", scale=alt.Scale(domain=_later("entries"), range=_later("shapes")), title=None)


def _entry_colour() -> Any:
    """The framework's colour for each entry: with `_shape` it makes one legend."""
    import altair as alt

    scale = alt.Scale(domain=_later("entries"), range=_later("entry_colours"))
    return alt.Color("entry:N", scale=scale, title=None, legend=alt.Legend(orient="bottom"))


def _of_entries(rows: Iterable[Spec]) -> dict[str, list[str]]:
    colours: dict[str, str] = {}
    shapes: dict[str, str] = {}
    counted: dict[str, int] = defaultdict(int)
    for framework, entry in _entries(rows):
        colours[entry] = COLOURS.get(framework, OTHER_COLOUR)
        shapes[entry] = _SHAPES[counted[framework] % len(_SHAPES)]
        counted[framework] += 1
    return {"entries": list(colours), "entry_colours": list(colours.values()), "shapes": list(shapes.values())}


def _entries(rows: Iterable[Spec]) -> list[tuple[str, str]]:
    """Framework and entry, the frameworks in the order of COLOURS."""
    order = list(COLOURS)
    found = dict.fromkeys((row["framework"], row["entry"]) for row in rows)
    return sorted(found, key=lambda one: order.index(one[0]) if one[0] in order else len(order))


def _row_height(rows: Sequence[Spec]) -> int:
    return 24 * len(rows) + 8


def _spec(chart: Any) -> Spec:
    """The chart as a document, its keys in order, its places empty; as wide as its place."""
    import altair as alt

    made = chart.properties(width="container", height=1, autosize=alt.AutoSizeParams(type="fit-x", contains="padding"))
    made = (
        made.configure(font=FONT, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelLimit=220,
            labelColor=INK,
            titleColor=INK,
            domain=False,
            ticks=False,
            labelPadding=6,
            gridColor=GRID,
        )
        .configure_legend(
            orient="top", columns=LEGEND_COLUMNS, labelFontSize=12, labelLimit=220, labelColor=INK, symbolOpacity=1
        )
    )
    return dict(json.loads(json.dumps(made.to_dict(), sort_keys=True)))


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")


def _section_name(section: Section) -> str:
    task, precision = section.task, "" if section.precision == "ieee" else f"_{section.precision}"
    processes = "" if section.processes == 1 else f"_p{section.processes}"
    return _safe(
        f"{task.name}_b{task.batch_size}_e{task.epochs}_t{section.threads}{processes}{precision}_{section.machine.name}"
        f"_{task.fingerprint[:6]}"
    )


def _section_label(section: Section) -> str:
    task = section.task
    text = (
        f"{task.name}, batch {task.batch_size}, {units.count(task.epochs, 'epoch')}, "
        f"{units.workers(section.threads, section.processes)}"
    )
    return text + ("" if section.precision == "ieee" else f", {section.precision}")


def _sweep_name(sweep: Sweep) -> str:
    threads = "" if sweep.threads is None else f"_t{sweep.threads}"
    threads += "" if sweep.processes == 1 else f"_p{sweep.processes}"
    return _safe(f"{sweep.base}_{sweep.device}{threads}_b{sweep.task.batch_size}_{sweep.machine.name}_{sweep.run}")


# --- files --------------------------------------------------------------------------------------------------------


def to_svg(plot: Plot) -> str:
    """The chart as a file has it: with its label, on white, as wide as the files are. Made once, whoever asks again."""
    title = {"text": plot.label, "anchor": "start", "fontSize": 13, "color": INK}
    return _svg(json.dumps(plot.spec | {"width": STATIC_WIDTH, "title": title, "background": "white"}))


@lru_cache(maxsize=16)
def _svg(spec: str) -> str:
    import vl_convert

    return str(vl_convert.vegalite_to_svg(vl_spec=spec, vl_version=VEGA_LITE))


@lru_cache(maxsize=16)
def to_png(svg: str) -> bytes:
    """The picture of an SVG, with the SVG's SHA-256: the pixels of an edge differ from processor to processor.

    The hash is a tEXt chunk before the last one (PNG specification, third edition, 11.3.3.2).
    """
    import vl_convert

    made = bytes(vl_convert.svg_to_png(svg))
    named = b"tEXt" + f"{_SOURCE}\0{hashlib.sha256(svg.encode()).hexdigest()}".encode()
    chunk = struct.pack(">I", len(named) - 4) + named + struct.pack(">I", zlib.crc32(named))
    return made[:-_LAST] + chunk + made[-_LAST:]


def source_of(png: bytes) -> str | None:
    """The SHA-256 of the SVG that a picture by `to_png` shows; None where the bytes name none."""
    found = re.search(rb"tEXt" + re.escape(_SOURCE.encode()) + rb"\0([0-9a-f]{64})", png[-256:])
    return found[1].decode() if found else None
