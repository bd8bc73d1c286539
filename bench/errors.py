"""The errors that a person can mend: one line each, with cause, place and remedy."""


class InputError(Exception):
    """A request or a file is wrong. The command line prints the message as one line and exits with 2.

    The message names the place first, then the cause, then the remedy:
    ``tasks/mlp.toml: layers[2]: must be at least 1, is 0``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Interrupted(Exception):
    """Ctrl-C, or a polite end from outside, while records were made; the message says what is kept and how to go on."""


def validation_message(place: str, error: object) -> str:
    """Turn pydantic's ValidationError into one line: ``place: path[index]: cause, is value``.

    All faults are named, at most three of them in full, so that a person mends them in one go.
    """
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    faults = []
    for fault in error.errors(include_url=False):
        path = ""
        for part in fault["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        cause = fault["msg"].removeprefix("Value error, ")
        cause = cause[:1].lower() + cause[1:]
        value = repr(fault["input"])
        shown = value if len(value) <= 60 else value[:57] + "..."
        if fault["type"] == "extra_forbidden":
            cause = "no such key; leave it out or correct its spelling"
        elif fault["type"] == "missing":
            cause = "is missing"
        elif path:
            cause += f", is {shown}"
        faults.append(f"{path}: {cause}" if path else cause)
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return f"{place}: " + "; ".join(faults[:3]) + more
