"""What a run takes of the machine."""

import resource

import jax


def memory() -> dict[str, float]:
    """Returns the peak resident memory of this process and, where the device tells, of the first device; in MiB."""
    found = {"peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        found["device_memory_mb"] = stats["peak_bytes_in_use"] / 2**20
    return found
