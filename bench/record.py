"""Trial, Machine and Plan <-> JSON: the values that results/raw holds, and the number of their schema."""

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from bench.contract import Device, Mode, Precision, Tier
from bench.errors import InputError, validation_message
from bench.migrations import migrate
from bench.task import Task

T = TypeVar("T", bound="Value")

SCHEMA_VERSION = 2  # history: docs/schema.md; bench/migrations.py brings older documents up to it

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

Status = Literal["ok", "refused", "failed", "crashed", "out-of-memory", "timed-out", "broken-output", "lost"]
FAILURES: frozenset[Status] = frozenset({"failed", "crashed", "out-of-memory", "timed-out", "broken-output"})
# "lost" is none of them: the cluster ended the job, which says nothing of the entry, and the trial is run again.
Readings = list[Finite | None]  # one for each sample of a series; null where that sample could not be had


class Value(BaseModel):
    """Frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Value):
    """A figure that could not be measured everywhere: its value, or null with the reason. Never 0 for unknown."""

    value: Finite | None
    reason: str | None = None


class Limits(Value):
    """What a certificate tolerates, and over how many steps; the values stand in bench/tolerances.toml."""

    float64_steps: Annotated[int, Field(ge=1)]
    float64_most_rows: Annotated[int, Field(ge=1)]
    float64_most_decay_steps: Annotated[int, Field(ge=1)]
    float64_deviation: Annotated[float, Field(gt=0)]
    own_dtype_steps: Annotated[int, Field(ge=1)]
    own_dtype_most_rows: Annotated[int, Field(ge=1)]
    gradient_steps: Annotated[int, Field(ge=1)]
    budget_draws: Annotated[int, Field(ge=2)]
    budget_false_refusal: Annotated[float, Field(gt=0, lt=1)]


class Case(Value):
    """Task x entry x device x threads x processes (x batch size, which the fingerprint holds).

    A trial is one case run once.
    threads: of each process. processes: that share each batch; of an entry that has devices in one process, those.
    precision: of products of float32 matrices. environment: the label of the interpreter, where a run has several of
    one framework; else empty.
    """

    task: str
    fingerprint: str
    entry: str
    framework: str
    mode: Mode
    tier: Tier
    device: Device
    threads: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    precision: Precision = "ieee"
    environment: str = ""
    processes: Annotated[int, Field(ge=1)] = 1


class MemorySample(Value):
    """Resident memory of the worker as /proc/self/status tells it: all, anonymous pages, pages of files.

    Of a peak, each is the largest that was seen, so the three need not be of one moment.
    """

    rss_bytes: Bytes
    anon_bytes: Bytes
    file_bytes: Bytes


class Memory(Value):
    """What the worker held. reason: why a figure of the host is null.

    peak_training_bytes: VmHWM, reset right before the training. sampled_peak: of one more epoch after the measured
    ones, read every millisecond, which would have disturbed them. The device's figures are of the framework's own
    allocator, over the measured epochs. Of a trial of several processes all of these are rank 0's;
    peak_training_bytes_of_ranks: the same peak of each rank, rank 0 first; empty where there is one process.
    """

    after_import: MemorySample | None
    after_build: MemorySample | None
    peak_training_bytes: Bytes | None
    peak_above_import_bytes: int | None
    sampled_peak: MemorySample | None
    sampled_peak_samples: Count
    device_peak_allocated_bytes: Figure
    device_peak_reserved_bytes: Figure
    reason: str | None = None
    peak_training_bytes_of_ranks: list[Figure] = []


class Surroundings(Value):
    """What the system counted over a window, read before its clock starts and after it has stopped.

    steal_seconds: time in which the hypervisor ran others on the worker's cores. foreign_seconds: time in which other
    processes ran on them. Switches are of all threads of the worker. Null where it cannot be had: see `reasons` of the
    measurements.
    """

    steal_seconds: Finite | None
    foreign_seconds: Finite | None
    voluntary_switches: Count | None
    involuntary_switches: Count | None
    energy_joules: Seconds | None  # of the whole processor package, by RAPL


class Product(Value):
    """A product of an (m, k) and a (k, n) matrix in the entry's framework; seconds: the least of one, of all repeats.

    what: "square", or such as "layer 0 forward", "layer 0 weight gradient", "layer 1 input gradient".
    """

    what: str
    m: Count
    k: Count
    n: Count
    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    flops_per_second: Finite


class Ceiling(Value):
    """What the machine can do, measured in the trial's own process after its training, with the same threads.

    flops_per_second: the best of all products; null with the reason. bandwidth: of a copy in the host's memory, read
    and written bytes, by NumPy, whatever the device. relative_error: of a product of float32 matrices beside float64,
    max|a - b| / max|b|; precision: what that error says it was.
    """

    products: list[Product]
    flops_per_second: Figure
    bandwidth_bytes_per_second: Figure
    product_relative_error: Figure
    product_precision: Literal["ieee", "tf32", "bfloat16", "other"] | None


class Epoch(Value):
    """One epoch. Its first batch is trained by a call of its own; the window is the call with all the others."""

    window_seconds: Seconds
    window_cpu_seconds: Seconds
    window_steps: Count
    first_batch_seconds: Seconds
    compilations: Count | None  # programs traced or compiled inside the window; null where the entry does not tell
    mean_loss: Finite
    last_loss: Finite
    test_accuracy: Share
    surroundings: Surroundings | None  # null where the run was told to leave the sensors off


class Check(Value):
    """What a trial proves of itself: losses in its own process beside the float64 oracle's, step by step.

    tolerances: derived for each step from the error budget of the task's dtype (docs/method.md).
    """

    verdict: Literal["same-work", "refused"]
    steps: Count
    tolerances: list[Finite]
    trainer_deviations: list[Finite | None]  # a second trainer, after the measurement; null where it is not finite
    measured_deviations: list[Finite | None]  # the first steps of the very training that was measured
    largest_deviation: Finite | None
    reason: str | None = None


class Communication(Value):
    """What it costs that processes share a batch: the same steps with and without the exchange of gradients, in turn.

    Seconds of rank 0, of windows of so many steps each, after the measured epochs; without it each process keeps to the
    gradients of its own share. What is missing then is the exchange as far as it is not hidden behind the computing,
    and the waiting for the others.
    """

    steps: Annotated[int, Field(ge=1)]
    exchanging_seconds: list[Seconds]
    local_seconds: list[Seconds]


class Measurements(Value):
    """All that a trial measured; units in the names, clocks monotonic. Of several processes, on rank 0."""

    import_seconds: Seconds  # the entry's module and its framework, and configure(); NumPy is there already
    data_seconds: Seconds  # the harness's own: decode, check and scale the data set, initial parameters
    build_seconds: Seconds
    first_step_seconds: Seconds
    total_training_seconds: Seconds  # all epochs, first batches included, evaluations not
    epochs: list[Epoch]
    step_latency_nanoseconds: list[Count]  # single steps after the last epoch, one call each
    first_losses: list[Finite]  # of the first 100 steps
    losses_sha256: str  # of the float32 bytes of every step's loss, in order
    memory: Memory
    flops_per_sample: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # counted from the task (bench/flops.py)
    gather_seconds_per_step: Figure  # taking a batch's rows and nothing else, where the entry can do that alone
    ceiling: Ceiling
    reasons: dict[str, str]  # why a figure of the surroundings is null, by its name
    communication: Communication | None = None  # null where there is one process, or the entry cannot leave it out


class Gpu(Value):
    """One card over the measured windows of a trial, as NVML told the runner; one reading a sample in each list.

    at_seconds: since the first window began; samples between windows are left out. busy_percent: the share of the last
    sampling period of the driver in which at least one kernel ran, not how full the chip was. gpm: NVML's metrics of
    Hopper and newer. energy_joules: over all windows. foreign_processes: process ids on the card that are not the
    worker's (the host's ids, in a container too). reasons: why a figure is null, by its name.
    """

    uuid: str
    name: str
    driver: str | None
    mig: bool | None
    at_seconds: list[Seconds]
    busy_percent: Readings
    memory_used_bytes: Readings
    power_watts: Readings
    sm_clock_megahertz: Readings
    memory_clock_megahertz: Readings
    temperature_celsius: Readings
    throttle_reasons: list[list[str] | None]
    gpm: dict[str, Readings]
    energy_joules: Seconds | None
    window_seconds: Seconds
    foreign_processes: list[int] | None
    reasons: dict[str, str]


class Versions(Value):
    """What computed: frameworks, BLAS builds, interpreter. packages: what the entry's versions() says."""

    python: str
    numpy: str
    evenhand: str
    packages: dict[str, str]
    blas: list[str]


class Machine(Value):
    """What it ran on. Figures that cannot be read are null; `reasons` says why, by the name of the field.

    cpu_type: maker, family, model and stepping as numbers, which hypervisors leave where they hide the model's name.
    vector_extensions: those that kernels of products are chosen by. Both are null in records older than they are.
    """

    fingerprint: str
    name: str
    cpu_model: str | None
    cpu_type: str | None = None
    vector_extensions: list[str] | None = None
    architecture: str
    cores: int
    physical_cores: int | None
    memory_bytes: Bytes | None
    kernel: str
    system: str
    hypervisor: str | None
    governor: str | None
    gpus: list[str]
    gpu_driver: str | None
    reasons: dict[str, str]


class Source(Value):
    """The code that measured. sha256: over bench/ and impls/ without results, so that it holds without git too."""

    git_commit: str | None
    git_dirty: bool | None
    sha256: str
    reason: str | None = None


class Series(Value):
    """One figure of a certificate: its relative deviation from the oracle at each step, and what is tolerated there.

    what: such as "loss", "gradient of weight 0", "parameter bias 2"; layers are counted from 0. null: not finite.
    """

    what: str
    deviations: list[Finite | None]
    tolerances: list[Finite]


class Part(Value):
    """One part of a certificate. float64: the same algorithm; own-dtype: at the precision that is measured."""

    name: Literal["float64", "own-dtype"]
    dtype: Literal["float32", "float64"]
    steps: Count
    series: list[Series]
    faults: list[str]  # each figure that left its tolerance, at its first such step


class Certificate(Value):
    """The proof, per case, that the entry did the task's arithmetic; made before its trials by a worker of its own.

    status: ok, or why there is no proof, with the reason. host_reads: places inside a step where a value of the device
    was read on the host; null where the entry cannot tell.
    """

    schema_version: Literal[2] = 2
    status: Status
    reason: str | None
    case: Case
    task: Task
    training_seed: Count
    implementation_sha256: str | None
    versions: Versions | None
    parts: list[Part]
    host_reads: list[str] | None
    limits: Limits
    machine: Machine
    source: Source
    started_utc: str
    worker_seconds: Seconds

    def to_json(self) -> str:
        """The file's text."""
        return compact_json(self.model_dump(mode="json"))

    def largest(self, part: str, figure: str) -> float | None:
        """The largest deviation of a part's figures whose name begins so; None where there is none."""
        found = [
            deviation
            for one in self.parts
            if one.name == part
            for series in one.series
            if series.what.startswith(figure)
            for deviation in series.deviations
            if deviation is not None
        ]
        return max(found, default=None)


class Proof(Value):
    """What a trial says of its case's certificate: where it lies beside the trial's file, and what it found.

    sha256: of the certificate's file. The deviations are the largest: of a parameter over 100 steps in float64; of a
    loss over the first steps in the run's own dtype.
    """

    file: str
    sha256: str
    status: Status
    reason: str | None
    implementation_sha256: str | None
    float64_parameter_deviation: Finite | None
    own_dtype_loss_deviation: Finite | None


class Conditions(Value):
    """The state of the machine around the trial.

    cores: the affinity of the worker, of all its processes together. cores_shared: whether these are fewer than
    processes x threads, so that processes take turns on them.
    """

    cores: list[int]
    load_before: Finite | None
    memory_limit_bytes: Bytes | None
    time_limit_seconds: Seconds
    environment: dict[str, str]  # the variables that set threads, as the worker had them
    sensors: bool  # whether anything was read around the windows; without, the trial only serves to price the sensors
    cores_shared: bool = False


class Placement(Value):
    """Where the trial stands in its plan."""

    run: str
    profile: str
    plan_seed: int
    block: Count
    position: Count
    target: Annotated[float, Field(gt=0)] | None = None  # the half-width at which the run was to stop, 0.01 for +-1%


class Trial(Value):
    """One case, run once, in one fresh process: the document that results/raw keeps."""

    schema_version: Literal[2] = 2
    placement: Placement
    case: Case
    task: Task
    training_seed: Count
    status: Status
    reason: str | None
    started_utc: str
    worker_seconds: Seconds  # the life of the process as the runner saw it; of a lost one until its end was noticed
    measurements: Measurements | None
    check: Check | None
    certificate: Proof | None
    versions: Versions | None
    implementation_sha256: str | None  # over the folder of the entry's module
    machine: Machine
    source: Source
    conditions: Conditions
    gpu: Gpu | None = None  # null on the CPU
    disturbances: list[str] = []  # what spoilt the measurement, each with its figure; none: nothing was found
    stderr_tail: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        """A record that names another task than it carries would stand in the wrong table."""
        task, case = self.task, self.case
        if (case.task, case.fingerprint, case.batch_size) != (task.name, task.fingerprint, task.batch_size):
            raise ValueError(f"case: is of task {case.task} {case.fingerprint}, the record holds {task.fingerprint}")
        if self.status == "ok" and (self.measurements is None or self.check is None):
            raise ValueError("status: is ok without measurements or check")
        return self

    def to_json(self) -> str:
        """The file's text: stable order of keys, one line a list of numbers."""
        return compact_json(self.model_dump(mode="json"))


class Reading(Value):
    """One figure of a study, or null with the reason. text: what was seen, where a number alone says little."""

    name: str  # such as "peak_rss_bytes.after_10000_steps"; the study's own docs say what each is
    unit: str  # such as "s", "bytes", "samples/s", "1"
    value: Finite | None
    reason: str | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _says_why_it_is_null(self) -> Self:
        if self.value is None and not self.reason:
            raise ValueError(f"{self.name}: has no value and no reason")
        return self


class WorkerRequest(Value):
    """What the runner asks of a worker, on its standard input: a trial, a certificate, the mutation suite, or windows.

    study: the module of the study that is asked for, such as bench.studies.soak.
    slowdown: the share by which each window is made longer, for windows alone: to try what a gate finds.
    """

    what: Literal["trial", "certificate", "mutations", "windows", "study"] = "trial"
    study: str | None = None
    task: Task
    training_seed: Count
    entry: str
    entry_module: str
    device: Device
    threads: Annotated[int, Field(ge=1)]
    processes: Annotated[int, Field(ge=1)] = 1
    cores_shared: bool = False
    precision: Precision = "ieee"
    sensors: bool = True
    slowdown: Annotated[float, Field(ge=0, le=1)] = 0
    memory_limit_bytes: Bytes | None
    parent_pid: int


class Kill(Value):
    """One deliberate fault and what the certificate said of it. caught: by the part and figure meant to catch it."""

    name: str
    fault: str
    task: str
    meant: str
    caught: bool
    faults: list[str]  # all that the certificate found, what was meant to be found first


class Suite(Value):
    """The kill table of one framework: which deliberate faults the certificate refused."""

    schema_version: Literal[2] = 2
    framework: str
    entry: str
    kills: list[Kill]
    versions: Versions
    machine: Machine
    source: Source
    limits: Limits
    created_utc: str
    worker_seconds: Seconds


class WorkerReply(Value):
    """What a worker says, on its standard output, once. The runner makes the record of it.

    crashed: a rank did, as bench.launch saw. pids: of all ranks.
    """

    status: Literal["ok", "refused", "failed", "out-of-memory", "crashed"]
    reason: str | None
    measurements: Measurements | None = None
    check: Check | None = None
    parts: list[Part] = []
    host_reads: list[str] | None = None
    kills: list[Kill] = []
    readings: list[Reading] = []
    windows: list[tuple[float, float]] = []  # start and end of each measured window, CLOCK_MONOTONIC
    pids: list[int] = []
    versions: Versions | None = None
    implementation_sha256: str | None = None


class Interpreter(Value):
    """A Python that runs the entries of one framework. label: tells several of one framework apart, else empty.

    packages: the distributions that entries need, and their versions there.
    """

    framework: str
    label: str = ""
    python: str
    packages: dict[str, str]


class Plan(Value):
    """What a run is to do, whole: enough to take it up again. Written before the first trial."""

    schema_version: Literal[2] = 2
    run: str
    profile: str
    seed: Count
    blocks: Annotated[int, Field(ge=1)]
    tasks: list[Task]
    entries: list[str]
    devices: list[Device]
    threads: list[Annotated[int, Field(ge=1)]]
    processes: list[Annotated[int, Field(ge=1)]] = [1]
    precisions: list[Precision] = ["ieee"]
    interpreters: list[Interpreter] = []  # of frameworks that do not run in the runner's own
    gpu: str | None = None  # the UUID of the card
    sensors: bool = True
    target: Annotated[float, Field(gt=0)] | None = None  # stop where every ratio is known to this; blocks is the cap
    against: str = "torch-eager"  # the entry that the ratios are taken to
    time_limit_seconds: Seconds
    memory_limit_bytes: Bytes | None
    created_utc: str
    machine_fingerprint: str
    source: Source


def compact_json(document: Any, indent: int = 1) -> str:
    """JSON for people: one key a line, but a list of plain values on one line. Refuses NaN and infinities."""

    def text(value: Any, depth: int) -> str:
        pad, end = "\n" + " " * indent * (depth + 1), "\n" + " " * indent * depth
        if isinstance(value, dict) and value:
            return "{" + ",".join(f"{pad}{json.dumps(k)}: {text(v, depth + 1)}" for k, v in value.items()) + end + "}"
        if isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
            return "[" + ",".join(pad + text(v, depth + 1) for v in value) + end + "]"
        return json.dumps(value, allow_nan=False, ensure_ascii=False)

    return text(document, 0) + "\n"


def read_value(kind: type[T], path: Path) -> T:
    """A value from its JSON file. Raises InputError with file, path and cause."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    with contextlib.suppress(ValidationError):
        return kind.model_validate_json(content)  # in one go; below, why it refuses
    try:
        document = json.loads(content)
        number = document.get("schema_version") if isinstance(document, dict) else None
        if isinstance(number, int) and number > SCHEMA_VERSION:
            raise InputError(
                f"{path}: schema_version: is {number}, this evenhand reads up to {SCHEMA_VERSION}; update it"
            )
        return kind.model_validate(migrate(kind.__name__, document), strict=False)
    except ValidationError as error:
        raise InputError(validation_message(str(path), error)) from None
    except (ValueError, KeyError, TypeError) as error:  # no JSON, or not what its number says it is
        raise InputError(f"{path}: is no whole record ({error}); restore the file") from None


def read_toml(kind: type[T], path: Path) -> T:
    """A value from a TOML file that a person writes. Raises InputError with file, path and cause."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no TOML ({error}); correct it there") from None
    try:
        return kind.model_validate(document, strict=False)
    except ValidationError as error:
        raise InputError(validation_message(str(path), error)) from None


def schema_of(name: str, kind: type[Value]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a record, as shipped in bench/schema/."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"evenhand/{name}/{SCHEMA_VERSION}",
    } | TypeAdapter(kind).json_schema()
