"""The background thread across fork, exec, exit and signals: it is there, and nobody notices."""

from __future__ import annotations

import signal
import sys

import pytest

from tests.python.programs import answer, needs_objects, run, run_code

pytestmark = needs_objects

# Every program begins with the thread running; its number is `tid`.
START = """
import json, os, signal, sys, threading, time
def tasks(): return {int(t): open(f'/proc/self/task/{t}/comm').read().strip() for t in os.listdir('/proc/self/task')}
def background(): return [tid for tid, name in tasks().items() if name == 'rtmalloc']
def stir():
    end = time.monotonic() + 30
    while not background():
        assert time.monotonic() < end
        kept = [bytes(n) for n in range(100)]
    return background()[0]
kept = [bytes(1000) for _ in range(30_000)]
tid = stir()
"""
ON = {"RTMALLOC_OPTIONS": "background_thread=1,dirty_decay_ms=60000"}


def test_it_blocks_all_signals() -> None:
    code = START + (
        "status = dict(l.split(':\\t') for l in open(f'/proc/self/task/{tid}/status').read().splitlines())\n"
        "print(json.dumps(int(status['SigBlk'], 16)))"
    )
    blocked = answer(run_code(code, "launcher", env=ON))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        assert blocked >> (number - 1) & 1, number


def test_handlers_run_in_the_program_s_threads() -> None:
    # Signals for the process, while the main thread sleeps in the kernel: each interrupts it.
    code = START + (
        "seen = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: seen.append(threading.get_native_id()))\n"
        "for _ in range(50):\n"
        "    done = len(seen); os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    while len(seen) == done: time.sleep(0.001)\n"
        "print(json.dumps([len(seen), set(seen) == {os.getpid()}]))"
    )
    assert answer(run_code(code, "launcher", env=ON)) == [50, True]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
def test_a_signal_ends_the_process(number: signal.Signals) -> None:
    code = START + f"signal.signal({int(number)}, signal.SIG_DFL); os.kill(os.getpid(), {int(number)}); time.sleep(60)"
    assert run_code(code, "launcher", env=ON).returncode == -number


@pytest.mark.parametrize("ending", ["sys.exit(3)", "os._exit(3)", "os.execv('/bin/sh', ['sh', '-c', 'exit 3'])"])
def test_exit_and_exec_while_it_runs(ending: str) -> None:
    for _ in range(5):
        finished = run_code(START + ending, "launcher", env=ON)
        assert (finished.returncode, finished.stderr) == (3, "")


def test_it_is_not_in_a_forked_child_and_comes_back_in_both() -> None:
    code = START + (
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    ok = not background() and stir()\n"
        "    os._exit(0 if ok else 1)\n"
        "again = stir()\n"
        "print(json.dumps([os.waitpid(pid, 0)[1], again != tid]))"
    )
    assert answer(run_code(code, "launcher", env=ON)) == [0, True]


def test_a_fork_finds_no_thread_of_ours_on_a_busy_machine() -> None:
    # CPython counts threads behind the fork's handlers, from 3.12 on, and warns of others than the main one.
    code = START + (
        "def handler(): [bytes(n) for n in range(300)]\n"
        "os.register_at_fork(after_in_parent=handler)\n"
        "busy = []\n"
        "for _ in range(2 * os.cpu_count()):\n"
        "    if (pid := os.fork()) == 0:\n"
        "        while os.getppid() != 1: pass\n"
        "        os._exit(0)\n"
        "    busy.append(pid)\n"
        "seen = []\n"
        "for _ in range(60):\n"
        "    stir()\n"
        "    if (pid := os.fork()) == 0: os._exit(0)\n"
        "    seen.append(int(open('/proc/self/stat').read().rsplit(')', 1)[1].split()[17]))\n"
        "    os.waitpid(pid, 0)\n"
        "for pid in busy: os.kill(pid, 9); os.waitpid(pid, 0)\n"
        "print(json.dumps(sorted(set(seen))))"
    )
    assert answer(run_code(code, "launcher", flags=["-W", "error"], env=ON)) == [1]


def test_many_forks_from_a_busy_process() -> None:
    # Threads of the program tick, and start the background thread, while another one forks.
    code = START + (
        "stop = threading.Event()\n"
        "def work():\n"
        "    while not stop.is_set(): kept = [bytes(n) for n in range(2000)]\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "for t in threads: t.start()\n"
        "codes = []\n"
        "for _ in range(40):\n"
        "    pid = os.fork()\n"
        "    if pid == 0: kept = [bytes(n) for n in range(2000)]; os._exit(0)\n"
        "    codes.append(os.waitpid(pid, 0)[1])\n"
        "stop.set()\n"
        "for t in threads: t.join()\n"
        "print(json.dumps(codes))"
    )
    finished = run([sys.executable, "-W", "ignore", "-m", "rtmalloc", "-W", "ignore", "-c", code], env=ON)
    assert answer(finished) == [0] * 40


def test_a_process_ends_when_its_own_threads_have_ended() -> None:
    # The main thread leaves by pthread_exit: what is left is the background thread, which has nothing to do soon.
    code = START + "import ctypes; ctypes.CDLL(None).pthread_exit(None)"
    env = {"RTMALLOC_OPTIONS": "background_thread=1,dirty_decay_ms=10,purge_adaptive=0"}
    assert run_code(code, "launcher", env=env).returncode == 0
