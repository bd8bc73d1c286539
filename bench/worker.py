"""One process, one trial: a WorkerRequest in the first line of standard input, a WorkerReply on standard output.

Run by the runner as `python -m bench.worker`. The only module of bench that loads an entry.
"""

import importlib
import json
import os
import resource
import sys
from typing import Any

from pydantic import ValidationError

from bench import __version__
from bench.contract import Settings
from bench.faults import fault
from bench.followers import ALONE, Followers
from bench.parent import die_with_parent
from bench.probes.source import module_sha256
from bench.record import Versions, WorkerReply, WorkerRequest, compact_json


def run(request: WorkerRequest, followers: Followers = ALONE) -> WorkerReply:
    """Do what is asked. Never raises for what an entry does: its refusal or failure is the reply.

    followers: the other ranks, where this is rank 0 of several.
    """
    try:
        return _DO[request.what](request, settings_of(request), followers)
    except Exception as error:
        return fault(error)


def settings_of(request: WorkerRequest) -> Settings:
    """What the entry is configured with."""
    return Settings(
        device=request.device, threads=request.threads, precision=request.precision, processes=request.processes
    )


def _trial(request: WorkerRequest, settings: Settings, followers: Followers) -> WorkerReply:
    from bench.measure import measure

    measurements, check, entry, windows = measure(
        request.entry,
        request.entry_module,
        request.task,
        request.training_seed,
        settings,
        sensors=request.sensors,
        cores_shared=request.cores_shared,
        followers=followers,
    )
    return WorkerReply(
        status="ok" if check.verdict == "same-work" else "refused",
        reason=check.reason,
        measurements=measurements,
        check=check,
        windows=windows,
        versions=_versions(entry),
        implementation_sha256=module_sha256(request.entry_module),
    )


def _certificate(request: WorkerRequest, settings: Settings, followers: Followers) -> WorkerReply:
    from bench.certificate import host_reads, prove, reason_of
    from bench.measure import load_entry

    entry = load_entry(request.entry, request.entry_module, settings, followers)
    parts = prove(entry, request.task, request.training_seed, precision=request.precision, processes=request.processes)
    reads = host_reads(entry, request.task, request.training_seed)
    reason = reason_of(parts, reads)
    return WorkerReply(
        status="ok" if reason is None else "refused",
        reason=reason,
        parts=parts,
        host_reads=reads,
        versions=_versions(entry),
        implementation_sha256=module_sha256(request.entry_module),
    )


def _mutations(request: WorkerRequest, settings: Settings, _: Followers) -> WorkerReply:
    from bench.mutations import run_suite

    module = importlib.import_module(request.entry_module)
    module.configure(settings)
    return WorkerReply(status="ok", reason=None, kills=run_suite(module.MUTANTS), versions=_versions(module))


def _study(request: WorkerRequest, settings: Settings, _: Followers) -> WorkerReply:
    assert request.study is not None
    study = importlib.import_module(request.study)
    module = importlib.import_module(request.entry_module)
    readings = study.measure(module, request, settings)
    return WorkerReply(
        status="ok",
        reason=None,
        readings=readings,
        versions=_versions(module),
        implementation_sha256=module_sha256(request.entry_module),
    )


_DO = {"trial": _trial, "certificate": _certificate, "mutations": _mutations, "study": _study}


def _versions(entry: Any) -> Versions:
    import numpy

    from bench.probes.blas import blas_builds

    return Versions(
        python=sys.version.split()[0],
        numpy=numpy.__version__,
        evenhand=__version__,
        packages=dict(entry.versions()),
        blas=blas_builds(),
    )


def main() -> int:
    """Read, run, write. Standard output is kept for the reply alone: what a framework prints goes to stderr."""
    reply_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        request = WorkerRequest.model_validate_json(sys.stdin.readline())
    except (ValidationError, json.JSONDecodeError) as error:
        print(f"bench.worker: not a request on standard input: {error}", file=sys.stderr)  # noqa: T201
        return 2
    die_with_parent(request.parent_pid)
    if request.memory_limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request.memory_limit_bytes, request.memory_limit_bytes))
    if request.what == "windows":  # a dialogue: bench.duet asks for one window after another
        from bench.windows import serve

        serve(request, settings_of(request), sys.stdin, reply_file)
        os._exit(0)
    reply = run(request)
    reply_file.write(compact_json(reply.model_dump(mode="json")))
    reply_file.close()
    sys.stderr.flush()
    os._exit(0)  # the trial is over: no framework's exit handlers may hang or crash what is measured already


if __name__ == "__main__":
    sys.exit(main())
