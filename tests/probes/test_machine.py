"""A machine is described from its files; what it does not tell is null with a reason."""

from pathlib import Path

import pytest

from bench.probes.machine import read_machine

CPU = """processor\t: {n}
model name\t: Example(R) Xeon(TM) CPU 42 @ 2.00GHz
physical id\t: 0
core id\t: {core}
flags\t: fpu {flag}

"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with the files of a machine of two threads on one core."""
    for folder in ("proc", "etc", "sys/devices/system/cpu/cpu0/cpufreq"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text(CPU.format(n=0, core=0, flag="vmx") + CPU.format(n=1, core=0, flag="vmx"))
    (tmp_path / "proc/meminfo").write_text("MemTotal:       16384000 kB\nMemFree: 1 kB\n")
    (tmp_path / "etc/os-release").write_text('NAME="X"\nPRETTY_NAME="Example Linux 1"\n')
    (tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").write_text("powersave\n")
    return tmp_path


def test_a_machine_is_read_from_its_files(tree: Path) -> None:
    """Model, cores, memory, governor, system."""
    found = read_machine(tree)

    assert ("Example(R) Xeon(TM) CPU 42 @ 2.00GHz", 1, 16384000 * 1024, "powersave", "Example Linux 1", None) == (
        found.cpu_model,
        found.physical_cores,
        found.memory_bytes,
        found.governor,
        found.system,
        found.hypervisor,
    )
    assert found.name.startswith("example-xeon-42-")
    assert {"hypervisor", "gpus", "gpu_driver"} >= set(found.reasons)


def test_a_machine_that_tells_nothing_is_null_with_reasons(tmp_path: Path) -> None:
    """A container without /proc and /sys: no figure, a reason each, no crash."""
    found = read_machine(tmp_path)

    assert (None, None, None, None) == (found.cpu_model, found.physical_cores, found.memory_bytes, found.governor)
    assert {"cpu_model", "physical_cores", "memory_bytes", "governor", "hypervisor"} <= set(found.reasons)
    assert all(found.reasons.values())


def test_garbage_in_the_files_is_no_crash(tree: Path) -> None:
    """Binary in cpuinfo, words for numbers."""
    (tree / "proc/cpuinfo").write_bytes(b"\xff\xfe:\x00\n")
    (tree / "proc/meminfo").write_text("MemTotal: lots kB\n")
    found = read_machine(tree)

    assert (None, None) == (found.cpu_model, found.memory_bytes)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("proc/cpuinfo", CPU.format(n=0, core=0, flag="").replace("42", "43")),
        ("proc/meminfo", "MemTotal: 32768000 kB\n"),
    ],
)
def test_another_machine_has_another_fingerprint(tree: Path, file: str, text: str) -> None:
    """CPU model and memory are in it."""
    before = read_machine(tree).fingerprint
    (tree / file).write_text(text)

    assert before != read_machine(tree).fingerprint


def test_the_governor_does_not_make_another_machine(tree: Path) -> None:
    """It is recorded and a finding, not an identity."""
    before = read_machine(tree).fingerprint
    (tree / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").write_text("performance\n")

    assert before == read_machine(tree).fingerprint


def test_the_driver_is_a_number_or_null_with_the_reason() -> None:
    """What decides whether two GPU results were computed by the same code; a record without a card has none."""
    found = read_machine()

    assert (found.gpu_driver is None) == ("gpu_driver" in found.reasons)


def test_this_machine_can_be_read() -> None:
    """No name of host or user is in it."""
    import getpass
    import socket

    found = read_machine().model_dump_json()

    assert socket.gethostname() not in found
    assert f'"{getpass.getuser()}"' not in found
