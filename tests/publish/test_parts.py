"""bench/publish/parts.py: what is said of each machine, and that joining it does not depend on an order."""

from pathlib import Path

from bench import publish
from bench.claims import read_claims
from bench.publish import listings, page, parts
from bench.publish.parts import Asked, Part
from tests.make import make_certificate, make_machine, make_record
from tests.publish.page import RESULTS, make_material, read, some_records


def drawn(records: int = 0) -> list[Part]:
    """Two machines; records: how many there are said to be."""
    other = make_machine(fingerprint="machine-1", name="elsewhere")
    there = [make_record(trial.model_copy(update={"machine": other})) for _, trial in some_records()]
    asked = Asked(
        results=RESULTS, project=Path(), claims=tuple(read_claims()), page=True, printed=True, records=records
    )
    return parts.of_material(make_material([*some_records(), *there]), asked)


def made(of: list[Part]) -> dict[Path, str | bytes]:
    """Every file of a report."""
    judged = parts.judged_of(read_claims(), of)
    return {**publish.files_of(of, RESULTS, judged=judged), **page.files(of, RESULTS, judged, [])}


def test_the_order_of_the_parts_is_no_matter_for_the_texts() -> None:
    """README, table and terminal; of the page whoever makes the parts keeps an order."""
    there = drawn()

    forth, back = (
        publish.files_of(of, RESULTS, judged=parts.judged_of(read_claims(), of)) for of in (there, there[::-1])
    )

    assert forth == back
    assert parts.printed(there) == parts.printed(there[::-1])
    assert "elsewhere" in "".join(forth.values())


def test_of_many_records_the_page_links_to_their_folders() -> None:
    """Two clicks still: from a case to its place in the list, and from there to the folder that holds its records."""
    few, many = (read(str(made(drawn(records))[RESULTS / "index.html"])) for records in (0, listings.MOST_LINKED + 1))
    row = many.by_id("cases").all("tbody")[0].all("tr")[0]

    [place] = row.inside[-1].all("a")
    [folder] = many.by_id(place.attributes["href"][1:]).all("a")

    assert "3 records" == place.text == folder.text
    assert "raw/2026-01-02/elsewhere/run-0/" == folder.attributes["href"]
    assert 3 == len(few.by_id("cases").all("tbody")[0].all("tr")[0].inside[-1].all("a"))
    assert "A link is the folder" in many.by_id("records").text
    assert "A link is a JSON file" in few.by_id("records").text


def test_certificates_stand_in_the_order_in_which_their_cases_were_first_certified() -> None:
    """Whichever part they are of; a place that is not known comes after those before it in the material."""
    paths = [Path(f"results/raw/{name}.json") for name in "ab"]
    material = make_material(some_records())
    material.certificates.extend((path, make_certificate()) for path in paths)
    material.certified.update({paths[0]: (0, "2026-02", "b"), paths[1]: (0, "2026-01", "a")})

    found = parts.certificates_of(parts.of_material(material, Asked(results=RESULTS, project=Path())))

    assert paths[::-1] == [path for path, _ in found]
