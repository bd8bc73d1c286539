"""Material and verdicts -> results/index.html, and the plots as files. Pure.

One file that asks the network for nothing and can be read without scripts: those sort, filter and draw anew what stands
there already. Its policy (CSP) lets the browser run the scripts that it names by their hash, and no other.
"""

import base64
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from bench.claims import Claim, Judged, Observation, where_text
from bench.duets import Contest
from bench.material import Withdrawn
from bench.measures import Conditions
from bench.publish import claims, duets, escape, glance, listings, machines, markdown, parts, plots
from bench.publish.history import Shown
from bench.publish.listings import Link, Table
from bench.publish.parts import Facts, Lists, OfSection, Part
from bench.publish.plots import Figure

_NEEDS = {"altair": "altair", "itables": "itables", "Jinja2": "jinja2", "vl-convert-python": "vl_convert"}
MOST_BYTES = 5_000_000  # of the page: what a browser opens at once, and a forge still shows
MOST_LINKS = 24  # in a cell of evidence: what stands on more leads to where the page lists the records
MOST_DIRECT = 1500  # records up to which evidence links to them directly: a link is 130 bytes, and there are many

_HERE = Path(__file__).parent
_MOST_CHARACTERS = 4000  # of any text; reasons of records are cut as in all tables, where they are put in
_MARKS = {"supported": "✓", "refuted": "✗", "depends": "◐", "undecided": "?", "not measured here": "–"}
_OUTCOME_MARKS = {"holds": "✓", "fails": "✗", "undecided": "?", "no figure": "–"}


def missing() -> list[str]:
    """The packages that the page needs and that are not installed: all are in the extra `report`."""
    return [name for name, module in _NEEDS.items() if importlib.util.find_spec(module) is None]


def prepare(drawn: Sequence[Part]) -> None:
    """Do already what takes seconds and what is not likely to change once the last machines have been drawn.

    That are the scripts, and the pictures of the first chart of each figure. Needs what `missing` names.
    """
    _tables_script()
    _plots_script()
    for figure in _figures(drawn, ()):
        for plot in figure.plots[:1]:
            plots.to_png(plots.to_svg(plot))


def files(
    drawn: Sequence[Part],
    results: Path,
    judged: Sequence[Judged],
    history: Sequence[Shown],
    withdrawn: Sequence[Withdrawn] = (),
    contests: Sequence[Contest] = (),
) -> dict[Path, str | bytes]:
    """The page and its plots, by path. The same records give the same bytes. Needs what `missing` names."""
    figures = _figures(drawn, history)
    pictures = {figure.name: plots.to_svg(figure.plots[0]) for figure in figures if figure.plots}
    made: dict[Path, str | bytes] = {
        results / "index.html": _page(drawn, results, judged, figures, pictures, withdrawn, contests)
    }
    for name, svg in pictures.items():
        made[results / "plots" / f"{name}.svg"] = svg
        made[results / "plots" / f"{name}.png"] = plots.to_png(svg)
    return made


def _figures(drawn: Sequence[Part], history: Sequence[Shown]) -> list[Figure]:
    sections, found = parts.sections_of(drawn), parts.sweeps_of(drawn)
    return plots.figures(
        (one.page.charts for one in sections if one.page is not None and one.page.charts is not None),
        (one.charts for one in found if one.charts is not None),
        history,
        several=sum(bool(part.sections) for part in drawn) > 1,
    )


# --- what the page says of a machine, a claim, an observation -----------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place(Facts):
    """A machine: its facts, when and with what it measured, its verdicts, and what to take on it."""

    answers: tuple[str, ...]
    tally: str
    verdicts: dict[str, Judged]  # by the claim's name

    @property
    def usual(self) -> Conditions | None:
        """The conditions of most choices, so that they need not be said of each; None where all pool what they saw."""
        where = [choice.shown.conditions for choice in self.choices if choice.shown is not None]
        texts = [where_text(c) for c in where]
        often = max(filter(None, dict.fromkeys(texts)), key=texts.count, default=None)
        return None if often is None else where[texts.index(often)]


def _places(drawn: Iterable[Part], judged: Sequence[Judged]) -> list[Place]:
    """Every machine, in the order of `claims.by_machine`; after them any that measured nothing of a claim."""
    verdicts = claims.by_machine(judged)
    known = {part.facts.machine.fingerprint: part.facts for part in drawn if part.facts is not None}
    places = []
    for name in [name for name in dict.fromkeys([*verdicts, *sorted(known)]) if name in known]:
        facts, seen = known[name], verdicts.get(name, [])
        places.append(
            Place(
                **{field.name: getattr(facts, field.name) for field in fields(facts)},
                answers=tuple(claims.answer_lines(seen)),
                tally=claims.tally(seen) if seen else "",
                verdicts={one.claim.name: one for one in seen},
            )
        )
    return places


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A row of an evidence table: its cells and the records, named by what they are of."""

    cells: tuple[str, ...]
    outcome: str
    mark: str
    records: tuple[tuple[str, tuple[Link, ...]], ...]


def _evidence(o: Observation, results: Path, *, direct: bool) -> Evidence:
    *cells, _ = claims.observation_texts(o)
    return Evidence(
        cells=tuple(cells),
        outcome=claims.outcome_text(o),
        mark=_OUTCOME_MARKS[o.outcome],
        records=_records(o, results, direct=direct),
    )


def _records(o: Observation, results: Path, *, direct: bool) -> tuple[tuple[str, tuple[Link, ...]], ...]:
    """Links to what an observation stands on, by subject: to the records, or to where the page lists them."""
    if len(o.paths) > MOST_LINKS:
        return (("all", listings.listed(o.paths, results)),)
    sides: dict[str, list[Path]] = {}
    for path in o.paths:
        sides.setdefault(listings.series_of(path), []).append(path)
    names = {series: _subject(series, o) for series in sides}
    order = sorted(sides, key=lambda series: (names[series] != o.subject, series))  # the first of the pair first
    alike = len(set(names.values())) < len(names)  # the same subject under two conditions
    links = listings.record_links if direct else listings.listed
    return tuple((series if alike else names[series], links(sorted(sides[series]), results)) for series in order)


def _subject(series: str, o: Observation) -> str:
    words = series.split()
    return next((who for who in (o.subject, o.against) if who in words), series)


_RULES = {
    "ratio": "holds where the 95% interval of how many times better the first is lies above {least}",
    "exact": "holds where the first is better by more than the factor {least}; the figures are without chance",
    "spread": "holds where the F interval of the ratio of the standard deviations lies above {least}",
    "equivalent": "holds where the difference lies within ±{margin}, by two one-sided t-tests over paired seeds",
    "same": "holds where all processes give one value",
    "at-most": "holds where the mean's 95% interval lies under {limit}",
    "failures": "holds where the 95% interval of the difference of the shares lies above 0",
}


def _rule(claim: Claim) -> list[str]:
    """How a claim is decided: a line for each piece of evidence, and how many conditions must agree."""
    lines = []
    for e in claim.evidence:
        limits = {
            name: f"{value:g}" for name in ("least", "margin", "limit") if (value := getattr(e, name)) is not None
        }
        text = f"{e.what} ({e.measure}, {e.better} is better): {_RULES[e.kind].format(**limits)}"
        lines.append(text + (f", and below {e.most:g}" if e.most is not None else ""))
    share = "every condition" if claim.agree == 1 else f"{claim.agree:.0%} of the conditions"
    return [*lines, f"{share} must agree"]


def _card(one: Judged) -> str:
    """The name of the place in the page where a verdict stands."""
    return f"claim-{one.claim.name}" + (f"-{one.machine.fingerprint}" if one.machine is not None else "")


def _commands(sections: Iterable[OfSection], lists: Iterable[Lists]) -> list[str]:
    """What makes the records anew: each table that is shown, and the studies of each run."""
    commands = [one.page.command for one in sections if one.page is not None and one.page.command is not None]
    runs: dict[tuple[str, int], set[str]] = {}
    for one in lists:
        for run, names in one.study_runs.items():
            runs.setdefault(run, set()).update(names)
    commands += [f"bench study {' '.join(sorted(names))} --seed {seed}" for (_, seed), names in sorted(runs.items())]
    return list(dict.fromkeys(commands))


# --- the text -----------------------------------------------------------------------------------------------------


def _page(
    drawn: Sequence[Part],
    results: Path,
    judged: Sequence[Judged],
    figures: Sequence[Figure],
    pictures: dict[str, str],
    withdrawn: Sequence[Withdrawn],
    contests: Sequence[Contest],
) -> str:
    """The whole of index.html."""
    from markupsafe import Markup

    scripts = [_tables_script(), _plots_script(), (_HERE / "page.js").read_text(encoding="utf-8")]
    direct = sum(part.records for part in drawn) <= MOST_DIRECT
    places, sections = _places(drawn, judged), parts.sections_of(drawn)
    shown = [one.page for one in sections if one.page is not None]
    lists = [part.lists for part in drawn if part.lists is not None]
    listed: list[Table] = [
        listings.cases([line for one in shown for line in one.cases]),
        *listings.compared([line for one in shown for line in one.like], [line for one in shown for line in one.best]),
        *([duets.table(contests, results)] if contests else []),
        listings.studies(study for one in lists for study in one.studies),
    ]
    text: str = (
        _environment()
        .get_template("page.html.j2")
        .render(
            policy="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
            "script-src " + " ".join(map(_hash, scripts)),
            style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # ours
            scripts=[Markup(script) for script in scripts],  # ours, and of packages
            specs={plot.name: plot.spec for figure in figures for plot in figure.plots},
            places=places,
            topics=_topics(judged),
            evidence=lambda o: _evidence(o, results, direct=direct),
            evidence_heads=(*claims.OBSERVATION_HEADS, "Records"),
            beside=machines.beside(contests),
            together=machines.answer_lines(contests),
            duets=duets,
            machines=machines,
            tables=listed,
            figures=figures,
            pictures={name: Markup(_inlined(svg)) for name, svg in pictures.items()},  # ours, its texts escaped by Vega
            failures=[
                listings.failures(line for one in lists for line in one.failures),
                listings.disturbed(line for one in lists for line in one.disturbed),
            ],
            unmeasured=claims.measured_nowhere(judged),
            withdrawn=[(one.entry, listings.record_links(one.paths, results)) for one in withdrawn],
            runs=listings.all_runs(one.runs for one in lists),
            one_by_one=all(one.one_by_one for one in lists),
            commands=_commands(sections, lists),
            marks=_MARKS,
            frameworks=glance.FRAMEWORKS,
            glance=glance,
            claims=claims,
            where_text=where_text,
            machine_facts=markdown.machine_facts,
            rule=_rule,
            card=_card,
            software=_software(),
        )
    )
    return text


def _topics(judged: Sequence[Judged]) -> dict[str, list[tuple[Claim, list[Judged]]]]:
    """Topic -> its claims in order, each with its verdict on every machine."""
    topics: dict[str, dict[str, tuple[Claim, list[Judged]]]] = {}
    for one in judged:
        topics.setdefault(one.claim.topic, {}).setdefault(one.claim.name, (one.claim, []))[1].append(one)
    return {topic: list(of.values()) for topic, of in topics.items()}


def _environment() -> Any:
    """Templates whose every value is made plain and escaped."""
    import jinja2

    def plain(value: Any) -> Any:
        return escape.plain(value, _MOST_CHARACTERS) if type(value) is str else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=plain,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:].rstrip(".")
    environment.filters["code"] = _code
    return environment


def _code(text: str) -> Any:
    """What stands between backticks as code, all of it escaped."""
    from markupsafe import Markup

    parts = escape.plain(text, _MOST_CHARACTERS).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts))


def _software() -> list[tuple[str, list[str]]]:
    """What of others stands in the page, with the licence that asks to be kept with it, line by line."""
    made = (
        ("itables", "DataTables and its extensions © SpryMedia Ltd, jQuery © OpenJS Foundation, both MIT, by itables:"),
        ("vl-convert-python", "Vega, Vega-Lite, vega-embed © University of Washington Interactive Data Lab, BSD:"),
    )
    return [(text, (distribution(name).read_text("licenses/LICENSE") or "").splitlines()) for name, text in made]


@cache
def _tables_script() -> str:
    """DataTables, as itables ships it; it becomes a global, for modules in a page cannot import each other."""
    import itables

    bundle = (Path(itables.__file__).parent / "html" / "dt_bundle.js").read_text(encoding="utf-8")
    name = re.search(r"(?:export\{|,)([\w$]+) as jQuery[,}]", bundle)
    if name is None:
        raise RuntimeError("itables: its bundle exports no jQuery; take the version of constraints.txt")
    return _whole(f"{bundle}\nwindow.DataTable = {name[1]}.fn.dataTable;\n")


@cache
def _plots_script() -> str:
    """Vega, Vega-Lite and vega-embed, as vl-convert ships them."""
    import vl_convert

    return _whole(str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=plots.VEGA_LITE)))


def _whole(script: str) -> str:
    """The script written so that nothing in it can end its own element: in strings and expressions it says the same."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", script, flags=re.IGNORECASE)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _inlined(svg: str) -> str:
    """The picture as an element of the page, as wide as its place."""
    return re.sub(r'^<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" class="static" aria-hidden="true">', svg)
