"""What the console script imports with ``-I -S``, from this folder, for a program to start: the launcher alone.

The package's own ``__init__`` loads the extension, which a launcher has no need of and ten milliseconds no room for. So
the package is an empty one here, until something else than starting a program is asked.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.argv[:2] = ["rtmalloc"]
sys.path[0] = os.path.dirname(FOLDER)
for name, path in (("rtmalloc", FOLDER), ("rtmalloc.launcher", os.path.join(FOLDER, "launcher"))):
    package = type(sys)(name)
    package.__path__ = [path]
    sys.modules[name] = package

from rtmalloc.launcher import launch  # noqa: E402

try:
    if sys.argv[1:2] == ["run"]:
        launch.launch_from(sys.argv[2:])
    else:
        launch.launch_python(sys.argv[1:], ())
except (launch.LaunchError, OSError, ValueError) as error:
    launch.end_with(error)

# `run --help`, for instance: with the package as it is.
for name in ("rtmalloc", "rtmalloc.launcher"):
    del sys.modules[name]
from rtmalloc.cli import console  # noqa: E402

console()
