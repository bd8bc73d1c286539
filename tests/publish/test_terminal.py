"""bench/publish/terminal.py: the table after a run, on a terminal and in a log."""

import io

from rich.console import Console

from bench.publish import terminal
from bench.record import Trial
from tests.make import make_machine, make_task, make_trial

HOSTILE = "a|b\n[red]c[/red][/] <script> \x1b[31m \u202e :smile:"


def shown(trials: list[Trial], *, width: int | None = None) -> str:
    """What is printed; a width makes it a terminal."""
    file = io.StringIO()
    on_terminal = width is not None
    terminal.print_run(trials, Console(file=file, width=width, force_terminal=on_terminal, color_system=None))
    return file.getvalue()


def two_blocks() -> list[Trial]:
    """Two entries, two blocks."""
    return [
        make_trial(entry, block, seconds=seconds * (1 + block / 100))
        for block in range(2)
        for entry, seconds in (("torch-eager", 1.0), ("tensorflow-function", 2.0))
    ]


def test_a_log_has_one_plain_line_a_case() -> None:
    """No escape sequences, no frames, nothing broken in two."""
    text = shown(two_blocks())

    lines = [line for line in text.splitlines() if line.startswith("graph") and "tensorflow-function" in line]

    assert len(lines) == 1
    assert "29,800 (29,700..30,000, n = 2)" in lines[0]
    assert "0.5000 [0.5000, 0.5000]" in lines[0]
    assert "slower" in lines[0]
    assert "\x1b" not in text


def test_a_terminal_of_80_columns_is_enough() -> None:
    """Figures stay whole."""
    text = shown(two_blocks(), width=80)

    for expected in (
        "tensorflow-function",
        "29,800",
        "29,700..30,000",
        "0.5000 slower",
        "2.75 s",
        "500 MiB",
        "87.00 %",
    ):
        assert expected in text
    assert max(map(len, text.splitlines())) <= 80


def test_cuda_and_failures_are_in_sight() -> None:
    """Both on a terminal and in a log."""
    trials = [*two_blocks(), make_trial("numpy", status="timed-out", reason="over 60 s")]

    for text in (shown(trials), shown(trials, width=120)):
        assert "not measured: no CUDA device (no NVIDIA driver)" in text
        assert "numpy (cpu): timed-out in block 0: over 60 s" in text


def test_a_run_without_a_good_trial_says_so() -> None:
    """And prints no figure."""
    text = shown([make_trial(certificate="refused", certificate_reason="loss differs")])

    assert "no trial counts" in text
    assert "uncertified in block 0: loss differs" in text
    assert "samples" not in text.lower().replace("samples/s, median (range, n)", "")


def test_hostile_text_is_shown_and_not_obeyed() -> None:
    """Rich's markup, emoji codes and escape sequences stay text."""
    machine = make_machine(fingerprint="evil", cpu_model=HOSTILE, reasons={"gpus": HOSTILE})
    trials = [
        make_trial("evil" + HOSTILE, machine=machine),
        make_trial("bad", status="failed", reason=HOSTILE, machine=machine),
    ]

    for text in (shown(trials), shown(trials, width=400)):
        assert "[red]c[/red][/]" in text
        assert ":smile:" in text
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_no_trials_print_nothing_but_a_line_break() -> None:
    """A run that was interrupted at once is no error."""
    actual = shown([]).strip()

    assert actual == ""


def test_a_sweep_is_one_table_on_a_terminal_and_in_a_log() -> None:
    """Its sizes have no tables of their own, but the task's own."""
    trials = [
        make_trial(entry, block, task=task, seconds=(overhead + work * size) * (task.steps_per_epoch - 1))
        for block in range(2)
        for size in (64, 128, 256)
        for entry, overhead, work in (("torch-eager", 2e-4, 3e-6), ("numpy", 1e-4, 4e-6))
        for task in [make_task(batch_size=size)]
    ]

    for text in (shown(trials), shown(trials, width=80)):
        assert "mlp over batch size, cpu, 2 threads" in text
        assert "Overhead, µs" in text
        assert text.count("mlp: 784-128-64-10") == 1
    assert max(map(len, shown(trials, width=80).splitlines())) <= 80


def test_disturbed_trials_and_another_precision_are_said() -> None:
    """Both on a terminal and in a log."""
    trials = [make_trial(precision="tf32").model_copy(update={"disturbances": ["steal of 0.4 s"]})]

    for text in (shown(trials), shown(trials, width=120)):
        assert "products in tf32" in text
        assert "disturbed: torch-eager (cpu), block 0: steal of 0.4 s" in text
