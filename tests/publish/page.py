"""Records -> the page of them, and HTML -> what a test asks of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from bench import claims
from bench.duets import Played
from bench.material import Material, Withdrawn
from bench.publish import page, parts
from bench.publish.tables import Record
from bench.record import Machine
from bench.studying import StudyRecord
from tests.make import make_duet, make_record, make_trial

RESULTS = Path("results")
_EMPTY = {"meta", "br", "img", "input", "link", "hr"}


def some_records(results: Path = RESULTS) -> list[Record]:
    """Three entries of two frameworks, three blocks each."""
    speeds = (("torch-eager", 1.0), ("tensorflow-function", 2.0), ("tensorflow-eager", 3.0))
    return [
        make_record(make_trial(entry, block, seconds=seconds * (1 + block / 50)), results)
        for block in range(3)
        for entry, seconds in speeds
    ]


def make_material(
    records: Sequence[Record],
    studies: Sequence[tuple[Path, StudyRecord]] = (),
    withdrawn: Sequence[Withdrawn] = (),
    duets: Sequence[Played] = (),
) -> Material:
    """Material of trials, without suites and certificates."""
    return Material(
        trials=list(records),
        studies=list(studies),
        suites=[],
        certificates=[],
        withdrawn=tuple(withdrawn),
        duets=list(duets),
    )


def files_of(material: Material, results: Path = RESULTS) -> dict[Path, str | bytes]:
    """Every file that the page's module makes."""
    drawn = drawn_of(material, results)
    judged, contests = parts.judged_of(claims.read_claims(), drawn), parts.contests_of(drawn)
    return page.files(drawn, results, judged, [], material.withdrawn, contests)


def drawn_of(material: Material, results: Path = RESULTS) -> list[parts.Part]:
    """What is drawn of each machine of the material."""
    asked = tuple(claims.read_claims())
    return parts.of_material(material, parts.Asked(results=results, project=results.parent, claims=asked, page=True))


def page_of(material: Material, results: Path = RESULTS) -> str:
    """index.html of the material."""
    text = files_of(material, results)[results / "index.html"]
    assert isinstance(text, str)
    return text


def some_duets(machines: Sequence[Machine], results: Path = RESULTS) -> list[Played]:
    """Three of the same two entries on each machine; on every next one the subject's windows last 1.5 times as long."""
    found = []
    for n, machine in enumerate(machines):
        for block in range(3):
            record = make_duet(block, head=0.1 * 1.5**n * (1 + block / 50)).model_copy(update={"machine": machine})
            found.append((results / "raw" / "2026-01-02" / machine.name / "run-d" / f"duet-{block:03d}_x.json", record))
    return found


@dataclass
class Element:
    """An element with its attributes and all text inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list["Element"] = field(default_factory=list)

    def all(self, tag: str) -> list["Element"]:
        """Every element of a tag below this one, in order."""
        found = []
        for one in self.inside:
            found += [one] if one.tag == tag else []
            found += one.all(tag)
        return found

    def by_id(self, name: str) -> "Element":
        """The element of this id."""
        return next(one for one in self.everything() if one.attributes.get("id") == name)

    def everything(self) -> list["Element"]:
        """Every element below this one."""
        return [element for one in self.inside for element in (one, *one.everything())]

    def rows(self) -> list[list[str]]:
        """The cells' texts of every line of a table's body."""
        return [[" ".join(c.text.split()) for c in row.inside] for body in self.all("tbody") for row in body.all("tr")]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in _EMPTY:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def read(text: str) -> Element:
    """The page as elements. Fails where one is not closed in order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert len(reader.open) == 1
    return reader.root
