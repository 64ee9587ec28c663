"""The workloads: one `.pyx` file each for native cells, and Python scripts in `python/`."""
