"""bench_harness: a measurement laboratory for memory allocators.

It measures any allocator through malloc and free, as a program meets it: one fresh process per cell,
interleaved rounds, paired statistics. It knows nothing of the allocators' internals. Start with `python -m
bench_harness list`.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
