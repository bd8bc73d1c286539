"""bench/publish/plots.py: what a chart shows is what the records say."""

import hashlib
import json
import re
import statistics
import struct
import zlib
from typing import Any

import pytest

from bench import stats
from bench.publish import plots, sweeps, tables
from bench.publish.plots import COLOURS, Figure, Plot
from bench.publish.tables import Record
from tests.make import MIB, make_machine, make_record, make_step, make_trial
from tests.publish.page import some_records
from tests.publish.test_history import make_shown

DIGITS = 1e-5  # a chart has six digits


def figures_of(records: list[Record]) -> dict[str, Figure]:
    """Every figure of the records, by its name."""
    found = sweeps.find(records)
    shown = [section for section in tables.sections(records) if section.rows and not sweeps.folded(section, found)]
    several = len({trial.machine.fingerprint for _, trial in records}) > 1
    made = plots.figures(map(plots.of_section, shown), map(plots.of_sweep, found), [], several=several)
    return {figure.name: figure for figure in made}


def values_of(plot: Plot) -> list[dict[str, Any]]:
    """All rows of all data in a chart, those that several layers share once."""
    parts = [plot.spec, *plot.spec["layer"]]
    found = [part["data"]["values"] for part in parts if "data" in part]
    return [row for n, rows in enumerate(found) if rows not in found[:n] for row in rows]


def swept() -> list[Record]:
    """PyTorch dear by the sample, TensorFlow by the step: they cross at batch 100."""
    return [
        make_record(make_step(entry, block, overhead + work * size * (1 + block / 1000), size))
        for block in range(3)
        for size in (32, 64, 128, 256)
        for entry, overhead, work in (("torch-eager", 2e-4, 4e-6), ("tensorflow-function", 4e-4, 2e-6))
    ]


def test_throughput_shows_median_and_range_of_the_trials() -> None:
    """A row an entry, the fastest first."""
    rows = values_of(figures_of(some_records())["throughput"].plots[0])
    rates = [stats.samples_per_second(t) for _, t in some_records() if t.case.entry == "torch-eager"]

    row = rows[0]

    assert ["torch-eager", "tensorflow-function", "tensorflow-eager"] == [r["entry"] for r in rows]
    want = [float(statistics.median(rates)), min(rates), max(rates)]  # type: ignore[arg-type, type-var]
    assert want == pytest.approx([row["median"], row["least"], row["greatest"]], rel=DIGITS)


def test_ratios_show_the_interval_of_the_comparison() -> None:
    """And no row for the reference itself."""
    rows = [r for r in values_of(figures_of(some_records())["ratios"].plots[0]) if "entry" in r]
    of = {e: [t for _, t in some_records() if t.case.entry == e] for e in ("torch-eager", "tensorflow-function")}
    ratio = stats.compare(of["torch-eager"], of["tensorflow-function"])

    row = next(r for r in rows if r["entry"] == "tensorflow-function")

    assert "torch-eager" not in {r["entry"] for r in rows}
    want = [ratio.ratio, *(ratio.interval or ())]
    assert want == pytest.approx([row["ratio"], row["low"], row["high"]], rel=DIGITS)


def test_a_sweep_shows_medians_the_fitted_line_and_the_crossover() -> None:
    """The line goes through what the fit predicts; the rule stands where the two lines meet."""
    records = swept()
    sweep = next(s for s in sweeps.find(records) if s.kind == "batch-size")
    rows = values_of(figures_of(records)["batch"].plots[0])
    meets = next(one.at for one in sweeps.crossovers(sweep))
    assert meets is not None

    crossing = [r for r in rows if "entry" not in r]
    dots = sorted(r["size"] for r in rows if r.get("entry") == "torch-eager" and "told" in r)

    assert [meets] == pytest.approx([r["size"] for r in crossing], rel=DIGITS)
    assert 90 < meets < 110
    assert [32, 64, 128, 256] == dots


def test_accuracy_runs_over_the_seconds_of_training() -> None:
    """A point an epoch; the first includes the first step."""
    rows = [
        r for r in values_of(figures_of(some_records())["accuracy"].plots[0]) if r["entry"] == "tensorflow-function"
    ]
    epoch = next(t for _, t in some_records() if t.placement.block == 1 and t.case.entry == "tensorflow-function")
    assert epoch.measurements is not None
    first = epoch.measurements.epochs[0]

    assert [1, 2, 3] == [r["epoch"] for r in rows]
    assert first.window_seconds + first.first_batch_seconds == pytest.approx(rows[0]["seconds"])
    assert first.test_accuracy == pytest.approx(rows[0]["accuracy"])


def test_memory_shows_the_peak_and_what_the_import_took() -> None:
    """In MiB."""
    row = values_of(figures_of(some_records())["memory"].plots[0])[0]

    assert (500, 400) == (row["peak"], row["import"])
    assert 500 * MIB == stats.summarise([t for _, t in some_records()])[0].peak_training_bytes.median  # type: ignore[union-attr]


def test_threads_show_what_as_many_would_reach() -> None:
    """Beside the rates that were measured."""
    records = []
    for block in range(2):
        for threads, seconds in ((1, 2.0), (2, 1.25)):
            path, trial = make_record(make_trial("torch-eager", block, threads=threads, seconds=seconds))
            records.append((path, trial))

    rows = values_of(figures_of(records)["threads"].plots[0])

    assert [1, 2] == [r["threads"] for r in rows]
    assert rows[1]["ideal"] == pytest.approx(2 * rows[0]["median"])
    assert rows[1]["median"] == pytest.approx(1.6 * rows[0]["median"])


def test_the_history_shows_each_runs_ratio() -> None:
    """As the kept lines have it; a series of one run has no plot and says so."""
    one = make_shown([0.0, 0.1, 0.2], [])
    none = next(f for f in plots.figures([], [], [make_shown([0.0], [])], several=False) if f.name == "history")

    figure = next(f for f in plots.figures([], [], [one], several=False) if f.name == "history")

    assert [1.0, 1.1052, 1.2214] == [round(r["ratio"], 4) for r in values_of(figure.plots[0])]
    assert ((), True) == (none.plots, "needs two runs" in none.why)


def test_a_framework_has_one_colour_in_every_figure() -> None:
    """By its name or its entries' names."""
    colours: dict[str, set[str]] = {"torch": set(), "tensorflow": set()}
    for figure in figures_of(swept()).values():
        for plot in figure.plots[:1]:
            for domain, shades in re.findall(
                r'"domain": (\[[^]]*\]), "range": (\[[^]]*#[^]]*\])', json.dumps(plot.spec)
            ):
                for name, shade in zip(json.loads(domain), json.loads(shades), strict=True):
                    for framework, said in (("torch", "PyTorch"), ("tensorflow", "TensorFlow")):
                        if name == said or name.startswith(f"{framework}-"):
                            colours[framework].add(shade)

    assert {"torch": {COLOURS["PyTorch"]}, "tensorflow": {COLOURS["TensorFlow"]}} == colours


def test_entries_of_one_framework_have_shapes_of_their_own() -> None:
    """Colour alone does not tell them apart."""
    spec = json.dumps(figures_of(some_records())["accuracy"].plots[0].spec)

    shapes = re.search(r'"shape": .*?"domain": (\[[^]]*\]), "range": (\[[^]]*\])', spec)
    assert shapes is not None
    by_entry = dict(zip(json.loads(shapes[1]), json.loads(shapes[2]), strict=True))

    assert by_entry["tensorflow-function"] != by_entry["tensorflow-eager"]


def test_a_figure_without_data_is_not_drawn_and_says_why() -> None:
    """Of no records at all: every one of them."""
    found = plots.figures([], [], [], several=False)

    assert [] == [f.name for f in found if f.plots or not f.why]


def test_machines_have_charts_of_their_own() -> None:
    """Named in the labels, for nothing else tells them apart."""
    other = make_machine(fingerprint="machine-1", name="elsewhere")
    there = [make_record(t.model_copy(update={"machine": other})) for _, t in some_records()]

    labels = [plot.label for plot in figures_of([*some_records(), *there])["throughput"].plots]

    assert 2 == len(labels)
    assert all(name in " ".join(labels) for name in ("testbox", "elsewhere"))


def test_a_chart_becomes_a_picture() -> None:
    """An SVG with the entries' names, a PNG of its size."""
    svg = plots.to_svg(figures_of(some_records())["throughput"].plots[0])

    assert "tensorflow-function" in svg
    assert plots.to_png(svg).startswith(b"\x89PNG")


def test_a_picture_names_the_svg_that_it_shows() -> None:
    """In a text chunk with a right checksum, as every reader of PNG demands."""
    svg = plots.to_svg(figures_of(some_records())["throughput"].plots[0])

    made = plots.to_png(svg)

    at = made.index(b"tEXt")
    length, sealed = struct.unpack(">I", made[at - 4 : at])[0], made[at + 4 :]
    assert hashlib.sha256(svg.encode()).hexdigest() == plots.source_of(made)
    assert zlib.crc32(made[at : at + 4 + length]) == struct.unpack(">I", sealed[length : length + 4])[0]
    assert made.endswith(b"IEND\xae\x42\x60\x82")


def test_other_bytes_name_no_svg() -> None:
    """A picture that something else has made, and what is none."""
    assert plots.source_of(b"\x89PNG\r\n\x1a\n") is None
    assert plots.source_of(b"") is None


def test_the_last_bits_of_a_fit_are_not_drawn() -> None:
    """Processors differ in them, and the page must be the same bytes everywhere."""
    drawn = [row["micro"] for row in values_of(figures_of(swept())["batch"].plots[0]) if "micro" in row]

    assert drawn
    assert drawn == [float(f"{value:.6g}") for value in drawn]
