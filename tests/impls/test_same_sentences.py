"""The implementations carry the task's sentences, the same words in the same order, and none of its facts."""

import ast
import re
from pathlib import Path

import pytest

from bench.task import Task, load_task, shipped_tasks
from tests.command import ROOT

FILES = [ROOT / "impls" / name / "mlp.py" for name in ("torch", "tensorflow")]


def sentences(comments: str) -> dict[int, str]:
    """Number -> sentence, of lines that begin with a number and a dot; further lines are indented."""
    found = re.findall(r"^ *(?:# )?(\d)\. ((?:.+)(?:\n *(?:#  )? {1,3}[^\s\d].*)*)", comments, flags=re.MULTILINE)
    return {int(number): " ".join(text.replace("#", " ").split()) for number, text in found}


def comments_of(path: Path) -> str:
    """The comment lines of a file that stand alone."""
    return "\n".join(line.strip() for line in path.read_text().splitlines() if line.strip().startswith("# "))


TASK_SENTENCES = sentences("\n".join(line[4:] for line in Task.__doc__.splitlines()))


def test_the_task_has_seven_sentences() -> None:
    """Those that the implementations quote."""
    assert [1, 2, 3, 4, 5, 6, 7] == sorted(TASK_SENTENCES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_an_implementation_quotes_every_sentence(path: Path) -> None:
    """Word by word."""
    assert TASK_SENTENCES == sentences(comments_of(path))


def test_the_sentences_stand_in_one_order() -> None:
    """So that a diff lines them up."""
    torch, tensorflow = (list(sentences(comments_of(path))) for path in FILES)

    assert torch == tensorflow


PARALLEL = [ROOT / "impls" / path for path in ("torch/ddp.py", "tensorflow/multiworker.py")]


@pytest.mark.parametrize("path", PARALLEL, ids=lambda path: path.name)
def test_an_entry_for_several_processes_quotes_what_it_does_anew(path: Path) -> None:
    """The data, the step, the loss, the training: word by word; the rest is the framework's plain entry's."""
    found = sentences(comments_of(path))

    assert [1, 5, 3, 6] == list(found)
    assert found == {number: TASK_SENTENCES[number] for number in found}


def test_a_changed_word_is_found() -> None:
    """The comparison above can fail."""
    changed = comments_of(FILES[0]).replace("mean over the batch", "sum over the batch")

    assert TASK_SENTENCES != sentences(changed)


def test_the_implementations_have_the_same_outline() -> None:
    """The same functions and methods in the same order; helpers of one framework alone begin with an underscore."""

    def outline(path: Path) -> list[str]:
        nodes = ast.walk(ast.parse(path.read_text()))
        found = [(n.lineno, n.name) for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        return [name for _, name in sorted(found) if not name.startswith("_") or name == "__init__"]

    torch, tensorflow = map(outline, FILES)

    assert torch == tensorflow


def facts(task: Task) -> set[float]:
    """Every number of a task but 0, 1 and 2, which mean other things in code too; as written and as rounded."""
    optimizer = [value for value in task.optimizer.model_dump().values() if isinstance(value, float)]
    written = [float(f"{value:.6g}") for value in optimizer]
    return {*task.layers, task.batch_size, task.epochs, *optimizer, *written} - {0, 1, 2}


FACTS = set().union(*(facts(load_task(name)) for name in shipped_tasks()))


def numbers_in(source: str) -> set[float]:
    return {
        n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and type(n.value) in (int, float)
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / "impls").rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_no_implementation_contains_a_fact_of_a_task(path: Path) -> None:
    """No layer size, learning rate, batch size: they come from the task."""
    assert set() == FACTS & numbers_in(path.read_text())


def test_a_fact_that_was_typed_in_is_found() -> None:
    """The check above can fail."""
    assert {784, 128, 0.01, 0.9} == FACTS & numbers_in("layer = Linear(784, 128)\nlr, momentum = 0.01, 0.9")
