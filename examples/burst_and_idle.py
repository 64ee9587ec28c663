"""Does the memory of a burst come back? Run it on each allocator and compare what it prints.

20 000 JSON documents of about 7 KiB in memory are parsed and kept, 98 % of them dropped at random, then the service
idles for two seconds with a few requests. Prints MiB of resident memory above the start, as one JSON object.

    python examples/burst_and_idle.py
    python -m rtmalloc examples/burst_and_idle.py
    python examples/burst_and_idle.py --install
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time

DOCUMENTS = 20_000
KEPT = 0.02
IDLE_SECONDS = 2.0
REQUESTS_PER_SECOND = 20
MIB = 1 << 20


def resident() -> float:
    """Resident memory of this process, in MiB."""
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Rss:")) / 1024


def document(number: int) -> str:
    """One document, as JSON text: 7 KiB once it is parsed."""
    items = [
        {"sku": f"item {number} {n}", "price": number + n / 100, "tags": [f"{number}-{n}", "new"], "left": n * 1000}
        for n in range(12)
    ]
    return json.dumps({"id": number, "user": f"user {number}", "items": items})


def main() -> None:
    """The burst, the drop and the idle time."""
    if "--install" in sys.argv:
        import rtmalloc

        rtmalloc.install()
    choose = random.Random(7).random
    texts = [document(n) for n in range(200)]
    start = resident()
    begun = time.perf_counter()
    kept = [json.loads(texts[n % 200]) for n in range(DOCUMENTS)]
    burst_seconds = time.perf_counter() - begun
    peak = resident() - start
    kept = [one for one in kept if choose() < KEPT]
    gc.collect()
    dropped = resident() - start
    end = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < end:
        json.loads(texts[int(choose() * 200)])
        time.sleep(1 / REQUESTS_PER_SECOND)
    idle = resident() - start
    print(
        json.dumps(
            {
                "peak_mib": round(peak, 1),
                "dropped_mib": round(dropped, 1),
                "idle_mib": round(idle, 1),
                "burst_seconds": round(burst_seconds, 3),
                "kept": len(kept),
            }
        )
    )


if __name__ == "__main__":
    main()
