"""How many threads Faiss uses, and which Faiss it is."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import faiss


@contextmanager
def single_thread() -> Iterator[None]:
    """Let the calling thread's Faiss work run on one core: what a latency per query means."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def faiss_versions() -> dict[str, str | int]:
    """Return what decides how an index computes: version, SIMD level, compile options, threads, machine."""
    return {
        "faiss": faiss.__version__,
        "simd_level": faiss.SIMDConfig.get_level_name(),
        "compile_options": faiss.get_compile_options().strip(),
        "num_threads": faiss.omp_get_max_threads(),
        "machine": platform.machine(),
    }
