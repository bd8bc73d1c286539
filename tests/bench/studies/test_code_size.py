"""The study of code size: what changes nothing in what a reader must read changes no figure, and all else does."""

import ast
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench.contract import ENTRIES
from bench.errors import InputError
from bench.studies.code_size import Code, counted
from tests.command import ROOT

ENTRY = """
import fast
import torch
import torch.nn.functional as F
from bench.task import Adam, Sgd, Task
from imagined.torch import layers
from imagined.torch.optimizers import AdamAsTask


def build_optimizer(task, network):
    match task.optimizer:
        case Sgd() as o:
            return torch.optim.SGD(network.parameters(), lr=o.learning_rate)
        case Adam():
            return AdamAsTask(network.parameters())


class Trainer:
    def __init__(self, task):
        self.network = layers.chain(task)
        self.optimizer = build_optimizer(task, self.network)
        self.kept = torch.zeros(3)
        self.count, self.seen = 0, torch.ones(3)

    def step(self, images, labels):
        loss = F.cross_entropy(self.network(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def train(self, batches):
        return [self.step(images, labels) for images, labels in batches]

    def gather(self, batches):
        return helper(self.kept, self.seen, self.count)

    def logits(self, images):
        return torch.softmax(self.network(images))


def helper(*given):
    return torch.cat(given)


def build(task):
    return Trainer(task)
"""
LAYERS = """
from torch import nn


def chain(task):
    return nn.Sequential(*[nn.Linear(*layer) for layer in task.layers])


def unused():
    return nn.Dropout()
"""
OPTIMIZERS = """
import torch


class AsTask(torch.optim.Optimizer):
    def update(self):
        self.own_step(torch.sqrt(self.param_groups))

    def own_step(self, root):
        return root


class AdamAsTask(AsTask):
    def update(self):
        return torch.square(self.state)
"""


@pytest.fixture
def imagined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose modules are known to Python, and were never run: their imports do not exist."""
    for name, source in {"mlp": ENTRY, "layers": LAYERS, "optimizers": OPTIMIZERS}.items():
        module = ModuleType(f"imagined.torch.{name}")
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return tmp_path / "mlp.py"


def count(path: Path, source: str = ENTRY, **options: str) -> Code:
    """The training of an entry of that source; the name of the file differs, as Python keeps what it has read."""
    path = path.with_name(f"mlp{abs(hash(source))}.py")
    path.write_text(source)
    sys.modules["imagined.torch.mlp"].__file__ = str(path)
    return counted("imagined.torch.mlp", **options)[0]


def size(code: Code) -> int:
    return sum(len(list(ast.walk(tree))) for tree in code.trees.values())


def test_what_the_training_reaches_is_counted_and_nothing_else(imagined: Path) -> None:
    """Neither what serves the harness, nor what only that uses, nor what nobody uses."""
    code = count(imagined)

    assert {
        "mlp.build",
        "mlp.build_optimizer",
        "mlp.Trainer",
        "mlp.Trainer.__init__",
        "mlp.Trainer.step",
        "mlp.Trainer.train",
        "layers.chain",
    } == set(code.trees)
    assert {
        "torch.optim.SGD",
        "torch.nn.functional.cross_entropy",
        "torch.nn.Sequential",
        "torch.nn.Linear",
        ".parameters",
        ".backward",
        ".step",
    } == code.names


def test_the_optimizers_of_a_formula_are_counted_apart(imagined: Path) -> None:
    """A class that derives from a framework's counts whole, with its bases: the framework calls it."""
    _, formulas = counted("imagined.torch.mlp")

    assert {
        "optimizers.AdamAsTask",
        "optimizers.AdamAsTask.update",
        "optimizers.AsTask",
        "optimizers.AsTask.own_step",
    } == set(formulas.trees)
    assert {"torch.square", "torch.optim.Optimizer", ".state"} == formulas.names


def test_a_base_that_is_built_itself_counts_its_own_methods(imagined: Path) -> None:
    """Also where a class that derives from it was met before."""
    count(
        imagined,
        ENTRY.replace("return AdamAsTask(network", "return AdamAsTask() or AsTask(network").replace(
            "import AdamAsTask", "import AdamAsTask, AsTask"
        ),
    )
    _, formulas = counted("imagined.torch.mlp")

    assert "optimizers.AsTask.update" in formulas.trees


def test_one_optimizer_leaves_out_the_cases_of_others(imagined: Path) -> None:
    """What a person writes who needs one."""
    whole, one = count(imagined), count(imagined, optimizer="Sgd")
    _, formulas = counted("imagined.torch.mlp", optimizer="Sgd")

    assert size(one) < size(whole)
    assert {} == formulas.trees
    assert "torch.optim.SGD" in one.names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loss", "the_mean_of_the_batch"),
        ("    def step(self, images, labels):", '    def step(self, images, labels):\n        """One step."""'),
        ("        loss.backward()", "        # Now the gradients.\n\n        loss.backward()  # here"),
        (
            "def step(self, images, labels):",
            "def step(self, images: torch.Tensor, labels: list[torch.Tensor]) -> None:",
        ),
        ("loss = F.", "loss: torch.Tensor = F."),
        (
            "F.cross_entropy(self.network(images), labels)",
            "F.cross_entropy(\n            self.network(images), labels\n        )",
        ),
        ("        return torch.softmax", "        torch.relu(images)\n        return torch.softmax"),
        ("import fast\n", "import faster\nimport fast\n"),
        ("        return [self.step", "        with self._programs.counting():\n            return [self.step"),
        ("self.optimizer = build", "self.spare, self.optimizer = torch.ones(3), build"),
        ("    def train(", "    def matmul(self):\n        return torch.mm()\n\n    def train("),
    ],
    ids=[
        "rename",
        "docstring",
        "comment",
        "annotation",
        "annotated",
        "wrapped",
        "evaluation",
        "import",
        "counter",
        "unread",
        "hook",
    ],
)
def test_what_is_no_code_of_the_training_changes_nothing(imagined: Path, old: str, new: str) -> None:
    """Neither nodes nor names, except the name of a variable in the tree itself."""
    assert old in ENTRY
    before, after = count(imagined), count(imagined, ENTRY.replace(old, new))

    assert (size(before), before.names) == (size(after), after.names)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("        loss.backward()", "        loss.backward()\n        loss.backward()", set()),
        ("        loss.backward()", "        loss.backward()\n        loss.detach()", {".detach"}),
        ("        return loss", "        return torch.exp(loss)", {"torch.exp"}),
        ("        return loss", "        return helper(loss)", {"torch.cat"}),
        ("        return loss", "        return self.kept", {"torch.zeros"}),
        ("        return loss", "        return layers.unused()", {"torch.nn.Dropout"}),
        ("        return loss", "        return loss.mean_of(task.layers[0].strip())", {".mean_of"}),
    ],
)
def test_more_code_is_counted_and_so_are_more_names(imagined: Path, old: str, new: str, names: set[str]) -> None:
    """A call more, a method more, a function more; what Python and the task have is no framework's name."""
    before, after = count(imagined), count(imagined, ENTRY.replace(old, new))

    assert size(before) < size(after)
    assert names == after.names - before.names


@pytest.mark.parametrize("removed", ["def build(", "class Trainer:"])
def test_a_module_without_a_training_is_refused(imagined: Path, removed: str) -> None:
    """There is nothing to count from; without a Trainer, build is all there is."""
    source = ENTRY.replace(removed, removed.replace("build", "make").replace("Trainer", "Other"))
    if removed == "def build(":
        with pytest.raises(InputError, match="no build"):
            count(imagined, source)
    else:
        assert {"mlp.build"} == set(count(imagined, source).trees)


def test_a_framework_that_nobody_listed_is_refused() -> None:
    """Which names are the framework's must be known."""
    with pytest.raises(InputError, match="no framework of the folder 'studies'"):
        counted("tests.bench.studies.test_code_size")


@pytest.mark.parametrize("name", ["torch-eager", "tensorflow-eager"])
def test_the_sentences_of_the_task_are_in_what_is_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function that fulfils one of the sentences 1 to 6 is counted, and that of evaluation is not."""
    [entry] = [one for one in ENTRIES if one.name == name]
    folder = ROOT / Path(*entry.module.split(".")).parent
    for path in folder.glob("*.py"):  # as if they were imported, which is not needed
        module = ModuleType(f"impls.{folder.name}.{path.stem}")
        module.__file__ = str(path)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    code, _ = counted(entry.module)

    assert {"build_network", "build_optimizer", "Trainer.__init__", "Trainer.step", "Trainer.train"} <= {
        tree.partition(".")[2] for tree in code.trees
    }
    assert {"Trainer.logits", "Trainer.params", "Trainer.placement", "Trainer.gather"}.isdisjoint(
        tree.partition(".")[2] for tree in code.trees
    )
