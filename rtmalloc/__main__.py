"""``python -m rtmalloc``: the same program as the console script ``rtmalloc``."""

from rtmalloc.cli import main

main()
