"""Programs that do unpleasant things while a heap profile is recorded, for every CPython of this machine.

Where this version's frames are known, `seen()` has the functions of the live sites; else the profile has to say that it
has no Python frames.
"""

from __future__ import annotations

BEGIN = """
import gc, json, os, sys, threading, time
import rtmalloc
from rtmalloc import profile
profile.heap_start(4096)
KNOWN = sys.version_info < (3, 16)
assert (profile.heap().python == "Python frames") == KNOWN, profile.heap().python
def seen(): return {f.function.split(".")[0] for s in profile.heap().sites for f in s.frames if f.line}
def holds(*names):
    found = seen()
    assert (set(names) <= found) if KNOWN else not found, (names, sorted(found))
"""

PROGRAMS = {
    "settrace": """
kept = []
def tracer(frame, event, argument):
    kept.append(bytes(500))
    return tracer
def traced():
    for _ in range(2000): kept.append(bytearray(500))
sys.settrace(tracer); traced(); sys.settrace(None)
sys.setprofile(lambda *_: kept.append(bytes(500))); traced(); sys.setprofile(None)
holds("tracer", "traced", "<lambda>")
""",
    "signal handlers": """
import signal
kept = []
def handler(number, frame): kept.append([bytes(600) for _ in range(100)])
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
def busy(): return [bytes(n) for n in range(3000)]
end = time.monotonic() + 0.5
while time.monotonic() < end or len(kept) < 20: last = busy()
signal.setitimer(signal.ITIMER_REAL, 0)
holds("handler", "busy")
""",
    "sub-interpreters": """
code = '''
def inside(): return [bytes(700) for _ in range(4000)]
kept = inside()
for n in range(200): exec(compile("def f%d(): return [bytes(900)] * 3" % n, "made%d.py" % n, "exec"))
'''
import _testcapi
for _ in range(5):
    assert _testcapi.run_in_subinterp(code) == 0
def outside(): return [bytes(700) for _ in range(4000)]
kept = outside()
holds("outside")
""",
    "the end of the interpreter": """
class Last:
    def __del__(self): self.kept = [bytes(1000) for _ in range(3000)]
one = Last(); sys.modules["a module that is taken down late"] = Last()
def churn():
    while True: [bytes(n) for n in range(0, 5000, 7)]
for _ in range(3): threading.Thread(target=churn, daemon=True).start()
import atexit
atexit.register(lambda: [bytes(n) for n in range(2000)])
time.sleep(0.1)
holds("churn")
""",
    "frames that end badly": """
def deep(n): return [bytes(300), deep(n + 1)]
for _ in range(20):
    try: deep(0)
    except RecursionError as error: kept = [bytes(2000), error]
def generator():
    try:
        while True: yield bytes(3000)
    finally: ends.append([bytes(400) for _ in range(50)])
ends = []
for _ in range(300):
    g = generator(); next(g); del g
for n in range(500):
    space = {}
    exec(compile(f"def gone{n}(): return [bytes(i) for i in range(200)]", f"gone{n}.py", "exec"), space)
    space[f"gone{n}"]()
holds("generator")
""",
    "the collector": """
class Node:
    def __init__(self): self.me, self.data = self, bytes(800)
    def __del__(self): self.more = [bytes(500) for _ in range(5)]
gc.callbacks.append(lambda *_: [bytes(n) for n in range(300)])
gc.set_threshold(50)
def knots():
    for _ in range(5000): Node()
    return [Node() for _ in range(500)]
kept = knots()
holds("knots")
""",
    "profiles while threads come and go": """
stop = False
def storm():
    while not stop:
        threads = [threading.Thread(target=lambda: [bytes(n) for n in range(800)]) for _ in range(5)]
        for t in threads: t.start()
        for t in threads: t.join()
storms = [threading.Thread(target=storm) for _ in range(2)]
for t in storms: t.start()
for _ in range(20): profile.heap()
stop = True
for t in storms: t.join()
raw = profile.heap().raw
assert raw["left_out"] == 0 and abs(raw["sampled"] - raw["freed"] - len(raw["live"]) - len(raw["large"]) + 2) <= 2
""",
    "forks": """
def churn():
    while not stop: [bytes(n) for n in range(0, 5000, 7)]
stop = False
def child(): return [bytes(900) for _ in range(3000)]
threads = [threading.Thread(target=churn) for _ in range(2)]
for t in threads: t.start()
for _ in range(10):
    if (pid := os.fork()) == 0:
        try:
            kept = child(); holds("child")
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True); os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for t in threads: t.join()
""",
}

GREENLETS = """
import greenlet
kept = []
def deep(n):
    kept.append(bytes(700))
    if n % 5 == 0: greenlet.getcurrent().parent.switch()
    if n: deep(n - 1)
def run(): deep(60)
lets = [greenlet.greenlet(run) for _ in range(50)]
while lets:
    for let in lets: let.switch()
    lets = [let for let in lets if not let.dead]
    if len(lets) > 40: lets.pop().throw()
    elif lets and len(kept) > 2500: del lets[-1]
gc.collect()
holds("deep", "run")
"""


def program(body: str, install: bool) -> str:
    """The whole text of a program that prints true."""
    return f"import rtmalloc; rtmalloc.install()\n{BEGIN}{body}" if install else BEGIN + body
