"""Judged claims -> their text for tables, pages and terminals. Pure."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from bench.claims import ClaimVerdict, Judged, Observation, describe, headlines, unmeasured
from bench.publish import escape, markdown, units
from bench.stats import Estimate

HEADS = ("Topic", "Claim", "Said by", "Verdict", "Why", "Records")
ON_ALL = "Machine beside machine, both frameworks training in turns:"
VERDICTS: tuple[ClaimVerdict, ...] = get_args(ClaimVerdict)


def value_text(o: Observation) -> str:
    """What an observation's value is, with its interval: 1.23 [1.20, 1.26] times, or by its kind."""
    if o.value is None:
        return units.NOT_MEASURED
    if o.evidence.kind == "same":
        return "the same in all" if o.value == 1 else f"{o.value:.0f} different ones"
    seen = Estimate(n=o.n, mean=o.value, sd=None, interval=o.interval, reason=None)
    if o.evidence.kind in ("equivalent", "failures"):
        return f"{units.estimate(seen, 100)} points"
    if o.evidence.kind == "at-most":
        return quantity_text(o.value, o.unit) if o.interval is None else _scaled(seen, o.unit)
    return f"{units.significant(o.value)} times" if o.interval is None else f"{units.estimate(seen)} times"


def _scaled(seen: Estimate, unit: str) -> str:
    if unit == "bytes":
        return f"{units.estimate(seen, 1 / units.MIB)} MiB"
    return f"{units.estimate(seen)}{'' if unit == '1' else f' {unit}'}"


def quantity_text(value: float | None, unit: str) -> str:
    """A median with its unit: 12.3 s, 7.89 µs, 34,600 samples/s, 610 MiB, 963 nodes."""
    if value is None:
        return units.NOT_MEASURED
    if unit == "bytes":
        mib = value / units.MIB
        return f"{units.significant(mib)} MiB"
    if unit == "s":
        return units.duration(value)
    text = units.significant(value) if "/" in unit else units.exact(value)  # no rate is a count
    return text + ("" if unit in ("1", "") else f" {unit}")


def outcome_text(o: Observation) -> str:
    """The outcome, with what would decide it or why there is none."""
    if o.outcome == "undecided" and o.blocks_to_decide is not None:
        return f"undecided (about {units.count(o.blocks_to_decide, o.repetition)} would decide it)"
    return f"{o.outcome} ({o.reason})" if o.reason and o.outcome in ("undecided", "no figure") else o.outcome


def by_machine(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    """Every claim on each machine, by its fingerprint; of what it did not measure, which machines did.

    The machine that measured the most claims comes first: it answers most.
    """
    of_claim = _of_claims(judged)
    measured: Counter[str] = Counter()
    for one in (one for of in of_claim for one in of):
        if one.machine is not None:
            measured[one.machine.fingerprint] += _is_measured(one)
    if not measured:
        return {"": [one for of in of_claim for one in of]}
    machines = sorted(measured, key=lambda fingerprint: (-measured[fingerprint], fingerprint))
    return {fingerprint: [_on(fingerprint, of) for of in of_claim] for fingerprint in machines}


def measured_nowhere(judged: Iterable[Judged]) -> list[Judged]:
    """Of each claim that no machine has a figure of, its first verdict, with every reason."""
    return [
        replace(of[0], why="; ".join(dict.fromkeys(one.why for one in of)))
        for of in _of_claims(judged)
        if not any(map(_is_measured, of))
    ]


def _of_claims(judged: Iterable[Judged]) -> list[list[Judged]]:
    """The verdicts of each claim, on all machines, in order of the claims."""
    of_claim: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        of_claim[one.claim.name].append(one)
    return list(of_claim.values())


def _is_measured(one: Judged) -> bool:
    return one.verdict != "not measured here"


def _on(fingerprint: str, of: Sequence[Judged]) -> Judged:
    """A claim's verdict on a machine: its own, or that it was not measured there, with the reason. of: on all."""
    for one in of:
        if one.machine is None or one.machine.fingerprint == fingerprint:  # without a machine it is the only one
            return one
    names = [one.machine.name for one in of if one.machine is not None and _is_measured(one)]
    if not names:
        return unmeasured(of[0].claim, f"no machine has a figure of it: {of[0].why}")
    return unmeasured(of[0].claim, f"measured on {' and '.join(names)} alone")


def tally(judged: Sequence[Judged]) -> str:
    """27 claims: 4 supported, 6 refuted, 8 depend on conditions that are named, 5 undecided, 4 not measured here."""
    counted = [(v, sum(one.verdict == v for one in judged)) for v in VERDICTS]
    parts = [
        f"{n} depend{'s' if n == 1 else ''} on conditions that are named" if v == "depends" else f"{n} {v}"
        for v, n in counted
        if n
    ]
    return f"{units.count(len(judged), 'claim')}: {', '.join(parts)}."


def answer_lines(judged: Sequence[Judged]) -> list[str]:
    """The sentences that answer the question, in order."""
    return [one.answer or "" for one in headlines(judged)]


def answer(judged: Sequence[Judged], folder: str, together: Sequence[str] = ()) -> str:
    """The answer for the project's README, machine by machine; folder: where results/ lies from there.

    together: sentences on all machines (bench.publish.machines.answer_lines), which come first.
    """
    lines = [ON_ALL, "", *markdown.bullets(together), ""] if together else []
    for of in by_machine(judged).values():
        machine = next((one.machine for one in of if one.machine is not None), None)
        if machine is None or not answer_lines(of):
            continue
        where = f"{units.processor(machine)}, {units.count(machine.cores, 'core')}"
        lines += [f"On {escape.markdown(where)}:", ""]
        lines += [f"- {escape.markdown(line, 600)}" for line in answer_lines(of)]
        evidence = (
            f"[{folder}/README.md]({folder}/README.md#claims), as a page [{folder}/index.html]({folder}/index.html)"
        )
        lines += ["", f"{tally(of)} Each with its evidence: {evidence}.", ""]
    return "\n".join(lines).strip() or "No claim has been measured yet; `make bench` begins."


def section(judged: Sequence[Judged], folder: Path) -> str:
    """The claims' part of results/README.md; links are relative to the folder."""
    lines = ["## Claims", ""]
    for of in by_machine(judged).values():
        machine = next((one.machine for one in of if one.machine is not None), None)
        if machine is not None:
            lines += [f"### On {escape.markdown(machine.name)}", "", f"{markdown.machine_text(machine)}", ""]
        lines += [*(f"{escape.markdown(line, 600)}" for line in answer_lines(of)), "", tally(of), ""]
        lines += markdown.table(HEADS, [_row(one, folder) for one in of])
        lines.append("")
    lines += [
        "A claim is supported where it holds under the asked share of the conditions, refuted where it fails under as",
        "many, and depends where it holds under some and fails under others. The rules: "
        "[claims.toml](../bench/claims.toml); every observation: [index.html](index.html) or `bench claims --all`.",
    ]
    return "\n".join(lines) + "\n"


def _row(one: Judged, folder: Path) -> list[str]:
    why = one.why + (f" (rule is for versions before: {', '.join(one.expired)})" if one.expired else "")
    return [
        escape.markdown(one.claim.topic),
        escape.markdown(one.claim.sentence),
        escape.markdown(one.claim.said_by),
        one.verdict,
        escape.markdown(why, 2 * escape.MOST_CHARACTERS),
        ", ".join(f"[{n}]({escape.url(path)})" for n, path in enumerate(record_folders(one, folder), 1)),
    ]


def record_folders(one: Judged, folder: Path) -> list[str]:
    """The folders of the runs that a verdict stands on, relative to `folder`."""
    found = {os.path.split(str(path))[0] for o in one.observations for path in o.paths}
    return [os.path.relpath(path, folder) + "/" for path in sorted(found, key=Path)]


def observation_texts(o: Observation) -> tuple[str, ...]:
    """What, of whom and where, both medians, value, n, outcome: the cells of an evidence table, not escaped."""
    return (
        o.evidence.what,
        describe(o),
        "" if o.evidence.kind == "same" else quantity_text(o.a, o.unit),
        quantity_text(o.b, o.unit) if o.against else "",
        value_text(o),
        str(o.n),
        outcome_text(o),
    )


OBSERVATION_HEADS = ("What", "Of", "First", "Second", "How many times better [95%]", "n", "Outcome")
