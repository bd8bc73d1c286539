"""What was counted around the windows of a trial -> what spoilt it, in words with figures. Pure."""

from collections.abc import Callable, Sequence

from bench.record import Epoch, Gpu, Measurements, Surroundings

# Of the cores' time in the windows. A core that is shared for so long yields a time of more than the tie band's 1%.
MOST_STOLEN = 0.02
MOST_FOREIGN = 0.05  # a window is counted in ticks of 10 ms, and interrupts count as foreign


def disturbances(
    measured: Measurements, *, cores: int, gpu: Gpu | None = None, throttled: Callable[[Gpu], list[str]] | None = None
) -> list[str]:
    """Each thing that spoilt the measurement; none where nothing was found, or where nothing could be counted."""
    windows = measured.epochs[1:] or measured.epochs
    found = []
    for share, most, what in (
        (share_of(windows, lambda s: s.steal_seconds, cores), MOST_STOLEN, "the hypervisor gave to other guests"),
        (share_of(windows, lambda s: s.foreign_seconds, cores), MOST_FOREIGN, "other processes took"),
    ):
        if share is not None and share > most:
            found.append(f"{what} {share:.1%} of the cores' time")
    if gpu is not None and throttled is not None:
        found += throttled(gpu)
    if gpu is not None and gpu.foreign_processes:
        found.append(f"other processes were on the card: {', '.join(map(str, gpu.foreign_processes))}")
    return found


def share_of(windows: Sequence[Epoch], figure: Callable[[Surroundings], float | None], cores: int) -> float | None:
    """A figure in seconds, summed over the windows, as a share of the time that the cores had; None if unknown."""
    seconds = []
    for window in windows:
        value = None if window.surroundings is None else figure(window.surroundings)
        if value is None:
            return None
        seconds.append(value)
    total = sum(window.window_seconds for window in windows) * cores
    return max(0.0, sum(seconds)) / total if total > 0 else None
