"""The scripts with mistakes: the same mistakes in each framework, in the same order, each with one marked line."""

import ast
from pathlib import Path

import pytest

from bench.studies.mistakes import MARK, MISTAKES
from tests.command import ROOT

FILES = [ROOT / "impls" / name / "mistakes.py" for name in ("torch", "tensorflow", "keras")]


def scripts(source: str) -> dict[str, str]:
    """The classes that derive from Script, by name, as they stand in the file."""
    tree = ast.parse(source)
    found = [one for one in tree.body if isinstance(one, ast.ClassDef) and one.bases]
    lines = source.splitlines()
    return {
        one.name: "\n".join(lines[one.lineno - 1 : one.end_lineno])
        for one in found
        if ast.unparse(one.bases[0]) == "Script"
    }


def table(source: str) -> list[str]:
    """The names in MISTAKES, in order."""
    [made] = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "MISTAKES"
    ]
    assert isinstance(made, ast.Dict)
    return [ast.literal_eval(key) for key in made.keys if key is not None]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_framework_has_every_mistake(path: Path) -> None:
    """In the order of the study's table."""
    assert [mistake.name for mistake in MISTAKES] == table(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_every_script_marks_one_line(path: Path) -> None:
    """Else it is not known where the mistake is."""
    marks = {name: text.count(MARK) for name, text in scripts(path.read_text()).items()}

    assert marks
    assert {1} == set(marks.values()), marks


def test_the_scripts_of_torch_and_tensorflow_stand_in_one_order() -> None:
    """So that a diff lines them up; a mistake that cannot be made has no script."""
    torch, tensorflow = (list(scripts(path.read_text())) for path in FILES[:2])

    assert [name for name in torch if name in tensorflow] == tensorflow


def test_there_are_enough_mistakes_and_each_has_words_to_look_for() -> None:
    """At least 14, as promised."""
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 14
    assert all(mistake.what and mistake.tokens for mistake in MISTAKES)
