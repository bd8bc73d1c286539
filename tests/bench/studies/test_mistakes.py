"""The study of mistakes: each answer is read off what really happened, and scripts that show nothing are not judged."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench.conformance import ContractBroken
from bench.contract import Settings
from bench.record import Reading, WorkerRequest
from bench.studies import mistakes
from bench.studies.mistakes import Mistake, cleaned, measure, names, unquoted
from bench.task import load_task
from tests.command import ROOT, bench

# A script without a framework. Line 14 is the first mistake.
SCRIPT = """
import warnings

class Script:
    def __init__(self, subject, task, data):
        self.subject, self.rate = subject, 1.0
    def step(self, number):
        return self.rate / (1 + number)
    def train(self, steps):
        return [self.step(number) for number in steps]

class Here(Script):
    def step(self, number):
        raise ValueError("the shape is (64, 28)")  # the mistake

class Elsewhere(Script):
    def __init__(self, *given):
        super().__init__(*given)
        self.rate = None  # the mistake

class Silent(Script):
    def step(self, number):
        return 1.0 if number else float("nan")  # the mistake

class Harmless(Script):
    def step(self, number):
        return 1 / (1 + number)  # the mistake

class Warned(Script):
    def step(self, number):
        warnings.warn("was this meant, /home/somebody/project/user.py?")  # the mistake
        return 2.0

class Later(Script):
    def step(self, number):
        return 1 / (2 - number)  # the mistake

MISTAKES = {
    "here": Here,
    "elsewhere": Elsewhere,
    "silent": Silent,
    "harmless": Harmless,
    "warned": Warned,
    "later": Later,
    "impossible": "there is no such thing here",
}

def configure(settings):
    pass
"""


def module(folder: Path, source: str = SCRIPT) -> ModuleType:
    """A mistakes module of that source."""
    path = folder / "scripts.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("scripts_of_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules["scripts_of_a_test"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The mistakes of SCRIPT, whose message ought to name 28."""
    if "real" not in request.node.name:
        table = [Mistake(name=name, what="", tokens=("28",)) for name in module_names()]
        monkeypatch.setattr(mistakes, "MISTAKES", table)


def module_names() -> list[str]:
    return ["here", "elsewhere", "silent", "harmless", "warned", "later", "impossible"]


def studied(made: ModuleType) -> dict[str, Reading]:
    request = WorkerRequest(
        what="study",
        task=load_task("mlp"),
        training_seed=0,
        entry="a-subject",
        entry_module=made.__name__,
        device="cpu",
        threads=1,
        memory_limit_bytes=None,
        parent_pid=1,
    )
    return {one.name: one for one in measure(made, request, Settings(device="cpu", threads=1))}


def answers(found: dict[str, Reading], name: str) -> list[float | None]:
    questions = ("refused", "names_line", "names_culprit", "warned", "losses_differ")
    return [found[f"{question}.{name}"].value for question in questions]


def test_each_mistake_is_judged_by_what_it_came_to(tmp_path: Path) -> None:
    """Refused at the marked line or elsewhere, trained on with or without harm, a warning, or not made at all."""
    found = studied(module(tmp_path))

    assert [1, 1, 1, None, None] == answers(found, "here")
    assert [1, 0, 0, None, None] == answers(found, "elsewhere")
    assert [0, None, None, 0, 1] == answers(found, "silent")
    assert [0, None, None, 0, 0] == answers(found, "harmless")
    assert [0, None, None, 1, 1] == answers(found, "warned")
    assert [0, None, None, 0, None] == answers(found, "later")
    assert [None] * 5 == answers(found, "impossible")
    assert "cannot be made: there is no such thing here" == found["refused.impossible"].reason


def test_the_sums_count_what_could_be_made(tmp_path: Path) -> None:
    """Of seven mistakes one cannot be made; two are refused, one of them at its line."""
    found = studied(module(tmp_path))
    sums = {name: one.value for name, one in found.items() if "." not in name}

    assert {
        "made": 6,
        "refused": 2,
        "names_line": 1,
        "names_culprit": 1,
        "warned": 1,
        "losses_differ": 2,
        "silent_harm": 1,
        "refused_share": 2 / 6,
        "names_line_share": 1 / 2,
        "names_culprit_share": 1 / 2,
        "silent_harm_share": 1 / 6,
    } == sums
    assert "silent" == found["silent_harm"].text


def test_what_was_seen_is_told_in_words(tmp_path: Path) -> None:
    """The message, the lines, the losses; of a path the file's name alone."""
    found = studied(module(tmp_path))

    assert "ValueError: the shape is (64, 28)" == found["refused.here"].text
    assert "the mistake is in line 14; named: 10, 14" == found["names_line.here"].text
    assert "not finite from step 1 on" in (found["refused.silent"].text or "")
    assert "raised after 1 steps: ZeroDivisionError" in (found["refused.later"].text or "")
    assert "was this meant, user.py?" == found["warned.warned"].text


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("  # the mistake", "", "must end one line"),
        ("self.rate = None", "self.rate = None  # the mistake\n        self.rate = None", "must end one line"),
        ("raise ValueError(", "raise ValueError(\n", "a whole statement"),
        ("return self.rate / (1 + number)", "return self.rate", "does not learn"),
        ("return self.rate / (1 + number)", "raise OSError('no compiler')", "raised OSError: no compiler"),
        ('"silent": Silent,', "", "has not the names of bench.studies.mistakes: silent"),
    ],
)
def test_scripts_that_show_nothing_are_not_judged(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    """Without one marked line, without a script that learns, or with a mistake left out there is no answer."""
    with pytest.raises(ContractBroken, match=complaint):
        studied(module(tmp_path, SCRIPT.replace(old, new)))


def test_a_word_is_looked_for_by_itself() -> None:
    """28 is in 1792x28 and not in 128 or 2.28; str is in 'str' and not in strict; case does not matter."""
    assert names("shapes (1792x28 and 784x128)", "28")
    assert not names("128, 281, 2.28 or 28.5", "28")
    assert names("got 28.", "28")
    assert names("instances of 'str'", "str")
    assert not names("strict", "str")
    assert names("got Double", "double")


def test_a_line_quoted_in_a_message_names_nothing() -> None:
    """TensorFlow quotes the user's lines in the message; what is in them is no word of the message."""
    message = 'in user code:\n\n    File "/a/user.py", line 3, in step  *\n        x.numpy()\n\n    TypeError: no'

    assert not names(unquoted(message), "numpy")
    assert names(unquoted(message), "TypeError")


def test_no_path_of_the_machine_is_kept() -> None:
    """A device of TensorFlow and an address of the web look like paths, and stay."""
    kept = "/job:localhost/replica:0/task:0/device:CPU:0 https://example.org/a/b 1/2 and/or"

    assert f"user.py {kept}" == cleaned(f"/home/some.body/my-project/user.py\n  {kept}")
    assert 300 == len(cleaned("x" * 400))


@pytest.mark.parametrize(
    ("entry", "refused", "harmless", "harmful"),
    [
        ("torch-eager", {"images-float64", "label-too-large"}, {"losses-in-a-list"}, {"gradients-not-reset"}),
        pytest.param(
            *("tensorflow-eager", {"backward-forgotten", "label-too-large"}, {"images-float64"}, {"softmax-twice"}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_real_scripts_are_judged_by_a_real_worker(
    tmp_path: Path, entry: str, refused: set[str], harmless: set[str], harmful: set[str]
) -> None:
    """Some answers that follow from what the frameworks promise; all mistakes of the table are there."""
    done = bench("study", "mistakes", "--entry", entry, "--results", tmp_path, "--json")
    assert 0 == done.returncode, done.stdout + done.stderr
    [record] = json.loads(done.stdout)
    value = {reading["name"]: reading["value"] for reading in record["readings"]}

    assert {mistake.name for mistake in mistakes.MISTAKES} == {
        name.partition(".")[2] for name in value if name.startswith("refused.")
    }
    assert refused == {name for name in refused if value[f"refused.{name}"] == 1}
    assert harmless == {name for name in harmless if value[f"losses_differ.{name}"] == 0}
    assert harmful == {name for name in harmful if value[f"losses_differ.{name}"] == 1}
    assert str(ROOT) not in json.dumps(record["readings"])
