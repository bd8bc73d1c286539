"""Bad input gets one line with cause and remedy, exit 2 and no traceback; good input does what the help says."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.inputs import SHIPPED_DATA
from tests.command import ROOT, bench

TASK = (ROOT / "bench" / "tasks" / "mlp-tiny.toml").read_text()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refused request; anything else fails here."""
    assert 2 == done.returncode, done.stderr
    assert "" == done.stdout
    lines = done.stderr.splitlines()
    assert 1 == len(lines), done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "cause", "remedy"),
    [
        (("run", "--entry", "pytorch"), "no entry 'pytorch'", "take one of numpy, torch-eager"),
        (("run", "--task", "mpl"), "no task 'mpl'", "take one of mlp"),
        (("run", "--task", "absent.toml"), "absent.toml: cannot be read", "check the path"),
        (("run", "--profile", "huge"), "--profile 'huge'", "take one of smoke, quick, full"),
        (("run", "--threads", "-1"), "--threads -1", "must be at least 1"),
        (("run", "--threads", "0"), "--threads 0", "must be at least 1"),
        (("run", "--threads", "4096"), "this machine gives", "take at most"),
        (("run", "--threads", "two"), "'--threads'", "--help"),
        (("run", "--processes", "0"), "--processes 0", "must be at least 1"),
        (("run", "--processes", "-2"), "--processes -2", "must be at least 1"),
        (("run", "--processes", "two"), "'--processes'", "--help"),
        (("run", "--processes", "4096"), "--processes 4096: this machine gives", "take at most"),
        (("run", "--processes", "2", "--entry", "numpy"), "numpy trains in one process", "take torch-ddp"),
        (("certify", "numpy", "--processes", "2"), "numpy trains in one process", "take torch-ddp"),
        (("certify", "torch-ddp", "--processes", "0"), "--processes 0", "must be at least 1"),
        (("run", "--batch-size", "60001"), "batch_size: must be at most 30000", "is 60001"),
        (("run", "--batch-size", "0"), "batch_size", "greater than or equal to 1, is 0"),
        (("run", "--blocks", "0"), "--blocks 0", "must be at least 1"),
        (("run", "--epochs", "0"), "epochs", "greater than or equal to 1, is 0"),
        (("run", "--seed", "-3"), "--seed -3", "must be at least 0"),
        (("run", "--device", "tpu"), "--device 'tpu'", "take cpu or cuda"),
        (("run", "--time-limit", "nan"), "--time-limit nan", "above 0"),
        (("run", "--memory-limit", "lots"), "--memory-limit 'lots'", "write 4GiB"),
        (("run", "--memory-limit", "1MiB"), "--memory-limit '1MiB'", "at least 64MiB"),
        (("run", "--task", "mlp", "--task", "mlp"), "is there twice", "name each once"),
        (("run", "--results", "/proc/nowhere"), "/proc/nowhere: cannot be used", "check --results"),
        (("run", "--fast"), "No such option: --fast", "--help"),
        (("run", "--resume", "--results", "absent"), "absent holds no unfinished run", "leave --resume out"),
        (("report", "--results", "absent"), "absent: holds no results", "bench run"),
        (("certify", "pytorch"), "no entry 'pytorch'", "take one of"),
        (("certify", "numpy", "--device", "tpu"), "--device 'tpu'", "take cpu or cuda"),
        (("fly",), "No such command 'fly'", "--help"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], cause: str, remedy: str
) -> None:
    """Cause and remedy are in the line, and nothing is written."""
    if arguments[0] == "run" and "--results" not in arguments:
        arguments = (*arguments, "--results", str(tmp_path))
    line = one_line(bench(*arguments))

    assert (True, True) == (cause in line, remedy in line), line
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[784, 32, 10]", "[784, 0, 10]", "layers[1]: input should be greater than or equal to 1, is 0"),
        ("[784, 32, 10]", "[785, 32, 10]", "layers[0]: must be 784, the pixels of fashion-mnist, is 785"),
        ("[784, 32, 10]", "[784, 32, 9]", "layers[2]: must be 10, the classes of fashion-mnist, is 9"),
        ("epochs = 10", "epochs = 10\nepoch = 3", "epoch: no such key"),
        ("momentum = 0.9", "momentum = 0.9\nnesterov = true", "optimizer.sgd.nesterov: no such key"),
        ("learning_rate = 0.01", "learning_rate = -0.01", "learning_rate: input should be greater than 0, is -0.01"),
        ("learning_rate = 0.01", "learning_rate = nan", "learning_rate"),
        ("batch_size = 64", 'batch_size = "64"', "batch_size: input should be a valid integer, is '64'"),
        ("batch_size = 64", "batch_size = 60001", "batch_size: must be at most 30000"),
        ("batch_size = 64", "", "batch_size: is missing"),
        ('activation = "relu"', 'activation = "swish"', "activation: input should be"),
        ("seed = 0", "seed = ", "is not TOML"),
    ],
)
def test_a_wrong_task_file_is_refused_with_file_and_path(tmp_path: Path, old: str, new: str, message: str) -> None:
    """The line names the file, the path inside it, the cause and the value."""
    assert old in TASK
    file = tmp_path / "own.toml"
    file.write_text(TASK.replace(old, new))
    line = one_line(bench("run", "--task", file, "--results", tmp_path))

    assert (True, True) == (line.startswith(f"bench: {file}: "), message in line), line


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def replace(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes(60_008)))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [(Path.unlink, "is missing"), (truncate, "cannot be decoded"), (replace, "holds other data")],
)
def test_spoiled_data_is_refused_in_one_line_before_anything_runs(tmp_path: Path, spoil, cause: str) -> None:
    """Truncated, wrong or missing: the line names the file and what to do."""
    folder = tmp_path / "data"
    shutil.copytree(SHIPPED_DATA, folder)
    spoil(folder / "train-labels-idx1-ubyte.gz")
    line = one_line(bench("run", "--results", tmp_path, BENCH_DATA=str(folder)))

    assert (True, True) == (f"train-labels-idx1-ubyte.gz: {cause}" in line, "BENCH_DATA" in line), line
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("{", "is no whole record"),
        ('{"schema_version": 99}', "schema_version"),
        ("", "is no whole record"),
        ("\x00\xff", "is no whole record"),
    ],
)
def test_a_broken_record_is_refused_in_one_line(tmp_path: Path, content: str, cause: str) -> None:
    """The report names the file and what is wrong in it."""
    file = tmp_path / "raw" / "2026-01-01" / "machine" / "run" / "block-000_x.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    line = one_line(bench("report", "--results", tmp_path))

    assert (True, True) == (str(file) in line, cause in line), line


def test_list_names_every_task_and_entry() -> None:
    """What can run here, with fingerprints; for machines too."""
    found = json.loads(bench("list", "--json").stdout)

    assert {"mlp", "mlp-deep", "mlp-tiny", "mlp-wide"} <= {task["task"] for task in found["tasks"]}
    assert {"numpy", "torch-eager", "tensorflow-eager", "tensorflow-function"} <= {e["entry"] for e in found["entries"]}


def test_a_dry_run_prints_the_plan_and_its_time_and_writes_nothing(tmp_path: Path) -> None:
    """Every trial of every block, and an estimate that says what it rests on."""
    done = bench("run", "--dry-run", "--blocks", "2", "--results", tmp_path, "--json")
    found = json.loads(done.stdout)

    assert 0 == done.returncode
    assert [0, 0, 0, 1, 1, 1] == [trial["block"] for trial in found["trials"]]
    assert found["estimated_seconds"] > 0
    assert "guessed" in found["basis"]
    assert [1, 8] == [cost["nodes"] for cost in found["costs"]]
    assert found["costs"][0]["seconds"] > found["costs"][1]["seconds"] > 0
    assert (None, []) == (found["precision"]["blocks"], found["precision"]["costs"])
    assert "2 of 2 ratios have no run of 3 blocks or more" in found["precision"]["reason"]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--processes", "1", "--processes", "2", "--entry", "torch-eager", "--entry", "torch-ddp"),
         {("torch-eager", 1), ("torch-ddp", 1), ("torch-ddp", 2)}),
        (("--processes", "2"),
         {("torch-ddp", 2), ("tensorflow-multiworker", 2), ("tensorflow-mirrored", 2)}),
        (("--entry", "torch-ddp"), {("torch-ddp", 1)}),
        ((), {("torch-eager", 1), ("tensorflow-function", 1), ("tensorflow-loop", 1)}),
    ],
    ids=["several", "two alone", "named", "neither"],
)  # fmt: skip
def test_several_processes_are_planned_for_what_can_do_them(
    tmp_path: Path, flags: tuple[str, ...], expected: set[tuple[str, int]]
) -> None:
    """Others have one; and what can do several is planned only where it is named, or several are asked for."""
    done = bench("run", "--dry-run", "--blocks", "1", *flags, "--results", tmp_path, "--json")
    found = [trial["case"] for trial in json.loads(done.stdout)["trials"]]

    assert expected == {(case["entry"], case["processes"]) for case in found}
    assert len(expected) == len(found)


def test_without_a_flag_no_profile_has_entries_for_several_processes(tmp_path: Path) -> None:
    """`full` takes all entries, but these are other trainings than those of one process with more around them."""
    done = bench("run", "--dry-run", "--profile", "full", "--blocks", "1", "--results", tmp_path, "--json")
    found = {trial["case"]["entry"] for trial in json.loads(done.stdout)["trials"]}

    assert "sklearn" in found
    assert set() == found & {"torch-ddp", "tensorflow-multiworker", "tensorflow-mirrored"}


def test_the_order_of_a_block_comes_from_the_recorded_seed(tmp_path: Path) -> None:
    """The same seed gives the same order, another seed another one; each block is shuffled anew."""

    def order(seed: int) -> list[str]:
        done = bench("run", "--dry-run", "--json", "--seed", seed, "--blocks", "6", "--results", tmp_path)
        return [trial["case"]["entry"] for trial in json.loads(done.stdout)["trials"]]

    one, again, other = order(1), order(1), order(2)

    assert one == again
    assert one != other
    assert one[:3] * 6 != one


@pytest.mark.parametrize(("entry", "code", "word"), [("numpy", 0, "same work"), ("tests.plugins.faulty", 1, "refused")])
def test_certify_says_yes_or_no(entry: str, code: int, word: str) -> None:
    """Exit 0 for the same work, 1 for other work."""
    done = bench("certify", entry, "--task", "mlp-tiny")

    assert (code, True) == (done.returncode, f"on mlp-tiny: {word}" in done.stdout), done.stderr


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("liar", "the module calls itself 'torch-eager', but was asked for as 'tests.plugins.liar'"),
        ("halfway", "build() returned Trainer without logits()"),
        ("writes", "the entry changed the initial parameters that it was given; it must copy them"),
        ("transposed", "params() must return weight 0 as float64 (784, 32), returned float64 (32, 784)"),
        ("shapeless", "train() must return the losses as a NumPy array float32"),
        ("diverges", "part float64: loss at step 0: is not finite"),
        ("reads", "reads a value on the host inside a step: item() at train.py:7"),
        ("refuses", "has no SGD"),
        ("raises", "RuntimeError: the shapes [784, 128] and [3] do not match"),
    ],
)
def test_certify_says_what_is_wrong_with_a_plug_in(entry: str, message: str) -> None:
    """One line with the promise that was broken, exit 1, no traceback."""
    done = bench("certify", f"tests.plugins.{entry}", "--task", "mlp-tiny")

    assert (1, True) == (done.returncode, message in done.stdout.splitlines()[0]), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_command_takes_no_traceback_to_a_closed_pipe() -> None:
    """`bench list | head -1` ends in silence."""
    command = f"{sys.executable} -m bench.cli schema | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert ("{\n", "") == (done.stdout, done.stderr)


def test_output_has_no_colour_where_it_is_no_terminal() -> None:
    """Piped output is plain text."""
    assert "\x1b[" not in bench("list").stdout
