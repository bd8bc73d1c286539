"""One process, one trial: a WorkerRequest on standard input, a WorkerReply on standard output.

Run by the runner as `python -m bench.worker`. The only module of bench that loads an entry.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import traceback

from pydantic import ValidationError

from bench import __version__
from bench.contract import Refusal, Settings
from bench.errors import InputError
from bench.record import Versions, WorkerReply, WorkerRequest, compact_json

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the runner dies, also by kill -9: no orphan works on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the call
        os._exit(1)


def _out_of_memory(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    signs = ("MemoryError", "ResourceExhausted", "bad_alloc", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


def run(request: WorkerRequest) -> WorkerReply:
    """Do the trial. Never raises for what an entry does: its refusal or failure is the reply."""
    from bench.measure import ContractBroken, certificate_of, load_entry, measure
    from bench.probes.blas import blas_builds

    settings = Settings(device=request.device, threads=request.threads)
    try:
        if request.what == "certificate":
            measurements = None
            entry = load_entry(request.entry_module, settings)
            certificate = certificate_of(entry, request.task, request.training_seed)
        else:
            measurements, certificate, entry = measure(
                request.entry_module, request.task, request.training_seed, settings
            )
        import numpy

        versions = Versions(
            python=sys.version.split()[0],
            numpy=numpy.__version__,
            evenhand=__version__,
            packages=dict(entry.versions()),
            blas=blas_builds(),
        )
    except Refusal as refusal:
        return WorkerReply(status="refused", reason=str(refusal), measurements=None, certificate=None, versions=None)
    except (ContractBroken, InputError) as error:
        return WorkerReply(status="failed", reason=str(error), measurements=None, certificate=None, versions=None)
    except Exception as error:
        status = "out-of-memory" if _out_of_memory(error) else "failed"
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        return WorkerReply.model_validate(
            {"status": status, "reason": reason, "measurements": None, "certificate": None, "versions": None}
        )
    proven = certificate.verdict == "same-work"
    return WorkerReply(
        status="ok" if proven else "refused",
        reason=None if proven else certificate.reason,
        measurements=measurements,
        certificate=certificate,
        versions=versions,
    )


def main() -> int:
    """Read, run, write. Standard output is kept for the reply alone: what a framework prints goes to stderr."""
    reply_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        request = WorkerRequest.model_validate_json(sys.stdin.read())
    except (ValidationError, json.JSONDecodeError) as error:
        print(f"bench.worker: not a request on standard input: {error}", file=sys.stderr)  # noqa: T201
        return 2
    _die_with_parent(request.parent_pid)
    if request.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request.memory_limit_bytes, request.memory_limit_bytes))
    reply = run(request)
    reply_file.write(compact_json(reply.model_dump(mode="json")))
    reply_file.close()
    sys.stderr.flush()
    os._exit(0)  # the trial is over: no framework's exit handlers may hang or crash what is measured already


if __name__ == "__main__":
    sys.exit(main())
