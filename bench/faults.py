"""What an entry raised in a worker -> the WorkerReply that tells it."""

import resource
import traceback

from bench.conformance import ContractBroken
from bench.contract import Refusal
from bench.errors import InputError
from bench.record import WorkerReply


def fault(error: Exception) -> WorkerReply:
    """Refused, failed, or out of memory, with the reason in one line; what nobody foresaw goes to stderr whole."""
    line = " ".join(str(error).split())
    if isinstance(error, Refusal):
        return WorkerReply(status="refused", reason=line)
    if isinstance(error, ContractBroken | InputError):
        return WorkerReply(status="failed", reason=line)
    traceback.print_exception(error)
    reason = f"{type(error).__name__}: {line}"[:500]
    return WorkerReply(status="out-of-memory" if _out_of_memory(error) else "failed", reason=reason)


_SIGNS = ("MemoryError", "ResourceExhausted", "bad_alloc", "can't allocate memory", "Cannot allocate memory")
_OF_THE_LOADER = "failed to map segment"  # it names no cause: no memory, or a disk that forbids to execute


def _out_of_memory(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    named = isinstance(error, MemoryError) or any(sign in text for sign in _SIGNS)
    return named or (limited and _OF_THE_LOADER in text)
