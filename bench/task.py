"""TOML -> Task: what is trained, as a frozen value that names no framework, and its fingerprint."""

import hashlib
import json
import math
import re
import tomllib
from ctypes import c_float
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.errors import InputError, validation_message

TASKS_FOLDER = Path(__file__).parent / "tasks"

# The data sets a task may name: pixels of an image, classes, rows of the training set.
DATA_SETS = {"fashion-mnist": (784, 10, 60_000)}


def _float32(value: float) -> float:
    """Round to the nearest float32 value. Raises ValueError where that is infinite, or 0 and the value is not.

    Keras rounds some hyperparameters to float32 even where the variables are float64, torch never does. Values
    that float32 holds exactly are the same number on every side, so the rounding happens once, here.
    """
    rounded = c_float(value).value  # NumPy takes 2.7 times as long, and each record of a task holds a few
    if math.isinf(rounded) or (rounded == 0) != (value == 0):
        raise ValueError("must be a number that float32 holds, from about 1e-45 to 3.4e38")
    return rounded


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_float32)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_float32)]
Fraction = Annotated[float, Field(ge=0, lt=1), AfterValidator(_float32)]


class Spec(BaseModel):
    """A frozen value that refuses unknown keys and does not turn "64" into 64."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _power_of_two(value: float) -> float:
    """Refuse a factor that would round: a float32 rate times a power of two is exact in every arithmetic."""
    if math.frexp(value)[0] != 0.5:
        raise ValueError("must be a power of two, such as 0.5 or 0.125, so that every framework gets the same rate")
    return value


class StepDecay(Spec):
    """The rate is multiplied by `factor` after every `every_steps` steps, counted from the start of the training."""

    factor: Annotated[float, Field(gt=0, lt=1), AfterValidator(_power_of_two)]
    every_steps: Annotated[int, Field(ge=1)]


class Sgd(Spec):
    """Gradient descent, with momentum where it is above 0.

    g = dL/dp + weight_decay * p;  v = momentum * v + g;  p = p - rate(t) * v.  v starts at 0.
    rate(t) = learning_rate * decay.factor^floor(t / decay.every_steps),  t = 0, 1, ...; learning_rate without a decay.
    """

    name: Literal["sgd"]
    learning_rate: Positive
    momentum: Fraction = 0.0
    weight_decay: NotNegative = 0.0
    decay: StepDecay | None = None

    def rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        return self.learning_rate * (self.decay.factor ** (step // self.decay.every_steps) if self.decay else 1.0)


class RmsProp(Spec):
    """RMSprop, with eps outside the root (Hinton's lecture 6e leaves its place open; torch's form).

    g = dL/dp + weight_decay * p;  s = rho * s + (1 - rho) * g^2;  p = p - learning_rate * g / (sqrt(s) + eps).
    """

    name: Literal["rmsprop"]
    learning_rate: Positive
    rho: Fraction
    eps: Positive
    weight_decay: NotNegative = 0.0


class Adam(Spec):
    """Adam as in algorithm 1 of Kingma and Ba, 2015 (arXiv:1412.6980), eps beside the corrected root.

    g = dL/dp + weight_decay * p;  m = beta1 * m + (1 - beta1) * g;  s = beta2 * s + (1 - beta2) * g^2;
    p = p - learning_rate * (m / (1 - beta1^t)) / (sqrt(s / (1 - beta2^t)) + eps),  t = 1, 2, ...
    """

    name: Literal["adam"]
    learning_rate: Positive
    beta1: Fraction
    beta2: Fraction
    eps: Positive
    weight_decay: NotNegative = 0.0


class AdamW(Spec):
    """Adam with decoupled weight decay, Loshchilov and Hutter, 2019 (arXiv:1711.05101).

    p = p - learning_rate * weight_decay * p, then Adam's step with g = dL/dp alone.
    """

    name: Literal["adamw"]
    learning_rate: Positive
    beta1: Fraction
    beta2: Fraction
    eps: Positive
    weight_decay: Positive


Optimizer = Annotated[Sgd | RmsProp | Adam | AdamW, Field(discriminator="name")]


class Task(Spec):
    """A training task. Every number that the training depends on is here, and nowhere else.

    The sentences that each implementation carries as numbered comments:

    1. The data are the given images, float in [0, 1], and the given labels, class numbers.
    2. The network is a chain of fully connected layers, x W + b, with the activation between layers, none after the
       last; the weights and biases start as given.
    3. The loss is the mean over the batch of the cross-entropy, computed from the logits.
    4. The optimiser follows the task's formula, with every hyperparameter given.
    5. A step takes the batch's rows, computes the loss, its gradients, and updates the parameters once.
    6. Training takes the steps in the order of the given batches, and ends when the losses are on the host.
    7. Evaluation gives the logits of the given images.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    data: Literal["fashion-mnist"]
    layers: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65536)], ...], Field(min_length=2, max_length=256, strict=False)
    ]
    activation: Literal["relu", "tanh", "gelu"]
    loss: Literal["cross-entropy"]
    init: Literal["he-uniform", "glorot-uniform"]
    optimizer: Optimizer
    batch_size: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    dtype: Literal["float32", "float64"]

    @model_validator(mode="after")
    def _fits_its_data(self) -> Self:
        pixels, classes, rows = DATA_SETS[self.data]
        first, last = self.layers[0], self.layers[-1]
        if first != pixels:
            raise ValueError(f"layers[0]: must be {pixels}, the pixels of {self.data}, is {first}")
        if last != classes:
            place = f"layers[{len(self.layers) - 1}]"
            raise ValueError(f"{place}: must be {classes}, the classes of {self.data}, is {last}")
        if self.batch_size > rows // 2:  # an epoch is two calls (docs/decisions/0001), so two batches at least
            limit = f"{rows // 2}, half the {rows} training rows of {self.data}"
            raise ValueError(f"batch_size: must be at most {limit}, is {self.batch_size}")
        return self

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training set; the remainder is dropped, as another batch size retraces."""
        return DATA_SETS[self.data][2] // self.batch_size

    @property
    def fingerprint(self) -> str:
        """SHA-256 (16 hex digits) of the canonical JSON of all that decides the arithmetic: not the name, the title.

        Keys that are None are left out, so that a new optional key does not orphan the results of older tasks.
        """
        return _fingerprint(self)

    def changed(self, **changes: Any) -> "Task":
        """A task with other values, validated anew (model_copy would not). Raises InputError."""
        try:
            return Task.model_validate(self.model_dump() | changes)
        except ValidationError as error:
            raise InputError(validation_message(f"task {self.name}", error)) from None

    def widened(self, width: int) -> "Task":
        """The task with every hidden layer of this width, and a name that says so. Raises InputError."""
        if len(self.layers) < 3:
            raise InputError(f"--width {width}: task {self.name} has no hidden layer; take another task")
        layers = (self.layers[0], *[width] * (len(self.layers) - 2), self.layers[-1])
        title = f"{'-'.join(map(str, layers))}, otherwise as {self.name}"
        return self.changed(layers=layers, name=f"{self.name}-w{width}", title=title)


_WIDENED = re.compile(r"(?P<base>.+)-w(?P<width>[0-9]+)")


def unwidened(name: str) -> tuple[str, int | None]:
    """What `Task.widened` made a task's name of: that of the task before, and the width. None where it made no such."""
    named = _WIDENED.fullmatch(name)
    return (name, None) if named is None else (named["base"], int(named["width"]))


@lru_cache(maxsize=1024)  # each record of a task asks for it
def _fingerprint(task: Task) -> str:
    facts = task.model_dump(mode="json", exclude={"name", "title"}, exclude_none=True)
    canonical = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@cache
def is_shipped(task: Task) -> bool:
    """Whether this is the shipped task of its name, and no variant of it: another batch size, fewer epochs."""
    return task.name in shipped_tasks() and load_task(task.name).fingerprint == task.fingerprint


def is_variant(task: Task) -> bool:
    """Whether this has the name of a shipped task and is another."""
    return task.name in shipped_tasks() and not is_shipped(task)


@cache
def shipped_tasks() -> tuple[str, ...]:
    """Names of the tasks that ship with the suite, in order of the alphabet."""
    return tuple(sorted(path.stem for path in TASKS_FOLDER.glob("*.toml")))


def load_task(name_or_file: str) -> Task:
    """A shipped task by its name, or a user's own by the path of a TOML file. Raises InputError."""
    if Path(name_or_file).suffix == ".toml":
        return _read(Path(name_or_file))
    if name_or_file not in shipped_tasks():
        raise InputError(f"no task {name_or_file!r}; take one of {', '.join(shipped_tasks())}, or a file FILE.toml")
    return _shipped(name_or_file)


@cache
def _shipped(name: str) -> Task:
    return _read(TASKS_FOLDER / f"{name}.toml")


def _read(path: Path) -> Task:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not TOML: {error}") from None
    try:
        return Task.model_validate(values)
    except ValidationError as error:
        raise InputError(validation_message(str(path), error)) from None
