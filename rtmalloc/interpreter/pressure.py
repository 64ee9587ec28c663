"""Callbacks for memory pressure: a thread waits for the kernel to say so, flushes the allocator, and calls them."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from rtmalloc import _core
from rtmalloc.interpreter.options import options

_JOIN_SECONDS = 1.0


class PressureCallback:
    """A registered callback; :meth:`remove` ends it."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        """What is called."""

    def remove(self) -> None:
        """Call it no more. A call that has begun goes on; removing it twice does nothing."""
        with _lock:
            if self in _callbacks:
                _callbacks.remove(self)
            if not _callbacks:
                _stop()


class _Waiter:
    """The thread that waits, and what it waits on."""

    def __init__(self) -> None:
        self.watch = _core.PressureWatch(options()["pressure_stall_ms"].value)
        self.ends = False
        self.thread = threading.Thread(target=self.run, name="rtmalloc-pressure", daemon=True)

    def run(self) -> None:
        """Wait, flush, call; until it is told to end."""
        while not self.ends:
            spoken, _ = self.watch.wait()
            if self.ends:
                break
            if spoken:
                _core.pressure_alarm()
            # A wake-up without an alarm is the allocator's: the kernel refused memory, and everything is flushed.
            for callback in tuple(_callbacks):
                _core.call_reporting(callback.function)
        self.watch.close()

    def end(self) -> None:
        """Ask the thread to end."""
        self.ends = True
        self.watch.wake()


_lock = threading.Lock()
_callbacks: list[PressureCallback] = []
_waiter: _Waiter | None = None
_prepared = False


def on_memory_pressure(callback: Callable[[], object]) -> PressureCallback:
    """Call ``callback()`` whenever memory is short, after the allocator has given back all that it can.

    It is called from a daemon thread of its own, never from inside an allocation, when the kernel reports pressure (PSI
    of the process's cgroup or of the system, ``memory.events`` of the cgroup; :func:`rtmalloc.status` tells which are
    watched), when it has refused memory, and after :func:`announce_memory_pressure`. It may allocate and take its time:
    what happens meanwhile is told by one further call. What it raises goes to ``sys.unraisablehook``. A forked child, a
    server's worker for instance, has the callbacks too, and a thread of its own that waits.

    Args:
        callback: without arguments, for instance a cache's ``clear``. Registered twice it is called twice.

    Returns:
        The registration, with a method ``remove()``.

    Raises:
        TypeError: when ``callback`` cannot be called.
        OSError: when no file descriptor is left to wait on.
        RuntimeError: when no thread can be started: at the interpreter's end, or in a sub-interpreter without threads.
    """
    if not callable(callback):
        raise TypeError(f"a callback is called without arguments; {callback!r} cannot be called")
    registration = PressureCallback(callback)
    with _lock:
        _start()
        _callbacks.append(registration)
    return registration


def announce_memory_pressure() -> bool:
    """Do what the kernel's report of pressure does: an emergency flush, then the callbacks, in their own thread.

    For programs that know better than the kernel: a supervisor's signal, a limit of their own.

    Returns:
        Whether any memory went back to the kernel.
    """
    gave = _core.flush_everything()
    with _lock:
        if _waiter is not None:
            _waiter.watch.wake()
    return gave


def watched() -> int:
    """The sources that this module's thread watches now, as bits of ``_core.PRESSURE_NAMES``."""
    waiter = _waiter
    return waiter.watch.kinds if waiter is not None else 0


def _start() -> None:
    """Make sure that somebody waits; under the lock."""
    global _waiter, _prepared
    if _waiter is not None:
        return
    waiter = _Waiter()
    try:
        waiter.thread.start()
    except RuntimeError:
        waiter.watch.close()
        raise
    waiter.watch.listen()
    _waiter = waiter
    if not _prepared:
        os.register_at_fork(after_in_child=_begin_in_child)
        atexit.register(_end)
        _prepared = True


def _stop() -> None:
    """Let nobody wait any more; under the lock."""
    global _waiter
    if _waiter is not None:
        _waiter.watch.unlisten()
        _waiter.end()
        _waiter = None


def _end() -> None:
    """Before the interpreter goes: no callback runs into what is being torn down, if it ends in time."""
    with _lock:
        waiter = _waiter
        _callbacks.clear()
        _stop()
    if waiter is not None and waiter.thread is not threading.current_thread():
        waiter.thread.join(_JOIN_SECONDS)


def _begin_in_child() -> None:
    """The thread stayed behind at a fork, and its descriptors are the parent's pipe and triggers: start another."""
    global _lock, _waiter
    _lock = threading.Lock()
    if _waiter is None:
        return
    _waiter.watch.close()
    _waiter = None
    # Without a descriptor or a thread left this child has no callbacks; that is no reason to end it.
    with suppress(OSError, RuntimeError):
        _start()
