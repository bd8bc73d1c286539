"""bench/selection.py: what is chosen, what meets what, and which differences are refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import store
from bench.errors import InputError
from bench.record import Trial
from bench.selection import Pair, match, select
from tests.make import make_machine, make_task, make_trial


def make_run(entry: str = "torch-eager", *, blocks: int = 3, **changes: object) -> list[Trial]:
    """A run of one entry; its trials carry no certificate's file, so that they can be read from anywhere."""
    return [make_trial(entry, block, **changes) for block in range(blocks)]  # type: ignore[arg-type]


def changed(trials: Sequence[Trial], **changes: object) -> list[Trial]:
    """The trials with other versions or another source."""
    return [trial.model_copy(update=changes) for trial in trials]


def only(a: Sequence[Trial], b: Sequence[Trial], *across: str) -> Pair:
    """The one pair of a match."""
    [pair] = match(a, b, across).pairs
    return pair


def keep(trials: Sequence[Trial], results: Path) -> Path:
    """Write trials as a run does, without certificates; returns the folder of the run."""
    place = trials[0].placement
    folder = results / "raw" / "2026-01-02" / "testbox" / place.run
    for trial in trials:
        store.write_trial(folder, trial.model_copy(update={"certificate": None}))
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: one of torch-eager and numpy, one of torch-eager alone on two threads and on one."""
    folder = tmp_path_factory.mktemp("results")
    keep([*make_run(run="first", blocks=2), *make_run("numpy", run="first", blocks=2)], folder)
    keep([*make_run(run="second", blocks=1), *make_run(run="second", blocks=1, threads=1)], folder)
    return folder


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("", 6),
        ("@run=first", 4),
        ("@run=first,entry=numpy", 2),
        ("@threads=1", 1),
        ("@block=0", 4),
        ("@commit=0123456", 6),
        ("@task=mlp,device=cpu,precision=ieee,environment=,profile=quick,machine=testbox", 6),
        ("@framework=numpy,mode=eager,tier=as-written,batch=64", 2),
    ],
)
def test_every_condition_must_hold(results: Path, conditions: str, expected: int) -> None:
    """Conditions stand after the last @, separated by commas."""
    assert expected == len(select(f"{results}{conditions}"))


def test_the_folder_of_a_run_is_a_side(results: Path) -> None:
    """Without the plan too, as it may have been copied alone."""
    assert 4 == len(select(str(results / "raw" / "2026-01-02" / "testbox" / "first")))


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    """A path that is there is never cut."""
    keep(make_run(), tmp_path / "a@b")

    assert 3 == len(select(str(tmp_path / "a@b")))


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ("@run=third", "run=third matches none of 6 trials"),
        ("@entry=numpy,threads=1", "no trial meets all conditions"),
        ("@entry", "'entry' is no condition; write KEY=VALUE"),
        ("@entry=numpy,", "'' is no condition"),
        ("@engine=numpy", "no key 'engine'; take one of batch, block"),
        ("/absent", "is no folder"),
        ("/raw", "holds no results"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(results: Path, conditions: str, message: str) -> None:
    """Each with what was wrong in it."""
    with pytest.raises(InputError, match=message):
        select(f"{results}{conditions}")


def test_a_record_whose_certificate_is_gone_is_refused(tmp_path: Path) -> None:
    """A run's folder is held to the same proof as a results folder."""
    folder = keep(make_run(), tmp_path)
    (folder / "block-000_mlp_torch-eager_cpu_t2_b64.json").write_text(make_trial().to_json())

    with pytest.raises(InputError, match="certificate_mlp_torch-eager"):
        select(str(folder))


def test_the_blocks_of_one_run_are_paired() -> None:
    """Two entries of a run took turns."""
    assert only(make_run(), make_run("numpy")).paired


def test_two_runs_are_not_paired() -> None:
    """Blocks with the same number of different runs have nothing in common."""
    assert not only(make_run(run="one"), make_run(run="two")).paired


def test_one_entry_meets_each_of_the_others() -> None:
    """And not itself."""
    everything = [*make_run(), *make_run("numpy"), *make_run("tensorflow-function")]

    pairs = match(make_run(), everything).pairs

    assert [("torch-eager", "numpy"), ("torch-eager", "tensorflow-function")] == [
        (pair.a[0].case.entry, pair.b[0].case.entry) for pair in pairs
    ]


def test_cases_of_two_runs_meet_by_their_entry_and_the_others_are_named() -> None:
    """What only one side has is a note, not a silence."""
    a = [*make_run(run="one"), *make_run("numpy", run="one"), *make_run("jax-jit", run="one")]
    b = [*make_run(run="two"), *make_run("numpy", run="two"), *make_run("sklearn", run="two")]

    found = match(a, b)

    assert ["numpy", "torch-eager"] == [pair.b[0].case.entry for pair in found.pairs]
    assert [
        "only in A: mlp jax-jit (cpu, 2 threads, testbox)",
        "only in B: mlp sklearn (cpu, 2 threads, testbox)",
    ] == list(found.notes)


def test_one_run_stands_for_a_side() -> None:
    """The one with most blocks, then the newest; the others are named (decision 0004)."""
    a = [*make_run(run="short", blocks=1), *make_run(run="long", blocks=3)]

    found = match(a, make_run(run="other"))

    assert {"long"} == {trial.placement.run for trial in found.pairs[0].a}
    assert "A: 2 runs hold mlp torch-eager (cpu, 2 threads, testbox); shown is long (select with run=)" in found.notes


def test_a_run_that_both_sides_share_is_preferred() -> None:
    """A longer run of one side alone could not be paired."""
    a = [*make_run(run="long", blocks=5), *make_run(run="shared", blocks=2)]

    pair = only(a, make_run("numpy", run="shared", blocks=2))

    assert (True, {"shared"}) == (pair.paired, {trial.placement.run for trial in pair.a})


OTHER = make_machine(fingerprint="machine-1", name="otherbox")
UNLIKE = {
    "machines": make_run(run="two", machine=OTHER),
    "threads": make_run(run="two", threads=1),
    "processes": make_run(run="two", processes=2),
    "precision": make_run(run="two", precision="tf32"),
    "environments": make_run(run="two", environment="torch-2.12"),
    "versions": make_run(run="two", packages={"torch": "2.12.0"}),
    "harness": changed(make_run(run="two"), source=make_trial().source.model_copy(update={"sha256": "c" * 64})),
}


@pytest.mark.parametrize("subject", UNLIKE)
def test_a_difference_is_refused_unless_it_is_the_subject(subject: str) -> None:
    """Either way round; the refusal names the flag."""
    a, b = make_run(run="one"), UNLIKE[subject]

    for sides in ((a, b), (b, a)):
        with pytest.raises(InputError, match=f"refused; name the subject with --across {subject}"):
            match(*sides)

        assert 1 == len(match(*sides, [subject]).pairs)


@pytest.mark.parametrize("subject", UNLIKE)
def test_naming_one_subject_allows_no_other_difference(subject: str) -> None:
    """Machines with other versions on them need both."""
    allowed = {subject, "environments"} if subject == "versions" else {subject}
    for other in UNLIKE.keys() - allowed:
        with pytest.raises(InputError, match="refused"):
            match(make_run(run="one"), UNLIKE[subject], [other])


def test_another_version_of_evenhand_is_another_harness() -> None:
    """Even where the code is the same."""
    versions = make_trial().versions
    assert versions is not None
    b = changed(make_run(run="two"), versions=versions.model_copy(update={"evenhand": "0.0.9"}))

    with pytest.raises(InputError, match=r"evenhand is 0\.1\.0 in A, 0\.0\.9 in B: .* --across harness"):
        match(make_run(run="one"), b)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_run(run="two", task=make_task(batch_size=32)), "comparisons across tasks are refused; compare within"),
        (make_run(run="two", device="cuda"), "comparisons across devices are refused; compare within"),
    ],
    ids=["tasks", "devices"],
)
def test_tasks_and_devices_are_never_a_subject(other: list[Trial], message: str) -> None:
    """No flag lifts it."""
    for across in ([], ["machines", "threads", "processes", "precision", "versions", "harness", "environments"]):
        with pytest.raises(InputError, match=message):
            match(make_run(run="one"), other, across)


def test_versions_of_other_frameworks_are_no_difference() -> None:
    """torch has a version that TensorFlow lacks; what both have must be the same."""
    b = make_run("tensorflow-function", run="two", packages={"tensorflow": "2.21.0"})

    versions = b[0].versions
    assert versions is not None
    newer = changed(b, versions=versions.model_copy(update={"python": "3.12.0"}))

    assert 1 == len(match(make_run(run="one"), b).pairs)
    with pytest.raises(InputError, match=r"python 3\.11\.2 and 3\.12\.0"):
        match(make_run(run="one"), newer)


@pytest.mark.parametrize(
    ("a", "b", "across", "message"),
    [
        (make_run(), make_run(), [], "A and B are the same trials"),
        (make_run(), make_run(run="two"), ["colour"], "--across 'colour': no such subject"),
        (
            [*make_run(run="one"), *make_run(run="one", threads=1)],
            make_run(run="two"),
            ["threads"],
            r"A holds torch-eager with several threads \(1, 2\); select one with threads=VALUE",
        ),
        (
            [*make_run(), *make_run("numpy")],
            [*make_run("sklearn"), *make_run("jax-jit")],
            [],
            "A holds the entries numpy, torch-eager, B jax-jit, sklearn: none is in both",
        ),
        (
            [*make_run(run="one"), *make_run(run="two", blocks=2)],
            make_run(run="one"),
            [],
            "run one is on both sides",
        ),
    ],
    ids=["same", "no such subject", "open which threads", "no entry in common", "all against its best run"],
)
def test_a_request_that_leaves_things_open_is_refused(
    a: list[Trial], b: list[Trial], across: list[str], message: str
) -> None:
    """With what would settle it."""
    with pytest.raises(InputError, match=message):
        match(a, b, across)
