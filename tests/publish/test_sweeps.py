"""bench/publish/sweeps.py: which trials are a sweep, what is shown of it, and which tables it takes the place of."""

import json
from pathlib import Path

from bench import publish
from bench.flops import flops_per_sample
from bench.publish import sweeps, tables
from bench.publish.details import Detail
from bench.publish.tables import Record
from bench.record import Communication
from tests.make import make_record, make_task, make_trial

SIZES = (32, 64, 128, 256, 512)


def record(trial_of: dict[str, object], entry: str = "numpy", block: int = 0) -> Record:
    """A record with a path of its own."""
    path, trial = make_record(make_trial(entry, block, **trial_of))  # type: ignore[arg-type]
    case = trial.case
    return path.with_name(f"{path.stem}_{case.task}_b{case.batch_size}_p{case.processes}.json"), trial


def over_batch_size(entry: str, overhead: float, work: float, *, blocks: int = 3, **changes: object) -> list[Record]:
    """Every size in every block, on a line, each block a little slower."""
    found = []
    for block in range(blocks):
        for size in SIZES:
            task = make_task(batch_size=size)
            step = (overhead + work * size) * (1 + 0.002 * block)
            seconds = step * (task.steps_per_epoch - 1)
            found.append(record({"task": task, "seconds": seconds} | changes, entry, block))
    return found


def over_width(entry: str, overhead: float, rate: float) -> list[Record]:
    """Three widths, time linear in the operations."""
    found = []
    for block in range(3):
        for width in (64, 128, 256):
            task = make_task(name=f"mlp-w{width}", layers=(784, width, width, 10))
            step = overhead + flops_per_sample(task) * task.batch_size / rate * (1 + 0.002 * block)
            found.append(record({"task": task, "seconds": step * (task.steps_per_epoch - 1)}, entry, block))
    return found


def over_threads(*numbers: int) -> list[Record]:
    """Perfect scaling."""
    return [
        record({"threads": n, "seconds": 2.0 / n, "run": "threads"}, "numpy", block)
        for block in range(2)
        for n in numbers
    ]


def over_processes(
    efficiencies: dict[int, float],
    *,
    weak: bool = False,
    share: float = 0.25,
    entry: str = "torch-ddp",
) -> list[Record]:
    """Numbers of processes with these efficiencies in three blocks that differ in speed, which is in no pair."""
    found = []
    for block in range(3):
        for n, efficiency in efficiencies.items():
            task = make_task(batch_size=64 * n if weak else 64)
            rate = 1e5 * n * efficiency * (1 + 0.1 * block)
            steps = task.steps_per_epoch - 1
            seconds = steps * task.batch_size / rate
            path, trial = record({"task": task, "seconds": seconds, "threads": 1, "processes": n}, entry, block)
            assert trial.measurements is not None
            if n > 1:
                seen = Communication(steps=100, exchanging_seconds=[1.0], local_seconds=[1 - share])
                measured = trial.measurements.model_copy(update={"communication": seen})
                trial = trial.model_copy(update={"measurements": measured})
            found.append((path, trial))
    return found


def titled(found: list[Detail], beginning: str) -> Detail:
    """The one detail whose title begins so."""
    [one] = [detail for detail in found if detail.title.startswith(beginning)]
    return one


def crossing() -> list[Record]:
    """Two entries that cross at a batch of 100."""
    return over_batch_size("torch-eager", 2e-4, 3e-6) + over_batch_size("numpy", 1e-4, 4e-6)


def test_batch_sizes_of_one_run_are_a_sweep_with_lines_and_a_crossover() -> None:
    """The figures are those that were planted."""
    [sweep] = sweeps.find(crossing())
    shown = sweeps.details(sweep)

    assert ("batch-size", "mlp", SIZES, 3) == (sweep.kind, sweep.base, sweep.points, sweep.blocks)
    assert ["torch-eager", "numpy"] == [one.case.entry for one in sweep.entries]
    assert [("torch-eager", "numpy")] == [row[:2] for row in titled(shown, "Crossovers").rows]
    assert "numpy below 100" in titled(shown, "Crossovers").rows[0][2]
    assert "torch-eager above" in titled(shown, "Crossovers").rows[0][2]
    assert titled(shown, "Time of a step = overhead + work × batch size").rows[0][1].startswith("200")
    assert titled(shown, "What makes the gap to torch-eager at batch 64").rows[0][0] == "numpy"


def test_two_sizes_are_no_sweep() -> None:
    """They would always lie on a line."""
    records = [r for r in crossing() if r[1].case.batch_size in (32, 64)]

    assert sweeps.find(records) == []


def test_sizes_of_two_runs_or_of_two_tasks_are_no_sweep() -> None:
    """What else differs would pass for the size's doing."""
    runs = [record({"task": make_task(batch_size=size), "run": f"run-{size}"}) for size in SIZES]
    tasks = [record({"task": make_task(batch_size=size, epochs=2 + n)}) for n, size in enumerate(SIZES)]

    assert [] == sweeps.find(runs) == sweeps.find(tasks)


def test_widths_are_told_by_the_tasks_name_and_fitted_over_operations() -> None:
    """The crossover is told as a width; a sweep over width has no attribution."""
    [sweep] = sweeps.find(over_width("torch-eager", 3e-4, 1e11) + over_width("numpy", 1e-4, 5e10))
    shown = sweeps.details(sweep)

    assert ("width", "mlp", (64, 128, 256)) == (sweep.kind, sweep.base, sweep.points)
    assert titled(shown, "Time of a step = overhead + work × operations").rows[0][2].startswith("10.0")
    assert "numpy below width" in titled(shown, "Crossovers").rows[0][2]
    assert not any(detail.title.startswith("What makes") for detail in shown)


def test_other_hidden_layers_under_a_name_without_a_width_are_no_sweep() -> None:
    """The rule is the name and the number of layers."""
    records = [record({"task": make_task(layers=(784, width, width, 10))}) for width in (64, 128, 256)]

    assert sweeps.find(records) == []


def test_numbers_of_threads_have_efficiencies() -> None:
    """Perfect scaling is 100%."""
    [sweep] = sweeps.find(over_threads(1, 2, 4))
    [shown] = sweeps.details(sweep)

    assert ("Entry", "1 thread", "2 threads", "4 threads") == shown.heads
    assert "; 100 % [100, 100]" in shown.rows[0][2]


def test_processes_that_share_a_batch_have_strong_scaling() -> None:
    """The planted efficiencies and share of communication, beside the speed of one process."""
    [sweep] = sweeps.find(over_processes({1: 1.0, 2: 0.8, 4: 0.5}))
    [shown] = sweeps.details(sweep)

    assert ("strong-scaling", (1, 2, 4), 1) == (sweep.kind, sweep.points, sweep.threads)
    assert "mlp over processes, cpu, 1 thread each, batch 64 (strong scaling)" == sweeps.title(sweep)
    assert ("1 process", "2 processes", "4 processes") == shown.heads[1:4]
    assert ("In communication, 2 processes", "In communication, 4 processes") == shown.heads[4:]
    assert ["; 80 % [80, 80]", "; 50 % [50, 50]"] == [cell[cell.index(";") :] for cell in shown.rows[0][2:4]]
    assert ("25 % [25, 25]", "25 % [25, 25]") == shown.rows[0][4:]
    assert () == shown.remarks


def test_processes_whose_batch_grows_with_them_have_weak_scaling() -> None:
    """As many rows each; by samples a second, so that twice the samples in the same time are 100%."""
    [sweep] = sweeps.find(over_processes({1: 1.0, 2: 0.9}, weak=True, share=0.1))
    [shown] = sweeps.details(sweep)

    assert ("weak-scaling", (1, 2)) == (sweep.kind, sweep.points)
    assert sweeps.title(sweep).endswith("1 thread each, batch 64 a process (weak scaling)")
    assert "; 90 % [90, 90]" in shown.rows[0][2]
    assert "10 % [10, 10]" == shown.rows[0][3]


def test_an_efficiency_of_processes_can_come_out_wrong() -> None:
    """Two processes as slow as one are at 50%, and slower ones below."""
    [sweep] = sweeps.find(over_processes({1: 1.0, 2: 0.5}) + over_processes({1: 1.0, 2: 0.3}, entry="numpy"))
    [shown] = sweeps.details(sweep)

    assert ["; 30 % [30, 30]", "; 50 % [50, 50]"] == [row[2][row[2].index(";") :] for row in shown.rows]


def test_both_kinds_of_scaling_of_one_run_are_shown_apart() -> None:
    """Two processes at batch 128 are the weak scaling of one at 64."""
    records = over_processes({1: 1.0, 2: 0.8}) + over_processes({2: 0.9}, weak=True)

    assert ["strong-scaling", "weak-scaling"] == [sweep.kind for sweep in sweeps.find(records)]


def test_an_entry_that_trains_in_one_process_alone_is_not_in_the_table_of_processes() -> None:
    """It says nothing of scaling; one that failed in two is named."""
    records = over_processes({1: 1.0, 2: 0.8}) + over_processes({1: 1.0}, entry="torch-eager")
    failed = record(
        {"status": "crashed", "reason": "rank 1: killed by SIGKILL", "processes": 2, "threads": 1}, "numpy", 0
    )
    alone = over_processes({1: 1.0}, entry="numpy")
    [sweep] = sweeps.find([*records, failed, *alone])

    assert {"torch-ddp", "numpy"} == {one.case.entry for one in sweep.entries}
    assert ["rank 1: killed by SIGKILL"] == [failure.reason for failure in sweep.failures]


def test_processes_that_share_cores_are_named() -> None:
    """Two on one core reach half of what two cores would, and the table says why."""
    records = [
        (path, trial.model_copy(update={"conditions": trial.conditions.model_copy(update=shared)}))
        for path, trial in over_processes({1: 1.0, 2: 0.5})
        for shared in [{"cores": [1], "cores_shared": trial.case.processes > 1}]
    ]
    [sweep] = sweeps.find(records)
    [shown] = sweeps.details(sweep)

    assert ["2 processes of 1 thread had 1 core between them and took turns"] == [
        remark.partition(":")[0] for remark in shown.remarks
    ]


def test_a_table_of_several_processes_says_so() -> None:
    """It is another table than that of one, and keeps its place beside the sweep: memory and accuracy stand there."""
    records = over_processes({1: 1.0, 2: 0.8})
    found, made = sweeps.find(records), tables.sections(records)

    assert [(1, False), (2, False)] == [(section.processes, sweeps.folded(section, found)) for section in made]


def test_a_sweep_shows_the_run_with_the_most_blocks_and_others_for_entries_of_their_own() -> None:
    """Decision 0004, for sweeps: a short run does not displace a long one, and hides no entry that it alone has."""
    records = crossing()
    records += over_batch_size("torch-eager", 9e-4, 3e-6, blocks=2, run="short", started_utc="2026-05-05T00:00:00Z")
    alone = over_batch_size("sklearn", 9e-4, 3e-6, blocks=1, run="alone")

    assert ["run-0"] == [sweep.run for sweep in sweeps.find(records)]
    assert ["run-0", "alone"] == [sweep.run for sweep in sweeps.find(records + alone)]


def test_the_points_of_a_sweep_have_no_tables_of_their_own_but_the_tasks_own_size() -> None:
    """One compact table in place of one long table a size."""
    records = crossing()
    found, made = sweeps.find(records), tables.sections(records)

    actual = {section.task.batch_size: sweeps.folded(section, found) for section in made}

    assert {32: True, 64: False, 128: True, 256: True, 512: True} == actual


def test_a_size_that_another_run_shows_keeps_its_table() -> None:
    """What no sweep shows is never hidden."""
    records = crossing()
    records += [record({"task": make_task(batch_size=128), "run": "long"}, "numpy", block) for block in range(5)]
    found, made = sweeps.find(records), tables.sections(records)

    actual = {section.task.batch_size: sweeps.folded(section, found) for section in made}

    assert actual[128] is False
    assert actual[256] is True


def test_many_numbers_of_threads_keep_the_first_and_that_of_all_cores() -> None:
    """The machine of these trials has two."""
    records = over_threads(1, 2, 3, 4)
    few = over_threads(1, 4)

    def kept(shown: list[Record]) -> list[int]:
        found = sweeps.find(shown)
        return [s.threads for s in tables.sections(shown) if not sweeps.folded(s, found)]

    assert ([1, 2], [1, 4]) == (kept(records), kept(few))


def test_failures_inside_a_sweep_stay_in_sight() -> None:
    """Their size stands with them, as no table of their own does."""
    bad = record({"task": make_task(batch_size=256), "status": "out-of-memory", "reason": "limit of 1 MiB"}, "sklearn")

    text = publish.files([*crossing(), bad], Path("results"))[Path("results/README.md")]

    assert "sklearn (cpu), mlp, batch 256, 2 threads, out-of-memory in block 0: limit of 1 MiB" in text


def test_alike_entries_are_not_told_apart_in_words() -> None:
    """And pairs whose order is the same everywhere stand in a line for each entry."""
    alike = over_batch_size("torch-eager", 2e-4, 3e-6) + over_batch_size("sklearn", 2e-4, 3e-6)
    [sweep] = sweeps.find(alike + over_batch_size("numpy", 1e-4, 1e-6))
    shown = titled(sweeps.details(sweep), "Crossovers")

    assert [("torch-eager", "sklearn", "not told apart")] == list(shown.rows)
    assert ("numpy is faster at every size measured than torch-eager, sklearn",) == shown.remarks


def test_a_curve_that_is_no_line_says_so() -> None:
    """Held-out sizes beyond 10% are marked."""
    bent = [
        record({"task": task, "seconds": 1e-8 * size**2 * (task.steps_per_epoch - 1)}, "numpy", block)
        for block in range(2)
        for size in SIZES
        for task in [make_task(batch_size=size)]
    ]
    [sweep] = sweeps.find(bent)

    assert titled(sweeps.details(sweep), "Time of a step =").rows[0][3].endswith("beyond 10%")


def test_an_entry_that_lacks_a_size_everywhere_has_a_line_of_its_own_sizes() -> None:
    """And no crossover with those that have it."""
    records = [r for r in crossing() if (r[1].case.entry, r[1].case.batch_size) != ("numpy", 512)]
    [sweep] = sweeps.find(records)
    shown = sweeps.details(sweep)

    assert [detail.title for detail in shown if detail.title == "Crossovers"] == []
    assert titled(shown, "Time of a step, µs").rows[1][-1] == "not measured"


def test_the_json_holds_each_sweep_with_every_pair_and_size() -> None:
    """Valid JSON without NaN."""
    document = json.loads(tables.to_json(crossing()))

    [sweep] = document["sweeps"]

    assert ("batch-size", list(SIZES)) == (sweep["kind"], sweep["points"])
    assert len(sweep["attributions"]) == len(SIZES)
    assert sweep["crossovers"][0]["verdict"] == "crossover"
    assert sweep["fits"][0]["entry"] == "torch-eager"


def test_order_of_records_is_irrelevant() -> None:
    """The same records in any order give the same bytes."""
    records = crossing() + over_threads(1, 2) + over_width("numpy", 1e-4, 5e10)

    assert tables.to_json(records) == tables.to_json(records[::-1])
    assert publish.files(records, Path("results")) == publish.files(records[::-1], Path("results"))
