"""Real programs as workloads: each script starts one under the allocator, drives it, and reports as a cell does."""
