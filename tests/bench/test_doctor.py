"""The doctor finds what would spoil a measurement, in files made for it and beside real processes."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import doctor
from bench.doctor import Finding, View, ask, drift, examine, examine_cuda, idle, judge, unfit
from bench.probes import ceiling, cpu
from bench.record import Gpu
from tests.command import ROOT, bench
from tests.probes import stub

CPU = "sys/devices/system/cpu"
CORES = sorted(os.sched_getaffinity(0))
RAPL = "sys/class/powercap/intel-rapl:0"
QUIET = {
    "proc/loadavg": "0.00 0.01 0.05 1/100 42\n",
    "proc/stat": "cpu  10 0 10 1000 0 0 0 0 0 0\ncpu0 1 1 1\n",
    "proc/meminfo": "MemAvailable: 8388608 kB\nSwapTotal: 100 kB\nSwapFree: 100 kB\n",
    "proc/vmstat": "nr_free_pages 1\npswpin 0\npswpout 0\n",
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\n",
    "proc/self/clear_refs": "",
    "proc/self/cgroup": "4:memory:/jobs/one\n3:cpu,cpuacct:/jobs/one\n0::/jobs/one\n",
    "sys/fs/cgroup/cpu.max": "max 100000\n",
    "sys/fs/cgroup/memory.max": "max\n",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/intel_pstate/no_turbo": "1\n",
    **{f"{CPU}/cpu{core}/topology/thread_siblings_list": f"{core}\n" for core in CORES},
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    f"{RAPL}/name": "package-0\n",
    f"{RAPL}/energy_uj": "5\n",
    f"{RAPL}/max_energy_range_uj": "65532610987\n",
}


def write(root: Path, file: str, text: str) -> None:
    """A file with the folders that it lies in."""
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with the files of a quiet machine."""
    for file, text in QUIET.items():
        write(tmp_path, file, text)
    return tmp_path


def findings(root: Path, environment: dict[str, str] | None = None) -> dict[str, Finding]:
    """Findings by name; no time is spent on the sample."""
    found = examine(root, root=root, environment=environment or {}, sample_seconds=0)
    return {finding.name: finding for finding in found}


def test_a_quiet_machine_has_no_warning(tree: Path) -> None:
    """So that each warning below is due to what the test changed."""
    names = (
        "smt",
        "cpu quota",
        "governor",
        "turbo",
        "load",
        "other processes",
        "steal time",
        "memory",
        "memory limit",
        "swapping",
        "huge pages",
        "peak memory",
        "energy",
        "blas",
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
        ("cpu quota", "warning", "sys/fs/cgroup/jobs/cpu.max", "50000 100000\n", "grants 0.5 cores' time"),
        ("cpu quota", "note", "sys/fs/cgroup/cpu.max", "some 100000\n", "makes no sense: 'some'"),
        ("cpu quota", "note", "sys/fs/cgroup/cpu.max", "50000 0\n", "makes no sense"),
        ("steal time", "note", "proc/stat", "nonsense\n", "not known"),
        ("steal time", "note", "proc/stat", "cpu a b c d e f g h\n", "not known"),
        ("smt", "warning", f"{CPU}/cpu{CORES[0]}/topology/thread_siblings_list", f"{CORES[0]},990\n", "and 990 share"),
        ("smt", "note", f"{CPU}/cpu{CORES[0]}/topology/thread_siblings_list", "9-1\n", "does not name core"),
        ("smt", "note", f"{CPU}/cpu{CORES[0]}/topology/thread_siblings_list", "x\n", "is no list of cores"),
        ("turbo", "warning", f"{CPU}/intel_pstate/no_turbo", "0\n", "on: the clock follows heat"),
        ("turbo", "note", f"{CPU}/intel_pstate/no_turbo", "2\n", "neither 0 nor 1"),
        ("memory limit", "error", "sys/fs/cgroup/jobs/one/memory.max", f"{1 << 30}\n", "grants 1.0 GiB"),
        ("memory limit", "ok", "sys/fs/cgroup/jobs/one/memory.max", f"{8 << 30}\n", "grants 8.0 GiB"),
        ("memory limit", "error", "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{1 << 30}\n", "grants 1.0 GiB"),
        ("memory limit", "ok", "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n", "none found"),
        ("memory limit", "note", "sys/fs/cgroup/memory.max", "much\n", "holds 'much'"),
        ("swapping", "note", "proc/vmstat", "pswpin 0\n", "not known"),
        ("huge pages", "note", "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n", "always:"),
        ("huge pages", "note", "sys/kernel/mm/transparent_hugepage/enabled", "always\n", "not known"),
        ("energy", "note", f"{RAPL}/name", "psys\n", "not known"),
        ("blas", "note", "proc/cpuinfo", "processor: 0\n", "names no vendor"),
    ],
)
def test_what_would_spoil_a_measurement_is_found(
    tree: Path, name: str, severity: str, file: str, text: str, message: str
) -> None:
    """Each with its severity and the value that was seen."""
    write(tree, file, text)
    found = findings(tree)[name]

    assert (severity, True) == (found.severity, message in found.message), found.message
    assert found.remedy or severity in ("note", "ok")


def test_a_quota_of_the_first_cgroup_version_is_found(tree: Path) -> None:
    """Other files, the same harm."""
    (tree / "sys/fs/cgroup/cpu.max").unlink()
    (tree / "sys/fs/cgroup/cpu").mkdir()
    (tree / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("50000\n")
    (tree / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")

    assert "grants 0.5 cores' time" in findings(tree)["cpu quota"].message


def test_boost_of_other_drivers_is_turbo_too(tree: Path) -> None:
    """acpi-cpufreq and amd_pstate have other files, and say it the other way round."""
    (tree / CPU / "intel_pstate/no_turbo").unlink()
    write(tree, f"{CPU}/cpufreq/boost", "1\n")
    on = findings(tree)["turbo"]
    write(tree, f"{CPU}/cpufreq/boost", "0\n")

    assert ("warning", f"echo 0 | sudo tee {tree / CPU}/cpufreq/boost") == (on.severity, on.remedy)
    assert "ok" == findings(tree)["turbo"].severity


def test_pages_that_are_swapped_meanwhile_are_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two looks; what was swapped since boot is another finding."""
    write(tree, "proc/vmstat", "pswpin 5\npswpout 7\n")
    quiet = findings(tree)["swapping"].severity
    monkeypatch.setattr("bench.doctor.time.sleep", lambda _: write(tree, "proc/vmstat", "pswpin 5\npswpout 10\n"))
    found = findings(tree)["swapping"]

    assert ("ok", "warning", True) == (quiet, found.severity, found.message.startswith("3 pages"))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="MKL is for x86-64")
def test_mkl_on_amd_is_noted(tree: Path) -> None:
    """No remedy but to know it: the measured ceiling shows what it costs."""
    write(tree, "proc/cpuinfo", "processor\t: 0\nvendor_id\t: AuthenticAMD\n")

    assert "MKL may take a slower path on AMD" in findings(tree)["blas"].message


def rates_of(slowdown: float) -> list[float]:
    """Rates of a spin whose work takes so much longer from its middle on; time is told by the work itself."""
    now = 0.0

    def work() -> None:
        nonlocal now
        now += 1e-4 * (slowdown if now > 0.25 else 1.0)

    return cpu.spin(0.5, work, lambda: now)


def test_a_steady_clock_is_no_finding() -> None:
    """The same work at the same rate, to the end."""
    found = drift(rates_of(1.0))

    assert "ok" == found.severity, found.message


@pytest.mark.parametrize(("slowdown", "told"), [(1.05, "-4.8%"), (1.5, "-33.3%"), (0.8, "+25.0%")])
def test_a_planted_slowdown_is_found_with_its_size(slowdown: float, told: str) -> None:
    """And so is a clock that rises."""
    found = drift(rates_of(slowdown))

    assert ("warning", True) == (found.severity, f"changed by {told} " in found.message), found.message


def test_an_unsteady_clock_without_drift_is_found() -> None:
    """Slow and fast slices in turn: the quarters agree, a ratio of two trials would not."""
    found = drift([100.0, 80.0] * 20)

    assert ("warning", True) == (found.severity, "by +0.0%" in found.message), found.message


def test_one_interrupted_slice_is_no_drift() -> None:
    """Medians, not means."""
    assert "ok" == drift([100.0] * 30 + [1.0] + [100.0] * 9).severity


@pytest.mark.parametrize("rates", [[], [1.0] * 7, [0.0] * 40])
def test_too_short_a_spin_tells_nothing(rates: list[float]) -> None:
    """Not known, and no division by nothing."""
    assert drift(rates).message.startswith("not known")


def test_the_real_spin_measures_and_gives_the_cores_back() -> None:
    """Real work on one core, for its CPU time."""
    before = os.sched_getaffinity(0)
    rates = cpu.spin(0.2)

    assert (before, True) == (os.sched_getaffinity(0), len(rates) >= 10 and min(rates) > 0)


UNKNOWN = ("smt", "cpu quota", "governor", "turbo", "load", "steal time", "memory", "memory limit", "swapping")
UNKNOWN += ("huge pages", "energy", "blas")


def test_a_machine_without_proc_and_sys_is_no_crash(tmp_path: Path) -> None:
    """A bare container: each says that it is not known, and why."""
    found = findings(tmp_path)

    assert dict.fromkeys(UNKNOWN, "not known: ") == {name: found[name].message[:11] for name in UNKNOWN}
    assert dict.fromkeys(UNKNOWN, "note") == {name: found[name].severity for name in UNKNOWN}


def test_folders_in_place_of_files_are_no_crash(tmp_path: Path) -> None:
    """Nobody can read those, root neither."""
    for file in QUIET:
        (tmp_path / file).mkdir(parents=True)
    found = findings(tmp_path)
    unknown = [name for name in UNKNOWN if name not in ("cpu quota", "memory limit")]  # no file: no limit there

    assert dict.fromkeys(unknown, "note") == {name: found[name].severity for name in unknown}


GARBAGE = [
    b"",
    b"\n",
    b"\xff\xfe\x00\x01",
    b"-1\n",
    b"nan nan nan\n",
    b"9" * 5000,
    "\u00b2 \u00b2\n".encode(),
    b"[\n:\n,",
]
GARBAGE += [b"cpu " + b"9" * 5000 + b" x" * 9, b"pswpin -1\npswpout 1\n", b"0::/\x00\n4:memory:/../..\n", b"max"]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_no_crash(tree: Path, garbage: bytes) -> None:
    """In all files at once, and in each alone."""
    write(tree, "proc/12ab/stat", "12 (x) S")
    write(tree, "proc/12/stat", "12 (x) S")
    files = [*QUIET, "proc/12ab/stat", "proc/12/stat", "sys/fs/cgroup/cpu/cpu.cfs_quota_us"]
    for file in files:
        old = QUIET.get(file, "")
        write(tree, file, "")
        (tree / file).write_bytes(garbage)
        assert findings(tree)
        write(tree, file, old)
    for file in files:
        (tree / file).write_bytes(garbage)

    assert findings(tree)


def test_variables_that_steer_frameworks_are_named(tree: Path) -> None:
    """With their values; others are nobody's business."""
    environment = {"OMP_NUM_THREADS": "7", "TF_ENABLE_ONEDNN_OPTS": "0", "HOME": "/secret", "TF_CLI_CONFIG_FILE": "x"}
    found = findings(tree, environment)["environment"]

    assert "set by someone: OMP_NUM_THREADS=7, TF_ENABLE_ONEDNN_OPTS=0" == found.message


@pytest.mark.parametrize(
    ("variable", "severity"),
    [
        ("OMP_NUM_THREADS", "note"),  # each worker is given its own
        ("CUDA_VISIBLE_DEVICES", "note"),
        ("NVIDIA_REQUIRE_CUDA", "note"),  # in each of NVIDIA's images
        ("OMP_PROC_BIND", "warning"),
        ("MKL_CBWR", "warning"),
        ("OPENBLAS_CORETYPE", "warning"),
        ("LD_PRELOAD", "warning"),
    ],
)
def test_variables_that_reach_the_workers_are_warned_of(tree: Path, variable: str, severity: str) -> None:
    """Others are told, as what a worker gets in their place is the run's."""
    found = findings(tree, {variable: "1"})["environment"]

    assert (severity, severity == "warning") == (found.severity, f"unset {variable}" in (found.remedy or ""))


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


# ---- the first GPU


def no_card() -> bool:
    """Whether this machine has none, as those that run these tests mostly."""
    return not doctor.gpu.list_gpus()[0]


@pytest.mark.skipif(not no_card(), reason="there is a card")
def test_a_machine_without_a_card_is_one_error() -> None:
    """With the reason and a remedy, at once."""
    (found,) = examine_cuda()

    assert ("cuda", "error", True) == (found.name, found.severity, found.message.startswith("no CUDA device: NVML"))
    assert found.remedy


@pytest.mark.parametrize("framework", ["torch", pytest.param("tensorflow", marks=pytest.mark.slow), "jax"])
def test_a_framework_is_asked_in_a_process_of_its_own(framework: str) -> None:
    """All of the way that a card takes, on the CPU: device, placement, precision, a missing device, the wait."""
    pytest.importorskip(framework)
    view = ask(framework, sys.executable, precision="ieee", card="", device="cpu")
    assert isinstance(view, View), view
    found = {finding.name.partition(": ")[2]: finding for finding in judge(framework, view, "cpu")}

    told = ("device", "placement", "missing device", "ieee products")
    assert dict.fromkeys(told, "ok") == {name: found[name].severity for name in told}
    assert ("note", True) == (found["memory growth"].severity, found["waiting"].severity in ("ok", "warning"))


@pytest.mark.skipif(not no_card(), reason="there is a card")
def test_a_framework_that_sees_no_card_is_an_error() -> None:
    """The real PyTorch, asked for CUDA."""
    pytest.importorskip("torch")
    view = ask("torch", sys.executable, precision="ieee", card="")
    assert isinstance(view, View), view
    found = judge("torch", view)[-1]

    assert ("torch: device", "error") == (found.name, found.severity)
    assert found.message.startswith("PyTorch finds no CUDA device (torch ")


def interpreter(folder: Path, script: str) -> str:
    """A program in place of a Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", "ended with signal 11: it said nothing"),
        ("echo first >&2; echo the cause >&2; exit 3", "ended with exit code 3: the cause"),
        ("echo this is fine", "answered what is no view: 'this is fine"),
        ("printf '\\377\\376'", "answered what is no view"),
        ("echo '{\"devices\": 1}'", "answered what is no view"),
        ("exec sleep 60", "gave no answer within 0.5 s"),
    ],
)
def test_a_framework_that_fails_is_a_finding(tmp_path: Path, script: str, message: str) -> None:
    """A crash, garbage, silence: told, never raised."""
    seconds = 0.5 if "sleep" in script else 30.0
    python = interpreter(tmp_path, script)
    found = ask("torch", python, precision="ieee", card="GPU-1", timeout_seconds=seconds)

    assert isinstance(found, Finding)
    assert ("error", True, True) == (found.severity, message in found.message, bool(found.remedy)), found.message


def test_an_interpreter_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    """Before `make setup-cuda`."""
    found = ask("torch", str(tmp_path / "python"), precision="ieee", card="GPU-1")

    assert isinstance(found, Finding)
    assert ("error", True) == (found.severity, "cannot be started (No such file" in found.message)


GOOD = View(
    versions={"torch": "2.13.0"},
    cuda_packages=["nvidia-cudnn-cu13", "nvidia-nccl-cu13"],
    devices=["H100"],
    reason=None,
    lies_on="cuda",
    relative_error=4e-7,
    call_seconds=0.0003,
    wait_seconds=0.08,
    read_seconds=0.0001,
    taken_bytes=1 << 30,
    card_bytes=80 << 30,
    missing_device_refused=True,
)


def test_a_framework_as_it_should_be_has_no_finding() -> None:
    """So that each below is due to what the test changed."""
    assert ["ok"] * 6 == [finding.severity for finding in judge("torch", GOOD)]


@pytest.mark.parametrize(
    ("change", "name", "severity", "message"),
    [
        ({"cuda_packages": ["nvidia-cudnn-cu12", "nvidia-cudnn-cu13"]}, "installation", "warning", "CUDA 12 and 13"),
        ({"devices": []}, "device", "error", "it sees no device"),
        ({"lies_on": "cpu"}, "placement", "error", "lies on cpu, not on cuda"),
        ({"missing_device_refused": False}, "missing device", "error", "in silence"),
        ({"relative_error": 3e-4}, "ieee products", "error", "3.0e-04: tf32"),
        ({"relative_error": 2e-3}, "ieee products", "error", "2.0e-03: bfloat16"),
        ({"relative_error": float("nan")}, "ieee products", "error", "nan: other"),
        ({"wait_seconds": 1e-5, "read_seconds": 0.08}, "waiting", "error", "the wait ends before the work does"),
        ({"call_seconds": 0.08, "wait_seconds": 1e-5}, "waiting", "warning", "the calls themselves waited"),
        ({"taken_bytes": 60 << 30}, "memory growth", "error", "took 60.0 of the card's 80.0 GiB"),
        ({"taken_bytes": None}, "memory growth", "note", "not known"),
    ],
)
def test_what_is_wrong_with_a_framework_is_found(
    change: dict[str, Any], name: str, severity: str, message: str
) -> None:
    """Each with its figure and its remedy."""
    found = {finding.name: finding for finding in judge("torch", GOOD.model_copy(update=change))}[f"torch: {name}"]

    assert (severity, True) == (found.severity, message in found.message), found.message
    assert found.remedy or severity == "note"


@pytest.mark.parametrize(("error", "severity"), [(3e-4, "ok"), (4e-7, "warning"), (2e-3, "error")])
def test_tf32_products_must_be_tf32(error: float, severity: str) -> None:
    """In the second table; a framework without it would stand there with the first one's arithmetic."""
    found = doctor._precision("torch", GOOD.model_copy(update={"relative_error": error}), "tf32")

    assert severity == found.severity


@pytest.mark.parametrize(("bits", "precision"), [(24, "ieee"), (11, "tf32"), (8, "bfloat16")])
def test_the_size_of_our_product_is_told_apart_too(bits: int, precision: str) -> None:
    """1024 by 1024, with factors rounded to so many bits: the bounds were made for half of that."""
    generator = np.random.default_rng(1)
    a, b = (generator.standard_normal((1024, 1024)).astype(np.float32) for _ in range(2))

    def rounded(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype(np.float32)

    exact = a.astype(np.float64) @ b.astype(np.float64)
    error = float(np.max(np.abs(rounded(a) @ rounded(b) - exact)) / np.max(np.abs(exact)))

    assert precision == ceiling.classify(error), error


IN_PROCESS = """
import sys
from bench.probes import framework_view
{planted}
print(sorted(framework_view._waiting(view, "cpu").items()), framework_view._refuses_missing(view))
"""


def planted(code: str) -> str:
    """What a framework with a planted fault shows."""
    done = subprocess.run(
        [sys.executable, "-c", IN_PROCESS.format(planted=code)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
def test_soft_placement_that_hides_a_missing_card_is_found() -> None:
    """TensorFlow's own default moves the work to the CPU without a word."""
    pytest.importorskip("tensorflow")
    code = "import tensorflow as tf\ntf.config.set_soft_device_placement({})\nview = framework_view.TensorFlow('cpu')"

    assert planted(code.format(True)).strip().endswith("False")
    assert planted(code.format(False)).strip().endswith("True")


def test_a_wait_that_does_not_wait_is_found() -> None:
    """JAX works on while Python goes on, on the CPU too: without the wait, the read pays for the work."""
    pytest.importorskip("jax")
    shown = planted("view = framework_view.Jax('cpu')\nview.wait = lambda tensor: None")
    times = dict(eval(shown.rpartition(" ")[0]))

    assert "error" == doctor._waiting("jax", GOOD.model_copy(update=times)).severity, times


IDLE = Gpu(
    uuid="GPU-1",
    name="H100",
    driver="580.1",
    mig=False,
    at_seconds=[0.0, 1.0],
    busy_percent=[0.0, 0.0],
    memory_used_bytes=[1.0, 1.0],
    power_watts=[70.0, 72.0],
    sm_clock_megahertz=[345.0, 345.0],
    memory_clock_megahertz=[2619.0, 2619.0],
    temperature_celsius=[30.0, 30.0],
    throttle_reasons=[["gpu_idle"], ["gpu_idle"]],
    gpm={"dram_percent": [None, 0.0]},
    energy_joules=426.0,
    window_seconds=6.0,
    foreign_processes=[],
    reasons={},
)


def test_an_idle_card_has_no_finding() -> None:
    """MIG, processes, clocks, power, energy, GPM."""
    assert ["ok"] * 6 == [finding.severity for finding in idle(IDLE)]


@pytest.mark.parametrize(
    ("change", "name", "severity", "message"),
    [
        ({"mig": True}, "mig", "warning", "a slice of a card"),
        ({"mig": None, "reasons": {"mig": "no permission"}}, "mig", "note", "not known: no permission"),
        ({"foreign_processes": [7, 8]}, "gpu processes", "warning", "2 on the card: 7, 8"),
        ({"foreign_processes": None, "reasons": {"foreign_processes": "hidden"}}, "gpu processes", "note", "hidden"),
        ({"throttle_reasons": [["hw_slowdown"], []]}, "gpu clocks", "warning", "hw_slowdown in 50.0%"),
        ({"throttle_reasons": [None, None], "reasons": {"throttle_reasons": "old"}}, "gpu clocks", "note", "old"),
        ({"power_watts": [None, None], "reasons": {"power_watts": "no sensor"}}, "gpu power", "note", "no sensor"),
        ({"energy_joules": None, "reasons": {"energy_joules": "lost"}}, "gpu energy", "note", "lost"),
        ({"reasons": {"energy_counter": "Not Supported"}}, "gpu energy", "note", "Not Supported"),
        ({"gpm": {}, "reasons": {"gpm": "Hopper and newer have"}}, "gpm", "note", "Hopper"),
        ({"gpm": {"dram_percent": [None]}, "reasons": {"dram_percent": "too short"}}, "gpm", "note", "too short"),
    ],
)
def test_what_is_wrong_with_a_card_is_found(change: dict[str, Any], name: str, severity: str, message: str) -> None:
    """Each with what NVML said."""
    found = {finding.name: finding for finding in idle(IDLE.model_copy(update=change))}[name]

    assert (severity, True) == (found.severity, message in found.message), found.message


class StandIn:
    """In place of pynvml, for what its answers are turned into; it is no card."""

    class NVMLError(Exception):
        """A failure of NVML."""

    class NVMLLibraryMismatchError(Exception):
        """A function that the driver's library lacks."""

    def __init__(self, persistence: object, ecc: object) -> None:
        self.answers, self.open = {"persistence": persistence, "ecc": ecc}, 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def _answer(self, name: str) -> Any:
        if isinstance(self.answers[name], Exception):
            raise self.answers[name]
        return self.answers[name]

    def nvmlDeviceGetPersistenceMode(self, handle: str) -> Any:  # noqa: N802
        return self._answer("persistence")

    def nvmlDeviceGetEccMode(self, handle: str) -> Any:  # noqa: N802
        return self._answer("ecc")


@pytest.mark.parametrize(
    ("persistence", "ecc", "expected"),
    [
        (1, [1, 1], ["ok", "ok"]),
        (0, [0, 0], ["warning", "ok"]),
        (1, [1, 0], ["ok", "warning"]),
        (StandIn.NVMLError("No permission"), StandIn.NVMLLibraryMismatchError("x"), ["note", "note"]),
    ],
)
def test_the_modes_of_a_card_are_told(persistence: object, ecc: object, expected: list[str]) -> None:
    """Each call may fail; NVML is put back as it was."""
    nvml = StandIn(persistence, ecc)
    found = doctor._modes("GPU-1", nvml)

    assert (expected, 0) == ([finding.severity for finding in found], nvml.open)
    assert all(finding.remedy for finding in found if finding.severity == "warning")


@pytest.mark.parametrize(
    ("version", "severity"), [("580.95.05", "ok"), ("535.1", "warning"), ("x", "warning"), (None, "note")]
)
def test_an_old_driver_is_found(version: str | None, severity: str) -> None:
    """One number serves the CUDA of all frameworks."""
    assert severity == doctor._driver(version, "NVML says: no").severity


EXAMINE = """
import json
from bench.doctor import examine_cuda
found = examine_cuda(card={card!r}, pythons={pythons!r})
print(json.dumps([[f.name, f.severity, f.message] for f in found]))
"""


def examined(library: Path, card: str | None, pythons: dict[str, str]) -> list[list[str]]:
    """What the doctor finds with a stand-in for NVML; it is no card, and no figure of it is a result."""
    path = os.pathsep.join(filter(None, [str(library), os.environ.get("LD_LIBRARY_PATH")]))
    done = subprocess.run(
        [sys.executable, "-c", EXAMINE.format(card=card, pythons=pythons)],
        cwd=ROOT,
        env={**os.environ, "LD_LIBRARY_PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (0, "") == (done.returncode, done.stderr)
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_the_whole_examination_goes_from_the_card_to_each_framework(tmp_path: Path) -> None:
    """One framework answers, another crashes, a third has two environments: each is told by its name."""
    library = stub.build(tmp_path)
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
    reply = GOOD.model_dump_json()
    good = interpreter(tmp_path / "good", f"echo \"$CUDA_VISIBLE_DEVICES $*\" >> {tmp_path}/asked\necho '{reply}'")
    bad = interpreter(tmp_path / "bad", "kill -SEGV $$")
    pythons = {"torch:new": good, "torch:old": good, "tensorflow": bad, "jax": good}
    found = {name: (severity, message) for name, severity, message in examined(library, stub.CARDS[1], pythons)}

    assert ("ok", True) == (found["cuda"][0], stub.CARDS[1] in found["cuda"][1])
    assert ("warning", "note", "note") == (found["driver"][0], found["persistence mode"][0], found["ecc"][0])
    assert ("ok", "ok", "ok") == (found["gpu power"][0], found["gpu energy"][0], found["gpm"][0])
    assert ("error", "ended with signal 11: it said nothing") == found["tensorflow"]
    names = {f"{key}: {what} products" for key in ("torch:new", "torch:old", "jax") for what in ("ieee", "tf32")}
    assert names <= set(found)
    asked = (tmp_path / "asked").read_text().splitlines()
    module = f"{stub.CARDS[1]} -m bench.probes.framework_view"
    assert [f"{module} torch cuda ieee", f"{module} torch cuda tf32"] * 2 == asked[:4]


def test_a_card_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    """With those that there are."""
    ((name, severity, message),) = examined(stub.build(tmp_path), "GPU-unknown", {})

    assert ("cuda", "error", True) == (name, severity, stub.CARDS[0] in message), message


def test_the_commands_of_the_first_gpu_run_have_the_flags_that_it_names() -> None:
    """They cannot be run here; that each command and flag exists can be seen."""
    lines = (ROOT / "docs" / "first-gpu-run.md").read_text().splitlines()
    commands = [line.partition("bench ")[2].split() for line in lines if re.match(r"\$ (\S+ -m )?bench ", line)]
    for subcommand, *words in commands:
        done = bench(subcommand, "--help")
        flags = set(re.findall(r"--[a-z-]+", done.stdout))
        assert {word for word in words if word.startswith("--")} <= flags, subcommand

    assert {"doctor", "certify", "run"} == {command[0] for command in commands}
