"""bench/publish/page.py: one page that says what the records say, whatever stands in them."""

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import stats
from bench.contract import ENTRIES
from bench.duets import contests
from bench.material import Entry, Withdrawn
from bench.publish import machines as of_machines
from bench.publish import page, plots, units
from bench.record import Reading
from bench.studying import StudyRecord
from bench.task import load_task
from tests.command import ROOT
from tests.make import make_machine, make_record, make_task, make_trial
from tests.publish.page import Element, drawn_of, files_of, make_material, page_of, read, some_duets, some_records

HOSTILE = "<script>window.broken=1</script><img src=x onerror=window.broken=1>\"'`&amp;</script>\u2028<!--\u202e"


@pytest.fixture(scope="module")
def shown() -> Element:
    """The page of some records."""
    return read(page_of(make_material(some_records())))


def make_study(value: float, block: int = 0, **changes: object) -> tuple[Path, StudyRecord]:
    """A record of the study code-size."""
    trial = make_trial("torch-eager", block, task=load_task("mlp"))
    record = StudyRecord(
        study="code-size",
        run="study-0",
        plan_seed=3,
        block=block,
        position=0,
        case=trial.case,
        task=trial.task,
        training_seed=0,
        status="ok",
        reason=None,
        readings=[Reading(name="syntax_nodes", unit="1", value=value)],
        versions=trial.versions,
        implementation_sha256=None,
        machine=trial.machine,
        source=trial.source,
        cores=[0],
        load_before=None,
        time_limit_seconds=1.0,
        started_utc="2026-01-02T04:00:00Z",
        worker_seconds=1.0,
    ).model_copy(update=changes)
    return Path(
        f"results/raw/2026-01-02/testbox/study-0/study_code-size_block-{block:03d}_mlp_torch-eager.json"
    ), record


def test_the_numbers_of_a_case_are_the_records(shown: Element) -> None:
    """Each figure recomputed from the trials; sorted by the figure itself, not by its text."""
    trials = [t for _, t in some_records() if t.case.entry == "tensorflow-function"]
    summary = stats.summarise(trials)[0]
    ratio = stats.compare([t for _, t in some_records() if t.case.entry == "torch-eager"], trials)
    rate = summary.samples_per_second
    assert rate is not None

    table = shown.by_id("cases")
    cells = next(row for row in table.rows() if row[0] == "tensorflow-function")
    order = [
        float(c.attributes["data-order"])
        for row in table.all("tbody")[0].all("tr")
        if row.inside[0].text.strip() == "tensorflow-function"
        for c in row.inside
        if "data-order" in c.attributes
    ]

    assert [units.rate_spread(rate), units.ratio(ratio), ratio.verdict, "2.75 s", "500 MiB", "100 MiB"] == cells[8:14]
    assert rate.median in order
    assert ratio.ratio in order


def test_every_case_links_to_its_records_block_by_block(shown: Element) -> None:
    """One click from a row to a record's JSON."""
    row = next(r for r in shown.by_id("cases").all("tbody")[0].all("tr") if r.inside[0].text.strip() == "torch-eager")

    links = [(a.text, a.attributes["href"]) for a in row.inside[-1].all("a")]

    folder = "raw/2026-01-02/testbox/run-0"
    assert [(str(n), f"{folder}/block-00{n}_torch-eager_cpu_t2.json") for n in range(3)] == links


def test_every_observation_of_a_verdict_links_to_its_records(shown: Element) -> None:
    """Of a pair both sides, each record once."""
    card = shown.by_id("claim-efficient-as-written-machine-0")
    row = card.all("tbody")[0].all("tr")[0]

    names = [Path(a.attributes["href"]).name for a in row.all("a")]

    expected = [f"block-00{n}_{e}_cpu_t2.json" for e in ("tensorflow-function", "torch-eager") for n in range(3)]
    assert expected == names


def test_much_evidence_leads_to_the_pages_own_list_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clicks still: a place in the list, and there every record of that case."""
    monkeypatch.setattr(page, "MOST_DIRECT", 3)
    shown = read(page_of(make_material(some_records())))
    row = shown.by_id("claim-efficient-as-written-machine-0").all("tbody")[0].all("tr")[0]

    links = [a.attributes["href"] for a in row.all("a")]
    names = [Path(a.attributes["href"]).name for link in links for a in shown.by_id(link[1:]).all("a")]

    assert ["3 records", "3 records"] == [a.text for a in row.all("a")]
    assert [f"block-00{n}_{e}_cpu_t2.json" for e in ("tensorflow-function", "torch-eager") for n in range(3)] == names


def test_the_page_says_what_to_take_with_both_figures(shown: Element) -> None:
    """PyTorch is twice as fast in the records: named, with how much and of whom."""
    row = next(r for r in shown.all("tbody")[0].all("tr") if "as the guides write it" in r.text)

    assert "PyTorch" == row.inside[1].text.strip()
    assert "2.00 [2.00, 2.00] times" == row.inside[2].text.strip()
    assert "torch-eager" in row.inside[3].text
    assert "tensorflow-function" in row.inside[4].text


def test_every_link_inside_the_page_leads_somewhere(shown: Element) -> None:
    """Each #name has its element, and no two elements have one id."""
    ids = [e.attributes["id"] for e in shown.everything() if "id" in e.attributes]
    asked = {a.attributes["href"][1:] for a in shown.all("a") if a.attributes["href"].startswith("#")}

    assert len(ids) == len(set(ids))
    assert asked <= set(ids)


def test_the_page_asks_no_network_for_anything(shown: Element) -> None:
    """No element loads, every address is relative, and the policy would refuse all the same."""
    addresses = [e.attributes[name] for e in shown.everything() for name in ("href", "src") if name in e.attributes]

    assert [] == [e.tag for e in shown.everything() if e.tag in ("img", "link", "iframe", "object", "embed", "base")]
    assert [] == [e for e in shown.all("script") if "src" in e.attributes]
    assert [] == [address for address in addresses if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|//|/", address)]
    assert "default-src 'none'" in next(m.attributes["content"] for m in shown.all("meta") if "content" in m.attributes)


def test_the_policy_names_every_script_by_its_hash(shown: Element) -> None:
    """And no other: what a record might smuggle in is not run."""
    policy = next(m.attributes["content"] for m in shown.all("meta") if "Policy" in m.attributes.get("http-equiv", ""))
    scripts = [s for s in shown.all("script") if s.attributes["type"] == "module"]

    hashes = [base64.b64encode(hashlib.sha256(s.text.encode()).digest()).decode() for s in scripts]

    assert 3 == len(hashes)
    assert hashes == re.findall(r"'sha256-([^']+)'", policy)


def test_the_page_of_many_records_is_small_enough() -> None:
    """As many as evidence links to directly: under 5 MB, all that it needs within."""
    names = [entry.name for entry in ENTRIES][:15]
    records = []
    for size in (32, 64, 128, 256, 512):
        task = make_task(batch_size=size)
        for number, (entry, block) in enumerate(itertools.product(names, range(page.MOST_DIRECT // 5 // len(names)))):
            path, trial = make_record(make_trial(entry, block, seconds=1 + number / 1000, task=task))
            records.append((path.with_name(f"{path.stem}_b{size}.json"), trial))

    assert page.MOST_DIRECT == len(records)
    assert len(page_of(make_material(records)).encode()) < page.MOST_BYTES


def test_the_published_page_is_small_enough() -> None:
    """What is committed grows with every run that is published."""
    assert (ROOT / "results" / "index.html").stat().st_size < page.MOST_BYTES


def test_the_same_records_give_the_same_bytes() -> None:
    """In whatever order they are read; page, SVG and PNG."""
    records = some_records()

    assert files_of(make_material(records)) == files_of(make_material(records[::-1]))


def test_pictures_that_were_prepared_are_not_made_again() -> None:
    """Those of the machines that were drawn already, which stay first once the last one is there."""
    machines = [make_machine(fingerprint=f"machine-{name}", name=name) for name in ("ada", "eniac", "zuse")]
    records = [(path, t.model_copy(update={"machine": m})) for m in machines for path, t in some_records()]
    made = files_of(make_material(records))
    for remembered in (plots._svg, plots.to_png):
        remembered.cache_clear()

    page.prepare(drawn_of(make_material([one for one in records if one[1].machine != machines[-1]])))
    prepared = plots._svg.cache_info().misses

    assert made == files_of(make_material(records))
    assert 0 < prepared == plots._svg.cache_info().misses


def test_plots_lie_beside_the_page_as_svg_and_png() -> None:
    """Of each figure that has data, and the page links to both."""
    made = files_of(make_material(some_records()))

    names = sorted(path.name for path in made if path.parent.name == "plots")
    linked = re.findall(r'href="plots/([^"]+)"', str(made[Path("results/index.html")]))

    assert {"throughput.svg", "throughput.png", "accuracy.svg", "memory.png"} <= set(names)
    assert names == sorted(linked)
    assert all(made[Path("results/plots") / n][:4] == b"\x89PNG" for n in names if n.endswith("png"))


def test_what_a_record_says_is_text_whatever_it_says() -> None:
    """No element, attribute or script comes of it, in tables, cards, plots, and lists."""
    machine = make_machine(fingerprint=HOSTILE, name=HOSTILE, cpu_model=HOSTILE, kernel="javascript:alert(1)")
    packages = {"torch": HOSTILE, HOSTILE: "javascript:alert(1)"}
    records = [
        make_record(
            make_trial(entry, block, machine=machine, packages=packages, environment=environment, run="javascript:1")
        )
        for block in range(2)
        for entry, environment in (("torch-eager", ""), ("tensorflow-function", HOSTILE), (f"x{HOSTILE}", ""))
    ]
    failed = make_trial("torch-compile", 0, machine=machine, status="failed", reason=HOSTILE)
    disturbed = make_trial("numpy", 0, machine=machine).model_copy(update={"disturbances": [HOSTILE]})
    path, study = make_study(1.0, study=HOSTILE, run=HOSTILE, machine=machine)
    lost = path.with_name("study_x_block-001.json"), study.model_copy(update={"status": "crashed", "reason": HOSTILE})

    text = page_of(make_material([*records, make_record(failed), make_record(disturbed)], [(path, study), lost]))
    shown, plain = read(text), read(page_of(make_material(some_records())))

    assert {e.tag for e in shown.everything()} <= {e.tag for e in plain.everything()}
    assert 4 == len(shown.all("script"))
    assert [] == [e.tag for e in shown.everything() for name in e.attributes if name.startswith("on")]
    assert [] == [a for a in shown.all("a") if re.match(r"\s*\w+:", a.attributes["href"])]
    assert "<script>window.broken=1</script>" in shown.by_id("failures").text
    assert "\u202e" not in text


def test_data_inside_a_script_cannot_end_it() -> None:
    """The charts' data is the records', and holds no < and no line separator of JavaScript."""
    text = page_of(make_material([make_record(make_trial(f"x{HOSTILE}", block)) for block in range(2)]))
    data = re.search(r'<script type="application/json" id="specs">(.*?)</script>', text, re.DOTALL)
    assert data is not None

    assert not set(data[1]) & {"<", ">", "\u2028", "\u2029"}
    assert "onerror" in json.dumps(json.loads(data[1]))


def test_failures_refusals_and_disturbances_are_in_sight() -> None:
    """Of every run, with reason and record; of studies too."""
    failed = make_trial("torch-compile", 1, status="timed-out", reason="took more than 300 s", run="earlier")
    spoilt = make_trial("numpy", 0).model_copy(update={"disturbances": ["2.5 % of the cores' time was stolen"]})
    path, study = make_study(1.0, 2, status="crashed", reason="signal 11")
    shown = read(page_of(make_material([*some_records(), make_record(failed), make_record(spoilt)], [(path, study)])))

    lines = [" ".join(cells) for cells in shown.by_id("failures").rows()]

    assert any("torch-compile" in line and "timed-out took more than 300 s 1" in line for line in lines)
    assert any("study code-size" in line and "crashed signal 11 2" in line for line in lines)
    assert "2.5 % of the cores' time was stolen" in shown.by_id("disturbed").text


def test_a_study_is_shown_with_its_readings() -> None:
    """Median, range and n, and its records."""
    shown = read(
        page_of(make_material(some_records(), [make_study(value, n) for n, value in enumerate((90, 100, 120))]))
    )

    line = next(row for row in shown.by_id("studies").rows())

    assert ["code-size", "torch-eager", "mlp", "2", "syntax_nodes", "100 (90..120, n = 3)"] == line[:6]
    assert "3 records" == line[-1]


def test_what_was_not_measured_says_why(shown: Element) -> None:
    """Claims and plots alike."""
    card = shown.by_id("claim-cuda")

    assert "not measured here" in card.text
    assert "first-gpu-run.md" in shown.by_id("unmeasured").text
    assert "Not drawn: a sweep needs 3 batch sizes" in shown.by_id("plot-batch").text


def test_a_figure_that_is_not_there_is_not_0() -> None:
    """Memory that could not be read: the reason, and nothing to be sorted by."""
    trials = [
        make_trial("torch-eager", n, peak_bytes=None, above_import_bytes=None, memory_reason="no /proc")
        for n in range(2)
    ]
    shown = read(page_of(make_material([make_record(trial) for trial in trials])))

    cells = [c for c in shown.by_id("cases").all("td") if "no /proc" in c.text]

    assert ["not measured (no /proc)"] * 2 == [cell.text.strip() for cell in cells]
    assert ["", ""] == [cell.attributes["data-order"] for cell in cells]


def test_machines_stand_side_by_side_and_are_never_pooled() -> None:
    """A block for each, cards for each, a table of both, and rows that say whose they are."""
    other = make_machine(fingerprint="machine-1", name="elsewhere")
    there = [
        make_record(trial.model_copy(update={"machine": other, "placement": trial.placement}))
        for _, trial in some_records()
    ]
    shown = read(page_of(make_material([*some_records(), *there])))

    places = [e for e in shown.everything() if e.attributes.get("class") == "place"]
    of_case = [row for row in shown.by_id("cases").rows() if row[0] == "torch-eager"]

    assert ["machine-0", "machine-1"] == sorted(place.attributes["data-machine"] for place in places)
    assert {"testbox", "elsewhere"} == {cell for row in of_case for cell in row} & {"testbox", "elsewhere"}
    assert 2 == len(of_case)
    for machine in ("machine-0", "machine-1"):
        assert shown.by_id(f"claim-efficient-as-written-{machine}").text.count("n") > 0
    assert next(t for t in shown.all("table") if t.attributes.get("class") == "matrix").rows()


def test_ratios_of_several_machines_stand_side_by_side() -> None:
    """Each under its own machine, with a link to its own row and the records there."""
    here, there = make_machine(), make_machine(fingerprint="machine-1", name="elsewhere")
    shown = read(page_of(make_material(some_records(), duets=some_duets([here, there]))))

    table = shown.by_id("machines").all("table")[0]
    cells = [cell for cell in table.all("td") if "data-machine" in cell.attributes]
    heads = [head.attributes["data-machine"] for head in table.all("th") if "data-machine" in head.attributes]

    assert heads == [cell.attributes["data-machine"] for cell in cells] == ["machine-1", "machine-0"]
    for cell, machine, ratio in zip(cells, (there, here), ("1.307", "1.961"), strict=True):
        [link] = cell.all("a")
        row = shown.by_id(link.attributes["href"].removeprefix("#"))
        assert link.text.startswith(f"{ratio} [")
        assert link.text in row.text
        assert row.attributes["data-machine"] == machine.fingerprint
        assert all(f"/{machine.name}/" in record.attributes["href"] for record in row.all("a"))
        assert 3 == len(row.all("a"))


def test_the_first_answer_is_what_all_machines_say() -> None:
    """Of ratios in turns, with a link to each of them."""
    played = some_duets([make_machine(), make_machine(fingerprint="machine-1", name="elsewhere")])
    first, *_ = read(page_of(make_material(some_records(), duets=played))).by_id("answer").all("div")

    said = [answer.text for answer in first.all("li")]

    assert said == of_machines.answer_lines(contests(played)) != []
    assert "#machines" in [link.attributes["href"] for link in first.all("a")]


def test_one_machine_has_no_table_of_machines() -> None:
    """Its ratios are in the table of duets, and its own answer is the first."""
    shown = read(page_of(make_material(some_records(), duets=some_duets([make_machine()]))))

    assert shown.by_id("answer").all("div")[0].attributes["data-machine"] == make_machine().fingerprint

    assert not [e for e in shown.everything() if e.attributes.get("id") == "machines"]
    assert shown.by_id("duets").rows()


def test_withdrawn_results_stay_listed_with_their_reason() -> None:
    """And with links to the records, which stay."""
    path = Path("results/raw/2026-01-01/testbox/old/block-000_x.json")
    entry = Entry(records="2026-01-01/*", date="2026-02-01", reason="a package was being installed")

    shown = read(page_of(make_material(some_records(), withdrawn=[Withdrawn(entry=entry, paths=(path,))])))

    section = shown.by_id("withdrawn")
    assert "2026-02-01: 2026-01-01/*: a package was being installed" in " ".join(section.text.split())
    assert ["raw/2026-01-01/testbox/old/block-000_x.json"] == [a.attributes["href"] for a in section.all("a")]


def test_results_in_which_nothing_counts_make_a_page_all_the_same() -> None:
    """No row, no plot, and each says why."""
    shown = read(page_of(make_material([make_record(make_trial(status="crashed", reason="signal 11"))])))

    assert "No trial counts yet." in shown.by_id("cases").text
    assert "Not drawn: no trial counts" in shown.by_id("plot-throughput").text
    assert "signal 11" in shown.by_id("failures").text


def test_no_results_at_all_make_a_page_that_says_so() -> None:
    """And how to get some."""
    assert "No results yet" in read(page_of(make_material([]))).by_id("answer").text


def test_the_page_says_how_to_make_its_records_anew(shown: Element) -> None:
    """The commands of the runs that are shown."""
    assert "bench run --profile quick --task mlp" in shown.by_id("reproduce").text


def test_nothing_is_loaded_for_the_page_before_it_is_made() -> None:
    """`bench run` starts as fast as ever."""
    code = (
        "import sys, bench.cli, bench.publish.page\n"
        "print(sorted({'altair', 'vl_convert', 'itables', 'jinja2', 'pandas'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that are, and none that is there."""
    real = page.importlib.util.find_spec
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None if name == "altair" else real(name))

    assert ["altair"] == page.missing()
