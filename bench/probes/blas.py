"""The BLAS and OpenMP builds that are loaded in this process."""

import threadpoolctl


def blas_builds() -> list[str]:
    """One line a library: what it is, its version, the kernels it chose for this CPU, its threads.

    Only libraries that threadpoolctl can see; those linked statically into a framework (MKL in torch, oneDNN in
    TensorFlow) are named by the framework's own versions.
    """
    found = set()
    for library in threadpoolctl.threadpool_info():
        facts = [library.get("internal_api"), library.get("version"), library.get("architecture")]
        words = [str(fact) for fact in facts if fact]
        found.add(f"{' '.join(words)}, {library.get('num_threads')} thread(s)")
    return sorted(found)
