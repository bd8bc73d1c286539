"""The CUDA devices of this machine, through NVIDIA's management library."""

import pynvml


def list_gpus() -> tuple[list[str], str | None]:
    """Names of the cards with their UUIDs, and the reason where there is none."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return [], f"NVML says: {error}"
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        cards = [f"{pynvml.nvmlDeviceGetName(handle)} ({pynvml.nvmlDeviceGetUUID(handle)})" for handle in handles]
        return cards, None if cards else "NVML lists no card"
    except pynvml.NVMLError as error:
        return [], f"NVML says: {error}"
    finally:
        pynvml.nvmlShutdown()
