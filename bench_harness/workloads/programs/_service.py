"""The web service of the workload `uvicorn`: a small ASGI application without a framework."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CATALOGUE = {
    n: {"id": n, "name": f"item {n}", "price": n * 0.25, "tags": [f"tag {n % 17}", f"tag {n % 5}"]} for n in range(5000)
}
SESSIONS: OrderedDict[int, dict[str, Any]] = OrderedDict()
SESSIONS_MOST = 500


def item(number: int, _: bytes) -> Any:
    """A single entry."""
    return CATALOGUE[number % len(CATALOGUE)]


def report(number: int, _: bytes) -> Any:
    """Some hundred kilobytes, built for this answer."""
    return [
        {**CATALOGUE[k % len(CATALOGUE)], "rank": k - number, "text": f"row {k} of report {number}"}
        for k in range(number, number + 1500)
    ]


def order(number: int, body: bytes) -> Any:
    """A document is parsed, kept for a while, and answered with a sum."""
    SESSIONS[number] = json.loads(body)
    while len(SESSIONS) > SESSIONS_MOST:
        SESSIONS.popitem(last=False)
    return {"order": number, "total": sum(row["price"] for row in SESSIONS[number]["rows"])}


ROUTES = {"item": item, "report": report, "order": order}


def answer(kind: str, number: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of an answer."""
    if kind not in ROUTES or not number.isdigit():
        return 404, b"null"
    return 200, json.dumps(ROUTES[kind](int(number), body)).encode()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer /KIND/NUMBER in JSON; everything else is 404. A pool's threads do it, as frameworks let them."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    _, _, rest = scope["path"].partition("/")
    kind, _, number = rest.partition("/")
    status, data = await asyncio.to_thread(answer, kind, number, body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
