"""What an entry raised in a worker -> the WorkerReply that tells it."""

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


def _out_of_memory(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    signs = ("MemoryError", "ResourceExhausted", "bad_alloc", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)
