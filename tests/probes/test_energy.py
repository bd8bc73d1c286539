"""Energy is read from files laid out as the kernel lays them out; what they do not tell has a reason."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.probes import energy

RANGE = 65_532_610_987  # of an AMD EPYC


def zone(root: Path, folder: str, name: str, microjoules: object, most: object = RANGE) -> Path:
    """One zone of the powercap tree."""
    path = root / "sys/class/powercap" / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    (path / "max_energy_range_uj").write_text(f"{most}\n")
    return path


def test_the_packages_are_added(tmp_path: Path) -> None:
    """Two sockets, microjoules to joules."""
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    before = energy.read(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 3_500_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 5_250_000)

    assert 2.75 == energy.joules(before, energy.read(tmp_path))


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "uncore"),
        ("intel-rapl:0:2", "dram"),
        ("intel-rapl:1", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ],
)
def test_what_a_package_holds_is_not_counted_twice(tmp_path: Path, folder: str, name: str) -> None:
    """Nor the platform, which holds the packages, nor the second way to the same counter."""
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    zone(tmp_path, folder, name, 0)
    before = energy.read(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 2_000_000)
    zone(tmp_path, folder, name, 1_000_000)

    assert 2.0 == energy.joules(before, energy.read(tmp_path))


def test_a_counter_that_passed_its_end_is_carried_over(tmp_path: Path) -> None:
    """It begins anew at 0: what was left of the range, and what came after."""
    zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    before = energy.read(tmp_path)
    zone(tmp_path, "intel-rapl:0", "package-0", 500_000)

    assert 1.5 == energy.joules(before, energy.read(tmp_path))


def test_a_package_that_vanishes_is_no_smaller_sum(tmp_path: Path) -> None:
    """Between two readings, in either direction."""
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    before = energy.read(tmp_path)
    shutil.rmtree(second)
    after = energy.read(tmp_path)

    for one, other in ((before, after), (after, before)):
        with pytest.raises(energy.Unreadable, match="package-1 is in one of the two readings alone"):
            energy.joules(one, other)


def test_a_machine_without_rapl_has_a_reason(tmp_path: Path) -> None:
    """No folder, and a folder with no package in it."""
    with pytest.raises(energy.Unreadable, match="holds no package: no RAPL here"):
        energy.read(tmp_path)
    zone(tmp_path, "intel-rapl:0", "psys", 0)
    with pytest.raises(energy.Unreadable, match="holds no package: no RAPL here"):
        energy.read(tmp_path)


@pytest.mark.parametrize("text", ["", "many", "-1", "1.5", "9" * 5000, "²"])
@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj"])
def test_garbage_has_a_reason(tmp_path: Path, file: str, text: str) -> None:
    """The file is named; never 0 for unknown."""
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (folder / file).write_text(text)

    with pytest.raises(energy.Unreadable, match=f"{file} holds .* which is no count of microjoules"):
        energy.read(tmp_path)


@pytest.mark.parametrize("file", ["name", "energy_uj", "max_energy_range_uj"])
def test_a_file_that_cannot_be_read_has_a_reason(tmp_path: Path, file: str) -> None:
    """A folder in its place: no user can read that, root neither. Or the file is gone."""
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    (folder / file).unlink()
    with pytest.raises(energy.Unreadable, match=rf"{file} cannot be read \(No such file"):
        energy.read(tmp_path)
    (folder / file).mkdir()
    with pytest.raises(energy.Unreadable, match=rf"{file} cannot be read \(Is a directory"):
        energy.read(tmp_path)


def test_a_counter_for_root_alone_says_how_to_open_it() -> None:
    """As the kernel ships it. Root may read any file, so root becomes another user for a moment."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        root = Path(name)
        root.chmod(0o755)
        (zone(root, "intel-rapl:0", "package-0", 0) / "energy_uj").chmod(0)
        with another_user(), pytest.raises(energy.Unreadable, match="may be read by root alone; sudo chmod"):
            energy.read(root)


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Not root, whoever runs the tests."""
    was = os.geteuid()
    os.seteuid(was or 65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_this_machine_tells_or_says_why_not() -> None:
    """The real tree: a figure that does not shrink, or a reason."""
    try:
        before = energy.read()
    except energy.Unreadable as reason:
        pytest.skip(str(reason))

    assert 0 <= energy.joules(before, energy.read())
