"""Native cells: Python-free executables, each one workload, and the pieces they share."""
