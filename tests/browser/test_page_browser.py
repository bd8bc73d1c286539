"""results/index.html in a real browser: Chromium, opened from the disk, with the network watched.

Skipped where no Chromium is installed (Debian: `apt-get install chromium`).
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from bench import claims, stats
from bench.duets import Played
from bench.publish.tables import Record
from bench.record import Trial
from tests.make import make_machine, make_record, make_step, make_trial
from tests.publish.page import make_material, page_of, some_duets, some_records

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (Debian: apt-get install chromium)")

HOSTILE = "</script><script>window.broken=1</script><img src=x onerror=window.broken=1>"
ELSEWHERE = make_machine(fingerprint="machine-1", name="elsewhere")


@dataclass
class Watched:
    """A page, and what it said and asked for since it was opened."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def rows(self, table: str) -> list[list[str]]:
        """The cells of the rows that a table shows."""
        found: list[list[str]] = self.page.evaluate(
            "id => [...document.querySelectorAll(`#${id} tbody tr`)].map(r => [...r.cells].map(c => c.innerText))",
            table,
        )
        return found


def written(folder: Path, records: list[Record], duets: Sequence[Played] = ()) -> Path:
    """The records' files and their page."""
    for path, trial in records:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trial.to_json(), encoding="utf-8")
    place = folder / "index.html"
    place.write_text(page_of(make_material(records, duets=duets), folder), encoding="utf-8")
    return place


def on(trial: Trial) -> Trial:
    """The trial on another machine."""
    return trial.model_copy(update={"machine": ELSEWHERE})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; as root it runs only without its sandbox."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page of `records` lies."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def place(results: Path, records: list[Record]) -> Path:
    """The page of `records`, and of duets of both machines."""
    return written(results, records, some_duets([make_machine(), ELSEWHERE], results))


@pytest.fixture(scope="module")
def records(results: Path) -> list[Record]:
    """Of two machines, with a sweep."""
    records = some_records(results)
    records += [make_record(on(trial), results) for _, trial in some_records(results)]
    for block in range(3):
        for entry, overhead in (("torch-eager", 2e-4), ("tensorflow-function", 4e-4)):
            for size in (32, 64, 128):
                seconds = overhead + size * (5e-6 if entry == "torch-eager" else 2e-6) * (1 + block / 100)
                path, trial = make_record(make_step(entry, block, seconds, size, run="sweep"), results)
                records.append((path.with_name(f"{path.stem}_b{size}.json"), trial))
    return records


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of records whose every text is an attack."""
    results = tmp_path_factory.mktemp("hostile")
    machine = make_machine(name=HOSTILE, cpu_model=HOSTILE, kernel="javascript:window.broken=1")
    packages = {"torch": HOSTILE, HOSTILE: "1"}
    trials = [
        make_trial(entry, block, machine=machine, packages=packages, run=f"run-{block}")
        for entry in ("torch-eager", "tensorflow-function", HOSTILE)
        for block in range(2)
    ]
    trials.append(make_trial("numpy", machine=machine, status="failed", reason=HOSTILE))
    records = []
    for n, trial in enumerate(trials):
        records.append(
            (results / "raw" / "2026-01-02" / "javascript:window.broken=1" / f"{n}" / "block-000_x.json", trial)
        )
    return written(results, records)


def opened(browser: Browser, place: Path, *, width: int = 1280, scheme: str = "light", scripts: bool = True) -> Watched:
    """The page in a window of its own, ready."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=scripts,
    )
    watched = Watched(page=context.new_page())
    page = watched.page
    page.on("console", lambda said: watched.complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("dialog", lambda dialog: (watched.complaints.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.goto(place.as_uri())
    if scripts:
        page.wait_for_selector("html[data-ready]", timeout=60_000)
    return watched


@pytest.fixture
def shown(browser: Browser, place: Path) -> Iterator[Watched]:
    """The page, anew for each test."""
    watched = opened(browser, place)
    yield watched
    watched.page.context.close()


def draw_everything(page: Page) -> None:
    """Scroll to each plot, and wait until it is drawn."""
    for plot in page.locator(".plot").all():
        plot.scroll_into_view_if_needed()
        plot.locator("svg.marks").wait_for()


def test_the_page_loads_in_peace_and_asks_no_network(shown: Watched, place: Path) -> None:
    """Every plot drawn, nothing said on the console, nothing asked for but the page itself."""
    draw_everything(shown.page)

    assert [] == shown.complaints
    assert [place.as_uri()] == shown.requests
    assert 5 <= shown.page.locator(".plot").count() == shown.page.locator(".plot svg.marks").count()


def test_a_head_sorts_by_the_figures(shown: Watched) -> None:
    """Once up, once more down; by value, where texts would put 98,000 behind 100,000.

    A table is sorted a moment after the click, so that a long one can say first that it works.
    """
    head = shown.page.locator("#cases th", has_text="Samples/s")
    column = head.evaluate("e => e.cellIndex")
    read = "n => [...document.querySelectorAll('#cases tbody tr')].map(r => +r.cells[n].dataset.order)"

    head.click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    up = shown.page.evaluate(read, column)
    head.click()
    expect(head).to_have_attribute("aria-sort", "descending")
    down = shown.page.evaluate(read, column)

    assert len(set(up)) > 3
    assert sorted(up) == up
    assert sorted(up, reverse=True) == down


def test_a_head_sorts_from_the_keyboard(shown: Watched) -> None:
    """Focus and Enter do what a click does."""
    head = shown.page.locator("#cases th", has_text="Entry")

    head.locator("[tabindex='0']").or_(head).last.focus()
    shown.page.keyboard.press("Enter")

    expect(head).to_have_attribute("aria-sort", "ascending")


def test_a_choice_filters_and_a_search_narrows(shown: Watched) -> None:
    """By whole value, then by text."""
    before = len(shown.rows("cases"))

    shown.page.get_by_label("Framework in Every case").select_option("TensorFlow")
    chosen = shown.rows("cases")
    shown.page.locator("#cases input").fill("tensorflow-eager")
    expect(shown.page.locator("#cases tbody tr")).not_to_have_count(len(chosen))
    narrowed = shown.rows("cases")

    assert before > len(chosen) > len(narrowed) > 0
    assert {"TensorFlow"} == {row[1] for row in chosen}
    assert {"tensorflow-eager"} == {row[0] for row in narrowed}


def card_of(shown: Watched, claim: str) -> Locator:
    """A verdict's card on the first machine."""
    return shown.page.locator(f"#claim-{claim}-machine-0")


def test_a_card_opens_from_the_keyboard_and_shows_the_records_numbers(shown: Watched, records: list[Record]) -> None:
    """Enter opens it; verdict and ratio in it are those that the records give."""
    judged = next(
        one
        for one in claims.judge(claims.read_claims(), records, [])
        if one.claim.name == "efficient-as-written" and one.machine == make_machine()
    )
    of_size = [trial for _, trial in records if trial.case.batch_size == 128]
    a, b = ([t for t in of_size if t.case.entry == name] for name in ("torch-eager", "tensorflow-function"))
    ratio = stats.compare(a, b).ratio
    card = card_of(shown, "efficient-as-written")

    card.locator("summary").focus()
    shown.page.keyboard.press("Enter")

    assert card.get_attribute("open") is not None
    assert judged.verdict in card.locator("summary").inner_text()
    assert f"{ratio:.2f} [" in card.locator(".opened").inner_text()


def test_two_clicks_lead_from_a_number_to_its_record(shown: Watched, place: Path) -> None:
    """The ratio of the first table, then a block: the JSON that the figures come from."""
    shown.page.locator(".glance .much a").first.click()
    table = shown.page.locator(".behind[open] table.evidence").first
    table.locator(".records a").first.click()
    shown.page.wait_for_url("**/*.json")

    document = json.loads(shown.page.locator("body").inner_text())

    assert document == json.loads(Path(shown.page.url.removeprefix("file://")).read_text(encoding="utf-8"))
    assert "tensorflow-function" == document["case"]["entry"]


def test_a_link_to_a_closed_card_opens_it(shown: Watched) -> None:
    """From the list of what is not measured."""
    shown.page.locator("#unmeasured a").first.click()

    expect(shown.page.locator(".card[open]")).to_have_count(1)


def test_a_link_to_what_a_choice_has_put_away_shows_it_again(shown: Watched) -> None:
    """A card of the other machine, and of another verdict."""
    link = shown.page.locator("#unmeasured a").first
    card = shown.page.locator(f"[id='{(link.get_attribute('href') or '').removeprefix('#')}']")
    others = {"machine-0", "machine-1"} - {card.get_attribute("data-machine")}
    shown.page.locator("#machine").select_option(others.pop())
    shown.page.locator("#verdict").select_option("refuted")
    expect(card).not_to_be_visible()

    link.click()

    expect(card).to_be_visible()
    expect(card).to_have_attribute("open", "")


def test_one_machine_can_be_shown_alone(shown: Watched) -> None:
    """Blocks, cards and rows of the other are gone, and come back."""
    both = len(shown.rows("cases"))

    shown.page.locator("#machine").select_option("machine-1")
    alone = shown.rows("cases")
    places = shown.page.locator(".place:visible").count()
    cards = shown.page.locator(".card[data-machine='machine-0']:visible").count()
    shown.page.locator("#machine").select_option("")

    assert (1, 0) == (places, cards)
    assert both > len(alone) > 0
    assert both == len(shown.rows("cases"))


def test_ratios_are_shown_of_one_machine_alone_or_of_all(shown: Watched) -> None:
    """Its column; and a ratio leads to its row among the duets."""
    cells = shown.page.locator("#machines td[data-machine]")

    shown.page.locator("#machine").select_option("machine-1")
    alone = [cell.get_attribute("data-machine") for cell in cells.all() if cell.is_visible()]
    shown.page.locator("#machine").select_option("")
    link = cells.locator("a").first
    link.click()

    assert alone == ["machine-1"]
    assert [True, True] == [cell.is_visible() for cell in cells.all()]
    expect(
        shown.page.locator(f"#duets [id='{(link.get_attribute('href') or '').removeprefix('#')}']")
    ).to_be_in_viewport()


def test_cards_can_be_chosen_by_verdict(shown: Watched) -> None:
    """Only those are left, and topics without any are gone."""
    shown.page.locator("#verdict").select_option("refuted")

    left = shown.page.locator(".card:visible")
    assert left.count() > 0
    assert {"refuted"} == {card.get_attribute("data-verdict") for card in left.all()}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_does_not_scroll_sideways(browser: Browser, place: Path, width: int) -> None:
    """With every card open and every plot drawn; wide tables scroll by themselves."""
    watched = opened(browser, place, width=width)
    watched.page.locator("#open").click()
    watched.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    draw_everything(watched.page)

    assert width >= watched.page.evaluate("document.documentElement.scrollWidth")
    watched.page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_heading_stays_above_its_column_when_a_table_is_scrolled(browser: Browser, place: Path, width: int) -> None:
    """The first column stays in sight where there is room for it, and goes with the others on a phone: all of it."""
    watched = opened(browser, place, width=width)
    table = watched.page.locator(".data").first
    table.evaluate("one => { one.closest('.scroll').scrollLeft = 200; }")
    at = "one => one.getBoundingClientRect().left"
    head, cell = (table.locator(f"{part}:first-child").first.evaluate(at) for part in ("thead th", "tbody td"))

    assert table.evaluate("one => one.closest('.scroll').scrollLeft") == 200
    assert head == pytest.approx(cell, abs=1)
    watched.page.context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_no_serious_fault(browser: Browser, place: Path, scheme: str) -> None:
    """With one of each kind of fold open, in both colour schemes."""
    watched = opened(browser, place, scheme=scheme)
    draw_everything(watched.page)
    for one in (".behind", ".card[data-verdict='depends']", ".card[data-verdict='refuted']", "#records details"):
        watched.page.locator(one).first.evaluate("details => { details.open = true; }")

    found = Axe().run(watched.page, options={"resultTypes": ["violations"]}).response["violations"]

    told = [
        (v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found if v["impact"] in ("serious", "critical")
    ]
    assert [] == told
    watched.page.context.close()


def test_axe_would_find_a_fault(browser: Browser) -> None:
    """A picture without a text, a field without a name."""
    page = browser.new_page()
    page.set_content("<html lang=en><title>t</title><main><h1>h</h1><img src='data:,'><input></main>")

    found = Axe().run(page).response["violations"]

    assert {"image-alt", "label"} <= {one["id"] for one in found if one["impact"] in ("serious", "critical")}
    page.close()


def test_what_a_hostile_record_says_is_not_run(browser: Browser, hostile: Path) -> None:
    """With everything open and drawn; and every link that it gave leads to a file."""
    watched = opened(browser, hostile)
    page = watched.page
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
    draw_everything(page)

    links = page.evaluate("[...document.links].map(a => a.protocol)")

    assert page.evaluate("window.broken === undefined")
    assert 0 == page.locator("img, iframe, object, embed").count()
    assert {"file:"} == set(links)
    assert [] == watched.complaints
    page.context.close()


def test_a_script_that_came_in_unescaped_would_not_run_either(browser: Browser, hostile: Path, tmp_path: Path) -> None:
    """The page's policy stops it; without the policy it runs, so this test can see one."""
    text = hostile.read_text(encoding="utf-8").replace("<main>", f"<main>{HOSTILE.removeprefix('</script>')}", 1)
    guarded, bare = tmp_path / "guarded.html", tmp_path / "bare.html"
    guarded.write_text(text, encoding="utf-8")
    bare.write_text(text.replace('http-equiv="Content-Security-Policy"', 'name="none"', 1), encoding="utf-8")

    broken = []
    for place in (guarded, bare):
        watched = opened(browser, place)
        broken.append(watched.page.evaluate("window.broken === 1"))
        watched.page.context.close()

    assert [False, True] == broken


def test_the_page_can_be_read_without_scripts(browser: Browser, place: Path) -> None:
    """Answer, tables and a picture of each plot stand there; controls that would do nothing do not."""
    watched = opened(browser, place, scripts=False)

    assert watched.page.locator(".glance").first.is_visible()
    assert 5 <= watched.page.locator(".plot").count() == watched.page.locator(".plot svg.static").count()
    assert watched.page.locator("#cases tbody tr").count() > 3
    assert 0 == watched.page.locator("select:visible, button:visible").count()
    watched.page.context.close()


def test_the_page_prints(browser: Browser, place: Path) -> None:
    """Controls are left out, tables stand whole, nothing is cut off at the side of A4 (794 px)."""
    watched = opened(browser, place, width=794)
    draw_everything(watched.page)
    watched.page.emulate_media(media="print")

    cut = watched.page.evaluate(
        "[...document.querySelectorAll('html, .scroll')].filter(e => e.checkVisibility() && ("
        "e.scrollWidth > e.clientWidth || e.matches('.scroll') && e.scrollHeight > e.clientHeight + 1"
        ")).map(e => e.ariaLabel ?? e.tagName)"
    )

    assert 0 == watched.page.locator("nav:visible, select:visible, input:visible").count()
    assert len(watched.rows("cases")) == watched.page.locator("#cases tbody tr:visible").count() > 3
    assert [] == cut
    assert watched.page.pdf(format="A4").startswith(b"%PDF")
    watched.page.context.close()
