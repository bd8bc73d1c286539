"""Two commits of this repository, one with 5% planted into torch's step: does `bench gate` find it, and only it?

python -m tests.perf.planted     (about seven minutes on a quiet machine, in a temporary clone)

Not among the tests: a loaded machine answers "invalid", which is right and shows nothing.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.command import ROOT

SHARE = 0.05
STEP = "        losses = torch.stack([self.step(rows) for rows in order])\n"
# Extra real work, as a careless change would add it: one step in twenty is trained once more. Counted over calls: a
# window of the gate has fewer steps than that.
SLOWED = f"""        self._trained = getattr(self, "_trained", 0) + len(order)
        while self._trained >= {round(1 / SHARE)}:
            self._trained -= {round(1 / SHARE)}
            self.step(order[0])
"""
# The certificate would see that; so what is added works on a copy that nobody reads.
COPY = """        if not hasattr(self, "_twin"):
            import copy

            self._twin = copy.copy(self)
            self._twin.network = copy.deepcopy(self.network)
            self._twin.optimizer = torch.optim.SGD(self._twin.network.parameters(), lr=0.01, momentum=0.9)
            self._twin.schedule = None
"""


def git(folder: Path, *arguments: str) -> str:
    """Git in a folder, as nobody in particular."""
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def plant(folder: Path) -> str:
    """Commit the slowdown in a clone; returns the commit."""
    path = folder / "impls" / "torch" / "mlp.py"
    text = path.read_text()
    if text.count(STEP) != 1:
        sys.exit("impls/torch/mlp.py trains otherwise now; plant the slowdown elsewhere")
    path.write_text(text.replace(STEP, COPY + SLOWED.replace("self.step", "self._twin.step") + STEP))
    git(folder, "commit", "--quiet", "--all", "--message", "Slow torch down by 5%")
    return git(folder, "rev-parse", "HEAD")


def main() -> None:
    """Gate the planted commit and the base against itself; exit 1 where either verdict is the wrong one."""
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        base = git(clone, "rev-parse", "HEAD")
        slow = plant(clone)
        codes = []
        for head in (slow, base):
            command = ["gate", "--base", base, "--head", head, "--case", "mlp:torch-eager", "--results", scratch]
            codes.append(subprocess.run([sys.executable, "-m", "bench.cli", *command], cwd=clone).returncode)
    print(f"planted: exit {codes[0]} (1 is right), same code: exit {codes[1]} (0 is right)")
    sys.exit(codes != [1, 0])


if __name__ == "__main__":
    main()
