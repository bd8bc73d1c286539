"""The table of studies: what is asked beside a training trial, of whom, and which module of bench/studies measures it.

A study is a module with one function, `measure(module, request, settings) -> list[Reading]`, run in a fresh worker
process: module is the subject's, already imported, not yet configured. It raises Refusal where the subject cannot do
what is asked. Imports no framework.
"""

from dataclasses import dataclass, replace

from bench.contract import ENTRIES, Entry, Mode
from bench.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question, the subjects that it is put to, and the module that measures the answer.

    subjects: entries, or other programmes of a framework (an export format) that are named like one. tasks: shipped
    tasks it is done on. blocks: processes a subject that one run takes where no flag says otherwise.
    """

    name: str
    question: str
    subjects: tuple[Entry, ...]
    tasks: tuple[str, ...] = ("mlp",)
    blocks: int = 3
    time_limit_seconds: float = 600

    @property
    def module(self) -> str:
        """The import path of what measures."""
        return f"bench.studies.{self.name.replace('-', '_')}"


def _entries(*names: str) -> tuple[Entry, ...]:
    return tuple(entry for name in names for entry in ENTRIES if entry.name == name)


def _format(name: str, framework: str, mode: Mode, *packages: str) -> Entry:
    """A way to serve a trained network: an export format, or the framework itself, which is named like its entry."""
    own = {"torch": ("torch",), "tensorflow": ("tensorflow", "keras")}[framework]
    return Entry(
        name=name,
        module=f"impls.{framework}.exported",
        framework=framework,
        mode=mode,
        tier="as-written",
        packages=(*own, *packages),
        extras=("export",) if packages else (),
    )


def _beside(module: str, *names: str) -> tuple[Entry, ...]:
    """Entries by name, each with that module of its framework's folder in place of its own."""
    return tuple(replace(e, module=f"{e.module.rpartition('.')[0]}.{module}") for e in _entries(*names))


STUDIES: tuple[Study, ...] = (
    Study(
        name="soak",
        question="Does memory grow, and do steps stay as fast, over 100,000 steps?",
        subjects=_entries("torch-eager", "tensorflow-function", "torch-tuned", "tensorflow-loop"),
        tasks=("mlp-tiny",),
    ),
    Study(
        name="repeat",
        question="Does the same seed give the same bits in another process?",
        subjects=_entries(
            "torch-eager",
            "torch-compile",
            "torch-tuned",
            "tensorflow-eager",
            "tensorflow-function",
            "tensorflow-xla",
            "tensorflow-loop",
        ),
    ),
    Study(
        name="exported",
        question="What does an exported network cost to start and to keep, and how fast does it answer?",
        subjects=(
            _format("torch-eager", "torch", "eager"),
            _format("torch-export", "torch", "graph"),
            _format("torch-aoti", "torch", "compiled"),
            _format("torch-script", "torch", "graph"),
            _format("torch-onnx", "torch", "graph", "onnx", "onnxscript", "onnxruntime"),
            _format("tensorflow-function", "tensorflow", "graph"),
            _format("tensorflow-savedmodel", "tensorflow", "graph"),
            _format("tensorflow-tflite", "tensorflow", "graph", "ai-edge-litert"),
        ),
        blocks=5,
    ),
    Study(
        name="mistakes",
        question="Which classic mistakes are refused, does the message lead to the line, and does it name the culprit?",
        subjects=_beside(
            "mistakes", "torch-eager", "torch-compile", "tensorflow-eager", "tensorflow-function", "keras-fit"
        ),
        blocks=1,
    ),
    Study(
        name="code-size",
        question="How much code is the training, and how many of the framework's names does it need?",
        subjects=_entries(
            "torch-eager",
            "torch-compile",
            "torch-tuned",
            "tensorflow-eager",
            "tensorflow-function",
            "tensorflow-loop",
            "keras-fit",
            "jax-jit",
            "numpy",
        ),
        blocks=1,
    ),
    Study(
        name="changing-batches",
        question="How much of its throughput does an entry keep where the batch size changes at every step?",
        subjects=(
            *_entries("torch-eager", "torch-compile", "tensorflow-eager", "tensorflow-function", "tensorflow-xla"),
            *_entries("jax-jit", "keras-fit"),
            *(
                replace(e, name=f"{e.name}-any-size", module=f"impls.{e.framework}.any_size")
                for e in _entries("torch-compile", "tensorflow-function")
            ),
        ),
        blocks=5,
        time_limit_seconds=1200,
    ),
    Study(
        name="dynamic-depth",
        question="How much of its throughput does a network keep where each batch decides how deep it is?",
        subjects=_beside(
            "dynamic",
            "torch-eager",
            "torch-compile",
            "tensorflow-eager",
            "tensorflow-function",
            "tensorflow-xla",
            "jax-jit",
        ),
        blocks=5,
    ),
    Study(
        name="backward",
        question="What does the backward pass cost beside the forward pass?",
        subjects=_beside("passes", "torch-eager", "tensorflow-function", "jax-jit"),
        blocks=5,
    ),
)


def find_study(name: str) -> Study:
    """A study by its name. Raises InputError."""
    for study in STUDIES:
        if study.name == name:
            return study
    raise InputError(f"study {name!r}: no such study; there are {', '.join(study.name for study in STUDIES)}")
