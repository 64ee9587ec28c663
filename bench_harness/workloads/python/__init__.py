"""Python workloads: scripts that run under a route; `_cell.py` is what they share."""
