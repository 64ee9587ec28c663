"""Real applications on loopback, with workers that come and go. What is not installed here is skipped by name."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.python.programs import answer, clean_environment, run, run_code, succeed

ROUTES = ["install", "launcher"]

SERVICE = """
import json, os
if os.environ.get("INSTALL"):
    import rtmalloc
    rtmalloc.install()

def answer(number):
    import rtmalloc
    rows = [{"id": n, "name": f"row {n}", "values": [n] * 10} for n in range(number)]
    text = json.dumps(rows)
    return json.dumps({"domains": sorted(rtmalloc.status().domains), "pid": os.getpid(), "rows": len(json.loads(text))})

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [answer(int(environ["QUERY_STRING"])).encode()]

async def asgi(scope, receive, send):
    if scope["type"] != "http": return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer(int(scope["query_string"])).encode()})
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve_and_ask(arguments: list[str], port: int, folder: Path, route: str) -> set[int]:
    """Start a server on a route, ask it 300 times from 4 threads, stop it; the processes that answered."""
    (folder / "service.py").write_text(SERVICE)
    start = [sys.executable, *(["-m", "rtmalloc"] if route == "launcher" else []), *arguments]
    env = clean_environment({"INSTALL": "1"} if route == "install" else {})
    env["PYTHONPATH"] += f":{folder}"
    log = (folder / "log").open("w+")
    # (A job of a shell in the background ignores SIGINT, and so would the server.)
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    server = subprocess.Popen(start, env=env, cwd=folder, stdout=log, stderr=log, preexec_fn=heed)
    answers: list[dict[str, object]] = []

    def ask() -> None:
        for number in range(75):
            for attempt in range(100):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{number * 10}", timeout=20) as reply:
                        answers.append(json.load(reply))
                    break
                except OSError:
                    # Not up yet, or a worker that was being replaced.
                    assert attempt < 99 and server.poll() is None
                    time.sleep(0.1)

    try:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        log.seek(0)
        said = log.read()
    assert len(answers) == 300, said
    assert all(one["domains"] == ["mem", "obj", "raw"] for one in answers), said
    assert "Segmentation" not in said and "signal 6" not in said and "signal 11" not in said, said
    return {int(str(one["pid"])) for one in answers}


@pytest.mark.parametrize("route", ROUTES)
def test_threaded_wsgi_server(route: str, tmp_path: Path) -> None:
    port = free_port()
    code = f"""
import service, socketserver, wsgiref.simple_server as w
class Server(socketserver.ThreadingMixIn, w.WSGIServer): daemon_threads = True
class Quiet(w.WSGIRequestHandler):
    def log_message(self, *arguments): pass
w.make_server('127.0.0.1', {port}, service.app, Server, Quiet).serve_forever()
"""
    assert len(serve_and_ask(["-c", code], port, tmp_path, route)) == 1


@pytest.mark.parametrize("route", ROUTES)
def test_gunicorn_with_recycled_workers(route: str, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="gunicorn is not installed in this environment")
    port = free_port()
    arguments = ["-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-w", "2", "--threads", "2", "--max-requests", "40"]
    # More than two: workers were replaced.
    assert len(serve_and_ask([*arguments, "service:app"], port, tmp_path, route)) > 2


@pytest.mark.parametrize("route", ROUTES)
def test_uvicorn(route: str, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed in this environment")
    port = free_port()
    arguments = ["-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "service:asgi"]
    assert len(serve_and_ask(arguments, port, tmp_path, route)) == 1


CELERY = """
import os
if os.environ.get("INSTALL"):
    import rtmalloc
    rtmalloc.install()
import json, celery

folder = os.environ["FOLDER"]
app = celery.Celery("tasks", broker="filesystem://", backend="file://" + folder + "/results")
app.conf.update(
    broker_transport_options={"data_folder_in": folder + "/queue", "data_folder_out": folder + "/queue",
                              "control_folder": folder + "/control", "processed_folder": folder + "/done"},
    worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True,
)

@app.task
def work(number):
    import rtmalloc
    rows = [{"id": n, "text": "x" * (n % 300)} for n in range(number)]
    return [len(json.loads(json.dumps(rows))), sorted(rtmalloc.status().domains), os.getpid()]
"""


@pytest.mark.parametrize("route", ROUTES)
def test_celery_with_recycled_workers(route: str, tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="celery is not installed in this environment")
    for name in ("queue", "control", "done", "results"):
        (tmp_path / name).mkdir()
    (tmp_path / "tasks.py").write_text(CELERY)
    env = clean_environment({"FOLDER": str(tmp_path), **({"INSTALL": "1"} if route == "install" else {})})
    env["PYTHONPATH"] += f":{tmp_path}"
    start = [sys.executable, *(["-m", "rtmalloc"] if route == "launcher" else [])]
    options = ["--pool", "prefork", "--concurrency", "2", "--max-tasks-per-child", "8", "--loglevel", "warning"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    log = (tmp_path / "log").open("w+")
    worker = subprocess.Popen(
        [*start, "-m", "celery", "-A", "tasks", "worker", *options], env=env, cwd=tmp_path, stdout=log, stderr=log
    )
    ask = """
import json, tasks
results = [tasks.work.delay(n * 20) for n in range(80)]
print(json.dumps([result.get(timeout=50, interval=0.05) for result in results]))
"""
    try:
        client = {name: env[name] for name in ("FOLDER", "PYTHONPATH")}
        answers = answer(run([sys.executable, "-c", ask], client, tmp_path))
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
        log.seek(0)
        said = log.read()
    assert [rows for rows, _, _ in answers] == [n * 20 for n in range(80)], said
    assert all(domains == ["mem", "obj", "raw"] for _, domains, _ in answers), said
    # More than two: children were replaced after eight tasks.
    assert len({pid for _, _, pid in answers}) > 4, said
    assert "Segmentation" not in said and "SIGSEGV" not in said and "SIGABRT" not in said, said


@pytest.mark.parametrize("route", ROUTES)
def test_pandas(route: str) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed in this environment")
    code = """
import io, numpy, pandas
for seed in range(5):
    random = numpy.random.default_rng(seed)
    frame = pandas.DataFrame({'key': random.integers(0, 100, 50000), 'value': random.random(50000),
                              'name': [f'n{i % 997}' for i in range(50000)]})
    groups = frame.groupby('key')['value'].agg(['mean', 'sum'])
    again = pandas.read_csv(io.StringIO(frame.merge(groups, on='key').to_csv(index=False)))
    assert len(again) == 50000 and abs(again['value'].sum() - frame['value'].sum()) < 1e-6
"""
    succeed(run_code(code, route))


@pytest.mark.parametrize("route", ROUTES)
def test_lxml(route: str) -> None:
    pytest.importorskip("lxml", reason="lxml is not installed in this environment")
    code = """
from lxml import etree
for _ in range(20):
    root = etree.Element('root')
    for i in range(3000): etree.SubElement(root, 'item', id=str(i)).text = 'x' * (i % 300)
    again = etree.fromstring(etree.tostring(root))
    assert len(again.xpath('//item[@id > 1500]')) == 1499
    for item in list(again)[::2]: again.remove(item)
"""
    succeed(run_code(code, route))


@pytest.mark.parametrize("route", ROUTES)
def test_pillow(route: str) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed in this environment")
    code = """
import io
from PIL import Image, ImageFilter
for i in range(10):
    image = Image.new('RGB', (640, 480), (i, 2, 3)).filter(ImageFilter.GaussianBlur(2)).resize((300, 200)).rotate(30)
    for format in ('PNG', 'JPEG'):
        out = io.BytesIO(); image.save(out, format); assert Image.open(io.BytesIO(out.getvalue())).size == (300, 200)
"""
    succeed(run_code(code, route))
