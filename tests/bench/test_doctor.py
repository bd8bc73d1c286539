"""The doctor finds what would spoil a measurement, in files made for it and beside real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.doctor import Finding, examine, unfit
from tests.command import bench


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with the files of a quiet machine."""
    for folder in ("proc/self", "sys/fs/cgroup", "sys/devices/system/cpu/cpu0/cpufreq"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/loadavg").write_text("0.00 0.01 0.05 1/100 42\n")
    (tmp_path / "proc/stat").write_text("cpu  10 0 10 1000 0 0 0 0 0 0\ncpu0 1 1 1\n")
    (tmp_path / "proc/meminfo").write_text("MemAvailable: 8388608 kB\nSwapTotal: 100 kB\nSwapFree: 100 kB\n")
    (tmp_path / "proc/self/clear_refs").write_text("")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    (tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").write_text("performance\n")
    return tmp_path


def findings(root: Path, environment: dict[str, str] | None = None) -> dict[str, Finding]:
    """Findings by name; no time is spent on the sample."""
    found = examine(root, root=root, environment=environment or {}, sample_seconds=0)
    return {finding.name: finding for finding in found}


def test_a_quiet_machine_has_no_warning(tree: Path) -> None:
    """So that each warning below is due to what the test changed."""
    names = (
        "cpu quota",
        "governor",
        "load",
        "other processes",
        "steal time",
        "memory",
        "peak memory",
        "disk",
        "environment",
    )
    found = findings(tree)

    assert dict.fromkeys(names, "ok") == {name: found[name].severity for name in names}


@pytest.mark.parametrize(
    ("name", "severity", "file", "text", "message"),
    [
        ("governor", "warning", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n", "powersave"),
        ("load", "warning", "proc/loadavg", "99.0 1 1 1/1 1\n", "99.00 on"),
        ("load", "note", "proc/loadavg", "high\n", "not known"),
        ("memory", "error", "proc/meminfo", "MemAvailable: 100000 kB\n", "0.1 GiB available"),
        ("memory", "note", "proc/meminfo", "\n", "not known"),
        ("swap", "warning", "proc/meminfo", "MemAvailable: 9000000 kB\nSwapTotal: 2048 kB\nSwapFree: 0 kB\n", "2 MiB"),
        ("cpu quota", "warning", "sys/fs/cgroup/cpu.max", "150000 100000\n", "grants 1.5 cores' time"),
        ("steal time", "note", "proc/stat", "nonsense\n", "not known"),
    ],
)
def test_what_would_spoil_a_measurement_is_found(
    tree: Path, name: str, severity: str, file: str, text: str, message: str
) -> None:
    """Each with its severity and the value that was seen."""
    (tree / file).write_text(text)
    found = findings(tree)[name]

    assert (severity, True) == (found.severity, message in found.message), found.message
    assert found.remedy or severity == "note"


def test_a_quota_of_the_first_cgroup_version_is_found(tree: Path) -> None:
    """Other files, the same harm."""
    (tree / "sys/fs/cgroup/cpu.max").unlink()
    (tree / "sys/fs/cgroup/cpu").mkdir()
    (tree / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("50000\n")
    (tree / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")

    assert "grants 0.5 cores' time" in findings(tree)["cpu quota"].message


def test_a_machine_without_proc_and_sys_is_no_crash(tmp_path: Path) -> None:
    """A bare container: notes, not exceptions."""
    found = findings(tmp_path)

    assert {"note", "warning"} >= {found[name].severity for name in ("governor", "load", "memory", "peak memory")}


def test_variables_that_steer_frameworks_are_named(tree: Path) -> None:
    """With their values; others are nobody's business."""
    environment = {"OMP_NUM_THREADS": "7", "TF_ENABLE_ONEDNN_OPTS": "0", "HOME": "/secret", "TF_CLI_CONFIG_FILE": "x"}
    found = findings(tree, environment)["environment"]

    assert "set by someone: OMP_NUM_THREADS=7, TF_ENABLE_ONEDNN_OPTS=0" == found.message


def test_another_process_that_computes_is_named() -> None:
    """A real one, beside the real doctor."""
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        found = [f for f in examine(Path(), sample_seconds=1.0) if f.name == "other processes"]
    finally:
        hog.kill()
        hog.wait()

    assert any(f"(process {hog.pid})" in finding.message for finding in found)


def test_only_an_error_makes_a_machine_unfit() -> None:
    """A warning is told; the measurement may go on."""
    assert not unfit([Finding(name="x", severity="warning", message="x")])
    assert unfit([Finding(name="x", severity="warning", message="x"), Finding(name="y", severity="error", message="y")])


def test_the_command_prints_findings_for_machines() -> None:
    """Every finding has a name, a severity and a message; the exit code follows the errors."""
    done = bench("doctor", "--json")
    found = json.loads(done.stdout)

    assert all({"name", "severity", "message", "remedy"} == set(finding) for finding in found)
    assert int(any(finding["severity"] == "error" for finding in found)) == done.returncode
    assert {"cores", "governor", "load", "memory", "torch-eager", "cuda"} <= {finding["name"] for finding in found}
