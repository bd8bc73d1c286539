"""Trials and studies -> which framework to take for which case, machine by machine. Pure.

Each case is judged like a claim, TensorFlow first, so that one figure cannot be read in two ways.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from bench.claims import (
    Claim,
    Evidence,
    Judged,
    Observation,
    Record,
    Seen,
    judge_seen,
    verdicts,
    where_parts,
    where_text,
)
from bench.measures import DUET, Conditions
from bench.publish import claims, units
from bench.publish.plots import NAMES
from bench.stats import verdict_of
from bench.studying import Studied
from bench.task import load_task

Take = Literal["tensorflow", "torch", "tie", "undecided", "not measured"]

_BEST = (("tensorflow", "torch"),)
_AS_WRITTEN = (("tensorflow-function", "torch-eager"),)
_OWN_TASKS = ("mlp", "mlp-tiny", "mlp-deep", "mlp-wide")
_WIDE = {"tasks": ("mlp-w*",), "widths": (1024, 2048, 4096)}
# What each guide puts first, and the fastest of each: without them a best is none.
_NEEDS = ("tensorflow-loop", "torch-tuned")


def _case(name: str, wish: str, how: str, **evidence: Any) -> Claim:
    """A wish as a claim that TensorFlow fulfils it better. how: what is compared."""
    return Claim(
        name=name,
        topic="glance",
        sentence=wish,
        said_by="",
        meaning=how,
        evidence=[Evidence.model_validate({"what": wish, **evidence})],
    )


CASES: tuple[Claim, ...] = (
    _case(
        "first-result",
        "The first result soonest",
        "import + build + first step",
        measure="time_to_first_step_seconds",
        better="less",
        pairs=_AS_WRITTEN,
        tasks=_OWN_TASKS,
    ),
    _case(
        "as-written",
        "Fast training, as the guides write it",
        "samples/s; tf.function and torch eager",
        measure="samples_per_second",
        pairs=_AS_WRITTEN,
        tasks=_OWN_TASKS,
    ),
    _case(
        "step-by-step",
        "Fast training, step by step",
        "samples/s; both eager, as for debugging",
        measure="samples_per_second",
        pairs=(("tensorflow-eager", "torch-eager"),),
        tasks=_OWN_TASKS,
    ),
    _case(
        "at-best",
        "The fastest training there is",
        "samples/s; the fastest entry of each",
        measure="samples_per_second",
        best_of=_BEST,
        needs=_NEEDS,
        tasks=_OWN_TASKS,
    ),
    _case(
        "steps-as-written",
        "Fast steps once it runs, as the guides write it",
        "samples/s in turns; tf.function and torch eager",
        measure="duet/samples_per_second",
        pairs=_AS_WRITTEN,
        tasks=_OWN_TASKS,
    ),
    _case(
        "steps-at-best",
        "The fastest steps once it runs",
        "samples/s in turns; whole epochs compiled in TensorFlow, the tuned loop in PyTorch",
        measure="duet/samples_per_second",
        pairs=(_NEEDS,),
        tasks=_OWN_TASKS,
    ),
    _case(
        "wide",
        "Fast training of wide networks",
        "samples/s; the fastest entry of each, 1,024 units or more",
        measure="samples_per_second",
        best_of=_BEST,
        needs=_NEEDS,
        **_WIDE,
    ),
    _case(
        "wide-steps",
        "Fast steps of wide networks once it runs",
        "samples/s in turns; whole epochs compiled in TensorFlow, the tuned loop in PyTorch, 1,024 units or more",
        measure="duet/samples_per_second",
        pairs=(_NEEDS,),
        **_WIDE,
    ),
    _case(
        "accuracy",
        "85 % test accuracy soonest",
        "training seconds; the fastest entry of each",
        measure="seconds_to_85_percent",
        better="less",
        best_of=_BEST,
        needs=_NEEDS,
        tasks=_OWN_TASKS,
    ),
    _case(
        "memory",
        "The least memory",
        "peak of the whole process; the leanest entry of each",
        measure="peak_training_bytes",
        better="less",
        best_of=_BEST,
        needs=_NEEDS,
        tasks=_OWN_TASKS,
    ),
    _case(
        "steady",
        "The same speed in each run",
        "spread of samples/s over processes",
        measure="samples_per_second",
        kind="spread",
        least=1.25,
        pairs=_AS_WRITTEN,
    ),
    _case(
        "changing-batches",
        "Batches that change their size at every step",
        "samples/s that are kept; compiled where the guides compile",
        measure="changing-batches/kept",
        least=1.05,
        pairs=_AS_WRITTEN,
    ),
    _case(
        "dynamic-depth",
        "Depth that depends on the data",
        "samples/s that are kept; compiled where the guides compile",
        measure="dynamic-depth/kept",
        least=1.05,
        pairs=_AS_WRITTEN,
    ),
    _case(
        "code",
        "Little code",
        "nodes of the syntax tree of the plain implementation",
        measure="code-size/syntax_nodes.one_optimizer",
        kind="exact",
        better="less",
        least=1.05,
        pairs=_AS_WRITTEN,
    ),
    _case(
        "errors",
        "Messages that lead to the mistake",
        "share of classic mistakes whose message names the line",
        measure="mistakes/names_line_share",
        kind="exact",
        least=1.0,
        pairs=_AS_WRITTEN,
    ),
    _case(
        "export-size",
        "A small exported model",
        "bytes of all its files; the smallest format of each",
        measure="exported/exported_bytes",
        kind="exact",
        better="less",
        least=1.05,
        best_of=_BEST,
    ),
    _case(
        "export-start",
        "An exported model that starts soon",
        "import, load and first answer; the best format of each",
        measure="exported/cold_start_seconds",
        better="less",
        least=1.05,
        best_of=_BEST,
    ),
    _case(
        "export-latency",
        "An exported model that answers fast",
        "median latency at batch 1; the best format of each",
        measure="exported/latency_p50_seconds",
        better="less",
        least=1.05,
        best_of=_BEST,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to take for a case on a machine.

    shown: the observation whose figures stand for it: under the conditions that the task mlp ships with where that was
    measured, else those with the most blocks; None where nothing was. all: every observation, the shown one included.
    """

    case: Claim
    shown: Observation | None
    all: tuple[Observation, ...]
    why: str

    @property
    def take(self) -> Take:
        """The framework to take, by the shown observation."""
        return "not measured" if self.shown is None else take(self.shown)


def choices(trials: Sequence[Record], studies: Sequence[Studied]) -> dict[str, list[Choice]]:
    """A choice for each of CASES, by the machine's fingerprint. A case that no machine measured is in all of them."""
    return of_seen(Seen(trials, studies))


def of_seen(seen: Seen) -> dict[str, list[Choice]]:
    """`choices` of points that claims may have been judged by already."""
    judged = verdicts(CASES, [judge_seen(CASES, seen)])
    machines = sorted({one.machine.fingerprint for one in judged if one.machine is not None})
    return {machine: [_choice(case, machine, judged) for case in CASES] for machine in machines}


def _choice(case: Claim, machine: str, judged: Iterable[Judged]) -> Choice:
    of_case = [one for one in judged if one.claim.name == case.name]
    seen = [o for one in of_case for o in one.observations if o.conditions.machine == machine and o.value is not None]
    why = next((one.why for one in of_case if one.machine is None or one.machine.fingerprint == machine), "")
    shown = max(seen, key=lambda o: (_is_plain(o), o.n), default=None)
    return Choice(case=case, shown=shown, all=tuple(seen), why=why or "not measured on this machine")


def _is_plain(o: Observation) -> bool:
    """Whether it is of the task mlp as it ships, with one thread."""
    c = o.conditions
    return c.fingerprint == _shipped_fingerprint() and (c.threads, c.processes) == (1, 1)


@cache
def _shipped_fingerprint() -> str:
    return load_task("mlp").fingerprint


_TAKE: dict[str, Take] = {"faster": "tensorflow", "slower": "torch", "tie": "tie", "undecided": "undecided"}


def take(o: Observation) -> Take:
    """The framework that the observation is in favour of. Its evidence's `least` is the width of a tie."""
    if o.evidence.kind == "exact":
        return _by_figures(o)
    if o.interval is None:
        return "undecided"
    log = math.log(o.interval[0]), math.log(o.interval[1])
    return _TAKE[verdict_of(log, more_is_faster=True, band=math.log(o.evidence.least))]


def _by_figures(o: Observation) -> Take:
    if o.a is None or o.b is None or o.outcome in ("undecided", "no figure"):
        return "undecided"
    ours, theirs = (o.a, o.b) if o.evidence.better == "more" else (o.b, o.a)
    if ours > theirs * o.evidence.least:
        return "tensorflow"
    return "torch" if theirs > ours * o.evidence.least else "tie"


def leader(o: Observation) -> Literal["tensorflow", "torch"]:
    """Whose value is the better one, whether that is told apart or not."""
    return "torch" if o.value is not None and o.value < 1 else "tensorflow"


def of_leader(o: Observation) -> Observation:
    """The observation turned so that its value is 1 or more: how many times better the leader is."""
    if o.value is None or leader(o) == "tensorflow" or o.value == 0:
        return o
    interval = None if o.interval is None else (1 / o.interval[1], 1 / o.interval[0])
    return replace(o, value=1 / o.value, interval=interval)


FRAMEWORKS = {name: NAMES[name] for name in ("torch", "tensorflow")}
_WORDS: dict[Take, str] = {**FRAMEWORKS, "tie": "a tie", "undecided": "not decided"}  # type: ignore[dict-item]


def unusual(c: Conditions, usual: Conditions) -> str:
    """What of its conditions is not as usual: batch 512, 2 threads. All of them where words do not tell them apart.

    Of a duet the epochs are not said: what its case measures says that it took turns.
    """
    theirs = where_parts(usual)
    unsaid = {"epochs"} if DUET in (c.study, usual.study) else set()
    parts = [part for name, part in where_parts(c).items() if name not in unsaid and part != theirs.get(name)]
    return ", ".join(parts) or ("" if c.fingerprint == usual.fingerprint else where_text(c))


def elsewhere(choice: Choice) -> str:
    """What the other conditions say: the same in 3 of 5 others; PyTorch in 1 (batch 512); not decided in 1."""
    others = [o for o in choice.all if o is not choice.shown]
    if choice.shown is None or not others:
        pooled = choice.shown is not None and choice.shown.evidence.kind == "spread"
        return "over all conditions" if pooled else "no others measured"
    by: dict[Take, list[Observation]] = {}
    for o in others:
        by.setdefault(take(o), []).append(o)
    parts: list[str] = []
    for what in sorted(by, key=lambda what: (what != choice.take, list(_WORDS).index(what))):
        part = f"{'the same' if what == choice.take != 'undecided' else _WORDS[what]} in {len(by[what])}"
        part += "" if parts else f" of {units.count(len(others), 'other')}"
        told = what in FRAMEWORKS and what != choice.take
        where = "; ".join(unusual(o.conditions, choice.shown.conditions) for o in by[what][:3]) if told else ""
        parts.append(part + (f" ({where})" if where else ""))
    return "; ".join(parts)


def figure(value: float | None, o: Observation) -> str:
    """A side's median with its unit; nothing for a spread, whose sides are pooled over conditions."""
    return "" if o.evidence.kind == "spread" else claims.quantity_text(value, o.unit)
