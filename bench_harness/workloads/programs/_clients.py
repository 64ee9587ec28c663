"""The clients of the workload `uvicorn`: real connections on loopback, in closed or open loop.

    python _clients.py PORT REQUESTS CONNECTIONS RATE SEED

RATE 0 is a closed loop: each connection sends its next request when it has its answer. Any other RATE is an open loop:
requests are due so many times a second whatever the service does, and a request's time counts from when it was due,
so that waiting behind a slow one is part of it. Prints one line of JSON: answers, and percentiles of their time.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

KINDS = (("item", 0.80), ("order", 0.19), ("report", 0.01))
PERCENTILES = (50.0, 99.0, 99.9)


def make_request(draw: random.Random, number: int) -> tuple[bytes, str]:
    """The bytes of a request, and what its answer must contain."""
    (kind,) = draw.choices([k for k, _ in KINDS], [share for _, share in KINDS])
    body = b""
    if kind == "order":
        rows = [{"sku": f"sku {k}", "price": k + 0.5, "note": "x" * draw.randrange(60)} for k in range(40)]
        body = json.dumps({"rows": rows}).encode()
    head = f"{'POST' if body else 'GET'} /{kind}/{number} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    wanted = {
        "order": '"total": 800.0',
        "item": f'"id": {number % 5000},',
        "report": f"row {number} of report {number}",
    }
    return head.encode() + body, wanted[kind]


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> str:
    """Send a request and read its whole answer."""
    writer.write(request)
    status = await reader.readline()
    length = 0
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body = (await reader.readexactly(length)).decode()
    if b" 200 " not in status:
        raise RuntimeError(f"the service answered {status.decode().strip()}")
    return body


async def run(port: int, requests: int, connections: int, rate: float, seed: int) -> list[float]:
    """The time of every request in seconds."""
    draw = random.Random(seed)
    made = [make_request(draw, n) for n in range(requests)]
    times: list[float] = []
    began = time.perf_counter()
    numbers = iter(range(requests))

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for n in numbers:
            due = began + n / rate if rate else time.perf_counter()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            request, wanted = made[n]
            answer = await ask(reader, writer, request)
            if wanted not in answer:
                raise RuntimeError(f"the answer to request {n} lacks {wanted!r}")
            times.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(connections)))
    return sorted(times)


def main() -> None:
    """Run and print."""
    port, requests, connections, rate, seed = (float(text) for text in sys.argv[1:])
    times = asyncio.run(run(int(port), int(requests), int(connections), rate, int(seed)))
    told = {f"request_p{p:g}_us": 1e6 * times[min(len(times) - 1, int(len(times) * p / 100))] for p in PERCENTILES}
    print(json.dumps({"answers": len(times), **told, "request_longest_us": 1e6 * times[-1]}))


if __name__ == "__main__":
    main()
