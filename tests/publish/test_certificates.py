"""Certificates and kill tables as people read them."""

from pathlib import Path

from bench.publish import certificates
from bench.record import Case, Certificate, Kill, Suite
from bench.task import load_task
from tests.make import make_certificate, make_machine, make_task, make_trial


def test_a_certificate_that_holds_is_three_lines() -> None:
    """Verdict, and a line a part with the largest deviation of each figure and its share of what is tolerated."""
    text = certificates.text(make_certificate())

    assert [
        "torch-eager on mlp: same work",
        "  part float64: float64, 2 steps; largest deviations: loss 5.0e-08 (83% of what is tolerated), "
        "parameter 1.0e-15 (0% of what is tolerated)",
        "  reads on the host inside a step: none",
    ] == text.splitlines()


def test_a_certificate_that_fails_names_every_figure() -> None:
    """Below its part, a line each; hostile text cannot break a line."""
    faults = ["loss at step 1: deviates by 1.0e-02, tolerated 6.0e-08", "logits:\n\x1b[31m is not finite"]
    text = certificates.text(make_certificate(faults=faults, host_reads=["item() in a.py:3"]))

    assert "torch-eager on mlp: refused: not the same work" in text
    assert "    loss at step 1: deviates by 1.0e-02, tolerated 6.0e-08\n" in text
    assert "    logits: [31m is not finite\n" in text
    assert text.endswith("inside a step: item() in a.py:3")


def suite(framework: str, *, survived: tuple[str, ...] = ()) -> Suite:
    trial = make_trial()
    kills = [
        Kill(
            name=name,
            fault=f"what {name} is",
            task="sgd, relu",
            meant="part float64, parameter",
            caught=name not in survived,
            faults=[] if name in survived else ["part float64: parameter weight 0 at step 0: deviates"],
        )
        for name in ("nesterov", "sum|mean")
    ]
    return Suite(
        framework=framework,
        entry=f"{framework}-eager",
        kills=kills,
        versions=trial.versions,
        machine=make_machine(),
        source=trial.source,
        limits=make_certificate().limits,
        created_utc="2026-01-02T03:04:05+00:00",
        worker_seconds=1.0,
    )


def test_the_kill_table_sets_the_frameworks_side_by_side() -> None:
    """A row a fault, a column a framework; what survived is in capitals; cells are escaped; raw files are linked."""
    suites = [
        (Path("results/raw/2026-01-02/box/mutations-tensorflow-030405.json"), suite("tensorflow")),
        (Path("results/raw/2026-01-02/box/mutations-torch-030405.json"), suite("torch", survived=("nesterov",))),
    ]
    table = certificates.kill_table(suites, Path("results"))

    assert "- tensorflow: 2 of 2 (" in table
    assert "- torch: 1 of 2 (" in table
    assert "[raw](raw/2026-01-02/box/mutations-torch-030405.json)" in table
    assert "| nesterov | what nesterov is | part float64, parameter | refused | SURVIVED |" in table
    assert "| sum\\|mean |" in table


def test_the_matrix_shows_every_entry_on_every_task() -> None:
    """The deviation with a link to its file; a refusal with its reason below, each reason once."""
    good = make_certificate()
    refused = make_certificate(faults=["loss"]).model_copy(
        update={"case": good.case.model_copy(update={"entry": "sklearn"}), "reason": "has no Adam | it says"}
    )
    other = refused.model_copy(update={"case": refused.case.model_copy(update={"entry": "zeta"})})
    on_two_threads = good.model_copy(update={"case": good.case.model_copy(update={"threads": 2, "entry": "hidden"})})
    one_thread = [
        (Path(f"results/raw/d/m/r/certificate_{n}.json"), c.model_copy(update={"case": case_of_one(c)}))
        for n, c in enumerate((good, refused, other))
    ]
    table = certificates.matrix([*one_thread, (Path("results/raw/x.json"), on_two_threads)], Path("results"))

    assert "| torch-eager | [✓ 1e-15](raw/d/m/r/certificate_0.json) |" in table
    assert "| sklearn | [refused (1)](raw/d/m/r/certificate_1.json) |" in table
    assert "| zeta | [refused (1)](raw/d/m/r/certificate_2.json) |" in table
    assert "1. has no Adam \\| it says" in table
    assert "hidden" not in table


def test_variants_of_a_task_have_columns_that_tell_them_apart() -> None:
    """The task as it ships first, by its name alone; of two machines' certificates of a case the newest is shown."""
    shipped, small = load_task("mlp"), make_task(batch_size=32, epochs=3)
    other = make_task(name="of-a-user", batch_size=8)
    made = [
        make_certificate().model_copy(
            update={
                "task": task,
                "case": case_of_one(make_certificate()).model_copy(
                    update={"task": task.name, "fingerprint": task.fingerprint}
                ),
                "started_utc": f"2026-01-0{day}T00:00:00+00:00",
            }
        )
        for task, day in ((small, 1), (other, 1), (shipped, 3), (shipped, 2))
    ]
    table = certificates.matrix([(Path(f"c{n}.json"), c) for n, c in enumerate(made)], Path())

    assert "| Entry | mlp | mlp (batch 32, 3 epochs) | of-a-user |" in table
    assert "(c2.json)" in table
    assert "(c3.json)" not in table


def case_of_one(certificate: Certificate) -> Case:
    return certificate.case.model_copy(update={"threads": 1})
