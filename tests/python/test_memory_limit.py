"""``set_memory_limit``: sizes in words, what the numbers tell, and storms of changes."""

from __future__ import annotations

import pytest

from rtmalloc.settings import options_parse, size_parse
from tests.python.programs import answer, needs_objects, run_code

pytestmark = needs_objects


@pytest.mark.parametrize(("text", "number"), [("4096", 4096), ("2K", 2048), ("3MiB", 3 << 20), ("1g", 1 << 30)])
def test_sizes_in_words(text: str, number: int) -> None:
    assert size_parse(text) == number
    assert options_parse(f"memory_limit={text}") == {"memory_limit": number}


@pytest.mark.parametrize("text", ["", "M", "3X", "1.5G", "-1M", "1MM"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="no number of bytes"):
        size_parse(text)


def test_it_is_set_while_threads_storm() -> None:
    code = (
        "import json, threading, rtmalloc\n"
        "stop = threading.Event()\n"
        "def work():\n"
        "    while not stop.is_set(): kept = [bytes(n) for n in range(3000)]\n"
        "threads = [threading.Thread(target=work) for _ in range(3)]\n"
        "for t in threads: t.start()\n"
        "for turn in range(200): rtmalloc.set_memory_limit((1 << 20) << turn % 8, None)\n"
        "rtmalloc.set_memory_limit('1M'); counters = rtmalloc.stats().counters\n"
        "stop.set()\n"
        "for t in threads: t.join()\n"
        "print(json.dumps([counters['limit'], counters['limit_rounds'] > 0]))"
    )
    assert answer(run_code(code, "launcher")) == [1 << 20, True]


def test_the_hard_limit_is_a_memory_error_and_leaves_the_rest() -> None:
    code = (
        "import json, rtmalloc; rtmalloc.set_memory_limit(None, hard='100M')\n"
        "try: kept = bytearray(200 << 20); refused = False\n"
        "except MemoryError: refused = True\n"
        "rtmalloc.set_memory_limit(None); kept = bytearray(200 << 20)\n"
        "print(json.dumps([refused, len(kept) >> 20]))"
    )
    assert answer(run_code(code, "launcher")) == [True, 200]
