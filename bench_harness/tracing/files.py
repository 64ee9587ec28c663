"""Trace files: found, made ready for a replay, and written. `docs/traces.md` describes what is in them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import BIN, PACKAGE
from bench_harness.tracing.formats import read_text_trace

__all__ = ["SUFFIX", "TraceHead", "compress", "find_trace", "make_plain", "prepare", "read_head", "shipped_traces"]

SUFFIX = ".trace.zst"
SHIPPED = PACKAGE / "traces"
CACHE = BIN / "traces"  # plain files, as cells read them
CACHE_MOST = 2 << 30  # bytes; the files that were not used for the longest time go
SLICE_EVENTS = 4096  # see native/trace/player.pxd: what is live at once is that of the recording but for two slices
LEVEL, QUICK_LEVEL = 19, 6  # of compression: a trace is written once and read often, but a long one must end
LONG = 64 << 20  # bytes of a plain trace from which on it is compressed quickly
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_MAGIC = b"bhtrace\1"
_KINDS = ("mallocs", "callocs", "aligned", "frees", "reallocs")
_NAMES = (
    "bytes", "events", *_KINDS, "threads", "slices", "slice_events", "segments", "index_at", "threads_at", "info_at",
    "info_bytes", "shared_slots", "microseconds", "peak_bytes", "peak_blocks", "end_bytes", "end_blocks", "handed",
    "inherited", "unknown", "unfreed", "lost", "longest",
)  # fmt: skip
_HEADER = struct.Struct(f"<8s{len(_NAMES)}Q")


@dataclass(frozen=True)
class TraceHead:
    """A trace's header: `fields` by the names of `native/trace/trace.h`, and what is told of how it was made."""

    fields: dict[str, int]
    info: dict[str, Any]

    def __getitem__(self, name: str) -> int:
        """A field of the header."""
        return self.fields[name]


def shipped_traces() -> dict[str, Path]:
    """The traces that come with the harness, by name."""
    return {path.name.removesuffix(SUFFIX): path for path in sorted(SHIPPED.glob(f"*{SUFFIX}"))}


def find_trace(text: str) -> Path:
    """The file that `file=TEXT` means: a path, or the name of a trace that comes with the harness.

    Raises:
        UsageError: there is none.
    """
    if os.sep not in text and text in shipped_traces():
        return shipped_traces()[text]
    path = Path(text)
    if not path.is_file():
        raise UsageError(f"file={text}: no such file; with the harness come {', '.join(shipped_traces())}")
    return path.resolve()


def _head_of(data: bytes, source: Path) -> dict[str, int]:
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        raise HarnessError(f"{source}: not a trace of this harness's version")
    return dict(zip(_NAMES, _HEADER.unpack(data[: _HEADER.size])[1:], strict=True))


def read_head(plain: Path) -> TraceHead:
    """The header of a plain trace.

    Raises:
        HarnessError: it is none, or is not whole.
    """
    with plain.open("rb") as file:
        fields = _head_of(file.read(_HEADER.size), plain)
        if plain.stat().st_size != fields["bytes"]:
            raise HarnessError(f"{plain}: cut: {plain.stat().st_size} of {fields['bytes']} bytes are there")
        file.seek(fields["info_at"])
        info = json.loads(file.read(fields["info_bytes"]))
    return TraceHead(fields, info)


def make_plain(target: Path, info: dict[str, Any], raws: Sequence[str], slice_events: int = SLICE_EVENTS) -> None:
    """Make a plain trace of a recorder's file.

    Args:
        target: the trace.
        info: goes into it, as JSON.
        raws: the files of the process's ancestors with their `:UNTIL`, the oldest first, and its own.
        slice_events: operations of a slice.
    Raises:
        HarnessError: the tool failed; the message is its own.
    """
    command = [str(BIN / "trace_make"), str(target), str(slice_events), json.dumps(info), *raws]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise HarnessError(done.stderr.strip() or f"trace_make ended with status {done.returncode}")


def compress(plain: Path, target: Path) -> None:
    """Write a plain trace as a `.trace.zst`, in place only when it is complete."""
    level = LEVEL if plain.stat().st_size < LONG else QUICK_LEVEL
    context = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with plain.open("rb") as source, scratch.open("wb") as sink:
            context.copy_stream(source, sink, size=plain.stat().st_size)
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def _decompress(path: Path, target: Path) -> None:
    try:
        with path.open("rb") as source, target.open("wb") as sink:
            zstandard.ZstdDecompressor().copy_stream(source, sink)
    except zstandard.ZstdError as error:
        raise HarnessError(f"{path}: damaged: {error}") from error
    # The library takes the end of a cut file for the end of the trace.
    with target.open("rb") as file:
        fields = _head_of(file.read(_HEADER.size), path)
    if target.stat().st_size != fields["bytes"]:
        raise HarnessError(
            f"{path}: the trace is cut: {target.stat().st_size} of {fields['bytes']} bytes are there; copy it again"
        )


def _make_ready(path: Path, target: Path) -> None:
    with path.open("rb") as file:
        packed = file.read(len(_ZSTD_MAGIC)) == _ZSTD_MAGIC
    if packed:
        _decompress(path, target)
        return
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".") as folder:
        raw = Path(folder) / "text.raw"
        kind = read_text_trace(path, raw)
        make_plain(target, {"source": f"{kind}: {path.name}"}, [str(raw)])


def _prune(kept: Path) -> None:
    """Remove the plain files that were not used for the longest time, until the rest is small enough."""
    files = sorted(CACHE.glob("*.plain"), key=lambda path: path.stat().st_mtime, reverse=True)
    room = CACHE_MOST
    for path in files:
        room -= path.stat().st_size
        if room < 0 and path != kept:
            path.unlink(missing_ok=True)


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    """What names the plain file: the trace, and the tool that makes plain traces of texts."""
    hashed = hashlib.sha256(f"{SLICE_EVENTS} ".encode())
    hashed.update((BIN / "trace_make").read_bytes())
    hashed.update(path.read_bytes())
    return hashed.hexdigest()[:20]


def prepare(text: str) -> Path:
    """The plain file that a cell replays for `file=TEXT`, made if it is not there yet.

    Raises:
        UsageError: there is no such file.
        HarnessError: it is no trace, or is damaged.
    """
    path = find_trace(text)
    state = path.stat()
    plain = CACHE / f"{_digest(path, state.st_size, state.st_mtime_ns)}.plain"
    if not plain.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix=".") as folder:
            scratch = Path(folder) / plain.name
            _make_ready(path, scratch)
            os.replace(scratch, plain)
        _prune(plain)
    os.utime(plain)
    return plain
