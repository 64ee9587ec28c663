"""Ablation: every idea of an allocator switched on and off, and measured: `python -m bench_harness ablate`."""
