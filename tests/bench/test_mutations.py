"""Every deliberate fault is refused by the part and the figure that are meant to catch it, in both frameworks."""

import json
from pathlib import Path

import pytest

from bench.mutations import MUTATED, MUTATIONS
from bench.record import Suite
from tests.command import bench


@pytest.fixture(scope="module", params=sorted(MUTATED))
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """The kill table, as `bench certify --mutations` makes and keeps it."""
    results = tmp_path_factory.mktemp("results")
    done = bench("certify", request.param, "--mutations", "--results", results, "--json")
    assert 0 == done.returncode, done.stdout + done.stderr
    [kept] = results.glob("raw/*/*/mutations-*.json")
    assert json.loads(kept.read_text()) == json.loads(done.stdout)[0]
    return Suite.model_validate_json(kept.read_text())


def test_the_list_names_each_fault_once() -> None:
    """At least 24, as promised."""
    names = [mutation.name for mutation in MUTATIONS]

    assert len(names) == len(set(names)) >= 24


@pytest.mark.slow
def test_every_fault_is_caught_by_what_is_meant_to_catch_it(suite: Suite) -> None:
    """No fault survives, and none is found by luck."""
    assert [mutation.name for mutation in MUTATIONS] == [kill.name for kill in suite.kills]
    assert [] == [(kill.name, kill.meant, kill.faults[:2]) for kill in suite.kills if not kill.caught]


def test_a_fault_that_is_none_survives(tmp_path: Path) -> None:
    """The kill table can fail: an honest entry among the mutants is not called refused."""
    from bench.mutations import _kill
    from impls.numpy.mlp import build

    kill = _kill(MUTATIONS[0], build)

    assert (False, []) == (kill.caught, kill.faults)


def test_mutants_of_a_framework_that_has_none_are_refused(tmp_path: Path) -> None:
    """One line, exit 2."""
    done = bench("certify", "jax", "--mutations", "--results", tmp_path)

    assert (2, 1) == (done.returncode, len(done.stderr.splitlines()))
    assert "no mutants of 'jax'; take torch, tensorflow" in done.stderr
