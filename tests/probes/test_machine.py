"""A machine is described from its files; what it does not tell is null with a reason."""

from pathlib import Path

import pytest

from bench import store
from bench.probes.machine import fingerprint_of, read_machine
from tests.command import ROOT

CPU = """processor\t: {n}
vendor_id\t: ExampleMaker
cpu family\t: 25
model\t\t: {model}
stepping\t: 1
model name\t: Example(R) Xeon(TM) CPU 42 @ 2.00GHz
physical id\t: 0
core id\t: {core}
flags\t: fpu sse4_2 avx avx2 {flag}

"""


def cpus(model: int = 1, flag: str = "vmx") -> str:
    """Two threads on one core."""
    return "".join(CPU.format(n=n, core=0, model=model, flag=flag) for n in range(2))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with the files of a machine of two threads on one core."""
    for folder in ("proc", "etc", "sys/devices/system/cpu/cpu0/cpufreq"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/cpuinfo").write_text(cpus())
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
    assert (None, None) == (found.cpu_type, found.vector_extensions)
    assert {"cpu_type", "vector_extensions"} <= set(found.reasons)
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
        ("proc/cpuinfo", cpus().replace("42", "43")),
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


def test_processors_of_one_name_are_told_apart(tree: Path) -> None:
    """A hypervisor may call all of them AMD EPYC: family, model and vector extensions decide, not the name."""
    first = read_machine(tree)
    (tree / "proc/cpuinfo").write_text(cpus(model=17))
    other_model = read_machine(tree)
    (tree / "proc/cpuinfo").write_text(cpus(flag="avx512f"))
    other_flags = read_machine(tree)
    (tree / "proc/cpuinfo").write_text(cpus())

    assert 3 == len({one.fingerprint for one in (first, other_model, other_flags)})
    assert 1 == len({one.cpu_model for one in (first, other_model, other_flags)})
    assert "ExampleMaker 25/17/1" == other_model.cpu_type
    assert ["sse4_2", "avx", "avx2", "avx512f"] == other_flags.vector_extensions
    assert read_machine(tree).fingerprint == first.fingerprint


def test_a_processor_of_arm_is_told_by_its_part(tree: Path) -> None:
    """Which has no name, family or flags, but a part and features."""
    words = ("CPU implementer\t: 0x41", "CPU architecture: 8", "CPU variant\t: 0x3", "CPU part\t: 0xd0c")
    (tree / "proc/cpuinfo").write_text("\n".join((*words, "CPU revision\t: 1", "Features\t: fp asimd sve")))
    found = read_machine(tree)

    assert "0x41 8/0x3/0xd0c/1" == found.cpu_type
    assert ["asimd", "sve"] == found.vector_extensions


def test_records_from_before_keep_their_fingerprint() -> None:
    """Or the published ones would be of no machine at all."""
    [(_, trial)] = store.read_trials(ROOT / "tests" / "records" / "v1")
    machine = trial.machine

    assert machine.cpu_type is None
    assert "18cfe77ada07" == fingerprint_of(machine) == machine.fingerprint
