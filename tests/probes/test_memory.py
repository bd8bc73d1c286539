"""Memory is read from the kernel: in real processes that take and give back real memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.probes import memory
from tests.command import ROOT

MIB = 1 << 20


def run(code: str) -> list[int]:
    """The integers that a script prints, in a process of its own."""
    prelude = "from bench.probes import memory\nMIB = 1 << 20\n"
    done = subprocess.run([sys.executable, "-c", prelude + code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_the_peak_grows_by_what_was_taken_and_given_back() -> None:
    """200 MiB taken and freed are in the peak, not in what is resident."""
    before, peak, resident = run(
        "before = memory.sample().rss_bytes\n"
        "block = b'x' * (200 * MIB)\n"
        "del block\n"
        "print(before, memory.peak_bytes(), memory.sample().rss_bytes)"
    )

    assert 195 * MIB < peak - before < 215 * MIB
    assert resident - before < 50 * MIB


def test_a_reset_brings_the_peak_back_to_what_is_resident() -> None:
    """Without the reset the peak would be that of the import or the build."""
    high, low = run(
        "block = b'x' * (200 * MIB)\ndel block\nhigh = memory.peak_bytes()\nmemory.reset_peak()\n"
        "print(high, memory.peak_bytes())"
    )

    assert high - low > 150 * MIB


def test_a_child_does_not_inherit_the_peak() -> None:
    """The reason why it is not getrusage: there a child begins with its parent's peak."""
    parent, child = run(
        "import subprocess, sys\n"
        "block = b'x' * (300 * MIB)\n"
        "code = 'from bench.probes import memory; print(memory.peak_bytes())'\n"
        "out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout\n"
        "print(memory.peak_bytes(), out)"
    )

    assert parent - child > 200 * MIB


def test_anonymous_memory_and_files_are_apart() -> None:
    """What Python allocates is anonymous; both together are what is resident."""
    rss, anon, files, more = run(
        "one = memory.sample()\nblock = b'x' * (100 * MIB)\n"
        "print(one.rss_bytes, one.anon_bytes, one.file_bytes, memory.sample().anon_bytes)"
    )

    assert rss == pytest.approx(anon + files, rel=0.05)
    assert 95 * MIB < more - anon < 110 * MIB


STATUS = "Name:\tx\nVmHWM:\t  2000 kB\nVmRSS:\t 1000 kB\nRssAnon:\t 600 kB\nRssFile:\t 300 kB\nRssShmem:\t 100 kB\n"


def test_kilobytes_become_bytes(tmp_path: Path) -> None:
    """The kernel's kB is 1024 bytes."""
    (tmp_path / "status").write_text(STATUS)
    found = memory.sample(tmp_path)

    assert (1024000, 614400, 409600) == (found.rss_bytes, found.anon_bytes, found.file_bytes)
    assert 2048000 == memory.peak_bytes(tmp_path)


@pytest.mark.parametrize("text", ["", "VmRSS:\n", "VmRSS: many kB\n", STATUS.replace("RssShmem", "Shmem")])
def test_what_the_system_does_not_tell_has_a_reason(tmp_path: Path, text: str) -> None:
    """Never 0 for unknown."""
    (tmp_path / "status").write_text(text)

    with pytest.raises(memory.Unreadable, match=r"status has no (VmRSS|RssShmem)"):
        memory.sample(tmp_path)


def test_a_system_without_proc_has_a_reason(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(memory.Unreadable, match="cannot be read"):
        memory.sample(tmp_path)
    with pytest.raises(memory.Unreadable, match="cannot be written"):
        memory.reset_peak(tmp_path / "absent")
