"""Measuring: workloads, plans, one cell in a process of its own, the run, and its result file."""
