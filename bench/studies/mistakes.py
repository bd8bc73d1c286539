"""The mistakes that a beginner makes in a training step, each made in a subject's own words -> what becomes of each.

A subject's module has the table MISTAKES, name -> a script with that mistake, or why it cannot be made, and Script, the
script without any: `Script(subject, task, data)`, and `train(range) -> losses` of those steps. Deterministic.
"""

import ast
import inspect
import re
import textwrap
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from bench.conformance import ContractBroken
from bench.contract import Data, Settings
from bench.inputs import load_data
from bench.record import Reading, WorkerRequest
from bench.task import Task

STEPS = 100  # enough for the losses of the plain script to fall, far from enough to converge
SAME = 1e-3  # relative: rounding in another order moves a loss of so few steps by less, a mistake by more
MARK = "# the mistake"
TEXT = 300  # characters of a message that are kept

# What a message must name, by the concept, in the words of any framework; the same words for all of them.
_FLOAT64 = ("float64", "double", "DoubleTensor")
_FLOAT32 = ("float32", "float", "FloatTensor")
_INT64 = ("int64", "long", "LongTensor")
_UINT8 = ("uint8", "byte", "ByteTensor")
_GRADIENT = ("gradient", "gradients", "grad", "grad_fn")


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """what: in words. tokens: of which the message must hold one; {...} stands for a number of the task."""

    name: str
    what: str
    tokens: tuple[str, ...]


def _mistake(name: str, what: str, *tokens: str) -> Mistake:
    return Mistake(name=name, what=what, tokens=tokens)


MISTAKES = (
    _mistake("images-not-flattened", "images (n, side, side) for a network of (n, pixels)", "{side}"),
    _mistake("images-float64", "float64 images for a float32 network", *_FLOAT64),
    _mistake("images-uint8", "uint8 images, 0 to 255, for a float32 network", *_UINT8),
    _mistake("nan-pixel", "one pixel of the first batch is NaN", "nan"),
    _mistake("labels-float", "class numbers as float32", *_FLOAT32),
    _mistake("label-too-large", "the label 10 where there are the classes 0 to 9", "{classes}"),
    _mistake("label-negative", "the label -1", "-1"),
    _mistake(
        "labels-one-hot",
        "one-hot labels, by the framework's own function, for class numbers",
        "{batch}, {classes}",
        *_INT64,
    ),
    _mistake("labels-column", "labels (n, 1) for (n,)", "{batch}, 1"),
    _mistake("batch-sizes-differ", "a label less than images in each batch", "{batch_less_one}"),
    _mistake("other-device", "images on a device where the network is not", "meta", "CPU:1"),
    _mistake("layer-widths-differ", "a layer gives one number more than the next one takes", "{wider}"),
    _mistake("activation-in-numpy", "an activation computed by NumPy inside the network", "numpy"),
    _mistake("hidden-detached", "what goes into each activation is cut off from the gradients", *_GRADIENT),
    _mistake("softmax-twice", "a softmax at the end of the network, and a loss that takes logits", "softmax", "logits"),
    _mistake("learning-rate-string", "the learning rate as text", "str", "{rate}"),
    _mistake("learning-rate-negative", "a negative learning rate", "-{rate}", "-{exact_rate}"),
    _mistake("parameters-left-out", "only the last layer's parameters reach the optimiser", "parameters", "variables"),
    _mistake("loss-arguments-swapped", "logits and labels in the wrong order", "{batch}, {classes}", *_INT64),
    _mistake("loss-detached", "the logits are cut off from the gradients before the loss", *_GRADIENT),
    _mistake("forward-not-recorded", "the forward pass where no gradients are recorded", *_GRADIENT),
    _mistake("gradients-not-reset", "no reset of the gradients of the step before", *_GRADIENT),
    _mistake("backward-forgotten", "an update without computing gradients", *_GRADIENT),
    _mistake("update-before-backward", "the update stands before the gradients", *_GRADIENT),
    _mistake(
        "parameter-changed-in-place", "a parameter is clipped between forward and backward", "in-place", "inplace"
    ),
    _mistake(
        "losses-in-a-list", "the step appends its loss to a list, which is read later", "symbolic", "SymbolicTensor"
    ),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a script came to: the losses it has trained, the warnings it gave, and what it raised, if anything."""

    losses: list[float]
    warned: list[str]
    error: Exception | None

    @property
    def refused(self) -> bool:
        """Whether it raised before its first step had ended."""
        return self.error is not None and not self.losses


def measure(module: ModuleType, request: WorkerRequest, settings: Settings) -> list[Reading]:
    """Five readings of each mistake M, and their sums over all that can be made. Unit "1"; 1 is yes, 0 is no.

    `refused.M`: an exception before the end of the first step. Of those refused: `names_line.M`, the printed traceback
    has the line that is marked in the script; `names_culprit.M`, the message has a word of the table. Of those trained
    on: `warned.M`, a Python warning that the plain script does not give; `losses_differ.M`, from the plain script's.
    `silent_harm` counts the mistakes that were trained on without a warning, with other losses. As subjects differ in
    what can be made: `refused_share` and `silent_harm_share` of those made, `names_line_share` and
    `names_culprit_share` of those refused.

    Raises ContractBroken where the plain script does not train, or a mistake is missing or not marked once.
    """
    module.configure(settings)
    task, data = request.task, load_data(request.task).train
    rows = STEPS * task.batch_size
    data = Data(images=data.images[:rows], labels=data.labels[:rows])
    plain = _outcome(module.Script, request.entry, task, data)
    if plain.error is not None:
        raise ContractBroken(f"the script without a mistake raised {_said(plain.error)}") from plain.error
    if not plain.losses[-1] < plain.losses[0]:
        raise ContractBroken(f"the script without a mistake does not learn: loss {_ends(plain.losses)}")
    if missing := {mistake.name for mistake in MISTAKES} ^ set(module.MISTAKES):
        raise ContractBroken(f"MISTAKES has not the names of bench.studies.mistakes: {', '.join(sorted(missing))}")
    readings: list[Reading] = []
    for mistake in MISTAKES:
        script = module.MISTAKES[mistake.name]
        if isinstance(script, str):
            readings += _unmade(mistake.name, script)
        else:
            outcome = _outcome(script, request.entry, task, data)
            readings += _judged(mistake, task, script, outcome, plain)
    return [*readings, *_sums(readings)]


def _outcome(script: Any, subject: str, task: Task, data: Data) -> Outcome:
    """Let it train: one step, then the others."""
    losses: list[float] = []
    error: Exception | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            running = script(subject, task, data)
            for steps in (range(1), range(1, STEPS)):
                losses += running.train(steps)
        except Exception as raised:
            error = raised
    return Outcome(losses=losses, warned=list(dict.fromkeys(str(one.message) for one in caught)), error=error)


_OF_REFUSED, _OF_TRAINED = ("names_line", "names_culprit"), ("warned", "losses_differ")
_QUESTIONS = ("refused", *_OF_REFUSED, *_OF_TRAINED)


def _unmade(name: str, why: str) -> Iterator[Reading]:
    for question in _QUESTIONS:
        yield Reading(name=f"{question}.{name}", unit="1", value=None, reason=f"cannot be made: {why}")


def _judged(mistake: Mistake, task: Task, script: Any, outcome: Outcome, plain: Outcome) -> Iterator[Reading]:
    line = marked_line(script)

    def reading(question: str, yes: bool | None, *, reason: str | None = None, text: str | None = None) -> Reading:
        value = None if yes is None else float(yes)
        return Reading(name=f"{question}.{mistake.name}", unit="1", value=value, reason=reason, text=text)

    if outcome.refused:
        assert outcome.error is not None
        lines = named_lines(outcome.error, inspect.getfile(script))
        yield reading("refused", True, text=_said(outcome.error))
        text = f"the mistake is in line {line}; named: {', '.join(map(str, lines)) or 'none'}"
        yield reading("names_line", line in lines, text=text)
        found = [token for token in filled(mistake.tokens, task) if names(unquoted(str(outcome.error)), token)]
        yield reading("names_culprit", bool(found), text=", ".join(found) or None)
        for question in _OF_TRAINED:
            yield reading(question, None, reason="refused")
        return
    yield reading("refused", False, text=_trained(outcome, plain))
    for question in _OF_REFUSED:
        yield reading(question, None, reason="not refused")
    warned = [text for text in outcome.warned if text not in plain.warned]
    yield reading("warned", bool(warned), text=cleaned(" ".join(warned)) or None)
    if outcome.error is not None:
        yield reading("losses_differ", None, reason="raised after the first step")
    else:
        yield reading("losses_differ", not _same(outcome.losses, plain.losses))


def _sums(readings: list[Reading]) -> Iterator[Reading]:
    """How many mistakes could be made, and of how many each question was answered with yes."""
    value = {reading.name: reading.value for reading in readings}
    yes = {question: {m.name for m in MISTAKES if value[f"{question}.{m.name}"]} for question in _QUESTIONS}
    made, refused = sum(value[f"refused.{m.name}"] is not None for m in MISTAKES), len(yes["refused"])
    yield Reading(name="made", unit="1", value=made)
    for question, names_of in yes.items():
        yield Reading(name=question, unit="1", value=len(names_of))
    silent = yes["losses_differ"] - yes["warned"]
    yield Reading(name="silent_harm", unit="1", value=len(silent), text=", ".join(sorted(silent)) or None)
    for name, part, whole, of in (
        ("refused_share", refused, made, "made"),
        ("names_line_share", len(yes["names_line"]), refused, "refused"),
        ("names_culprit_share", len(yes["names_culprit"]), refused, "refused"),
        ("silent_harm_share", len(silent), made, "made"),
    ):
        share = part / whole if whole else None
        yield Reading(name=name, unit="1", value=share, reason=None if whole else f"no mistake was {of}")


def marked_line(script: type) -> int:
    """The number of the line in the script's file that carries the mark.

    Raises ContractBroken unless it is one line, and a whole statement: of a longer one a traceback may name any line.
    """
    lines, first = inspect.getsourcelines(script)
    statements = [node for node in ast.walk(ast.parse(textwrap.dedent("".join(lines)))) if isinstance(node, ast.stmt)]
    whole = {node.lineno - 1 for node in statements if node.lineno == node.end_lineno}
    found = [at for at, line in enumerate(lines) if line.rstrip().endswith(MARK)]
    if len(found) != 1 or found[0] not in whole:
        raise ContractBroken(f"{script.__name__}: {MARK!r} must end one line, and that line must be a whole statement")
    return first + found[0]


def named_lines(error: BaseException, file: str) -> list[int]:
    """The lines of the file that the printed traceback names.

    The text is searched, not the frames: of a graph TensorFlow tells the user's own lines in the message, as what runs
    is code that was made from them.
    """
    printed = "".join(traceback.format_exception(error))
    return sorted({int(line) for line in re.findall(rf'File "{re.escape(file)}", line (\d+)', printed)})


def filled(tokens: tuple[str, ...], task: Task) -> list[str]:
    """The tokens with the numbers of the task in their place."""
    numbers = {
        "side": round(task.layers[0] ** 0.5),
        "classes": task.layers[-1],
        "batch": task.batch_size,
        "batch_less_one": task.batch_size - 1,
        "wider": task.layers[1] + 1,
        "exact_rate": task.optimizer.learning_rate,
        "rate": f"{task.optimizer.learning_rate:g}",
    }
    return [token.format(**numbers) for token in tokens]


def names(message: str, token: str) -> bool:
    """Whether the message has the token by itself: no digit beside a number, no letter or digit beside a word."""
    if token[-1].isdigit():
        return re.search(rf"(?<![\d.]){re.escape(token)}(?!\.?\d)", message) is not None
    return re.search(rf"(?<!\w){re.escape(token)}(?!\w)", message, re.IGNORECASE) is not None


def cleaned(message: str) -> str:
    """In one line, without colours, of each path the file's name alone, at most TEXT characters."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", message)
    plain = re.sub(r"(?<![\w/:.])/(?:[\w.+@-]+/)+([\w.+@-]+)", r"\1", plain)
    return " ".join(plain.split())[:TEXT]


def unquoted(message: str) -> str:
    """The message without the lines of a traceback inside it: a quoted line of the user's names all that is in it."""
    return re.sub(r'^ *File "[^"]*", line \d+.*\n?.*\n?', "", message, flags=re.MULTILINE)


def _said(error: BaseException) -> str:
    return cleaned(f"{type(error).__name__}: {unquoted(str(error))}")


def _trained(outcome: Outcome, plain: Outcome) -> str:
    """In words what became of a script that was not refused."""
    if outcome.error is not None:
        return cleaned(f"raised after {len(outcome.losses)} steps: {_said(outcome.error)}")
    text = f"loss {_ends(outcome.losses)}, without the mistake {_ends(plain.losses)}"
    not_finite = np.flatnonzero(~np.isfinite(outcome.losses))
    return f"{text}; not finite from step {not_finite[0] + 1} on" if not_finite.size else text


def _ends(losses: list[float]) -> str:
    return f"{losses[0]:.3g} at step 1, {np.mean(losses[-10:]):.3g} in the last 10 of {len(losses)}"


def _same(losses: list[float], plain: list[float]) -> bool:
    return len(losses) == len(plain) and bool(np.allclose(losses, plain, rtol=SAME, atol=0))
