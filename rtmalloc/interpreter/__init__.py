"""The calls that change or ask this process: install, options, pressure, verify."""
