"""Traces: from a recorder's events to operations, between formats, and whole or refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_harness.errors import HarnessError, UsageError
from bench_harness.tracing import files, raw
from bench_harness.tracing.files import compress, find_trace, make_plain, prepare, read_head
from bench_harness.tracing.raw import RawWriter, read_raw
from tests.bench_harness.tracing_tools import Decoded, Operation, decode, make_trace

LARGE = 1 << 20


def test_each_kind_of_call_becomes_its_operation(tmp_path: Path) -> None:
    w = RawWriter()
    w.add(raw.MALLOC, 1, 0x1000, 100)
    w.add(raw.CALLOC, 1, 0x2000, 200)
    w.add(raw.ALIGNED, 1, 0x3000, 300, alignment=64)
    w.add(raw.RESIZE, 1, 0x1000)
    w.add(raw.RESIZED, 1, 0x4000, 400)
    w.add(raw.FREE, 1, 0x2000)
    w.add(raw.THREAD_END, 1, 0)
    seen = decode(make_trace(w, tmp_path))
    assert [(op.kind, op.size, op.alignment, op.old_size) for op in seen.operations] == [
        ("malloc", 100, 1, 0),
        ("calloc", 200, 1, 0),
        ("aligned", 300, 64, 0),
        ("realloc", 400, 1, 100),
        ("free", 0, 1, 0),
    ]
    head = seen.head
    assert [head[k] for k in ("mallocs", "callocs", "aligned", "reallocs", "frees")] == [1, 1, 1, 1, 1]
    assert (head["peak_bytes"], head["end_bytes"], head["end_blocks"], head["handed"]) == (900, 700, 2, 0)
    assert seen.threads == [(3, 1)], "three own slots, and the thread ended"
    assert head.info == {"source": "test"}


def test_an_address_that_comes_again_is_another_block(tmp_path: Path) -> None:
    w = RawWriter()
    for size in (10, 20, 30):
        w.add(raw.MALLOC, 1, 0x1000, size)
        w.add(raw.FREE, 1, 0x1000)
    seen = decode(make_trace(w, tmp_path))
    assert [op.size for op in seen.operations if op.kind == "malloc"] == [10, 20, 30]
    assert {op.slot for op in seen.operations} == {(False, 0)}, "one slot is used again and again"
    assert seen.head["peak_blocks"] == 1


def test_a_block_that_another_thread_frees_has_a_shared_slot(tmp_path: Path) -> None:
    w = RawWriter()
    w.add(raw.MALLOC, "a", 0x1000, 10)
    w.add(raw.MALLOC, "a", 0x2000, 20)
    w.add(raw.FREE, "b", 0x1000)
    w.add(raw.RESIZE, "b", 0x2000)
    w.add(raw.RESIZED, "b", 0x2000, 40)
    w.add(raw.FREE, "b", 0x2000)
    seen = decode(make_trace(w, tmp_path))
    assert [op.slot[0] for op in seen.of_thread(0)] == [True, True]
    free, realloc, last = seen.of_thread(1)
    assert free.slot == seen.of_thread(0)[0].slot and realloc.slot == seen.of_thread(0)[1].slot
    assert realloc.new_slot == (False, 0) == last.slot, "from then on it is the second thread's own"
    assert seen.head["handed"] == 2


@pytest.mark.parametrize(("size", "kept"), [(0, False), (500, True)])
def test_a_realloc_that_returns_null(tmp_path: Path, size: int, kept: bool) -> None:
    """realloc(p, 0) frees; one that fails leaves the block as it was."""
    w = RawWriter()
    w.add(raw.MALLOC, 1, 0x1000, 100)
    w.add(raw.RESIZE, 1, 0x1000)
    if size:
        w.add(raw.RESIZE_FAILED, 1, 0x1000)
        w.add(raw.FREE, 1, 0x1000)
    else:
        w.add(raw.FREE, 1, 0)
    w.add(raw.MALLOC, 1, 0x1000, 7)
    seen = decode(make_trace(w, tmp_path))
    assert [op.kind for op in seen.operations] == ["malloc", "free", "malloc"]
    assert (seen.head["unknown"], seen.head["unfreed"], seen.head["end_bytes"]) == (0, 0, 7)


def test_what_cannot_be_known_is_left_out_and_counted(tmp_path: Path) -> None:
    w = RawWriter()
    w.add(raw.FREE, 1, 0x9000)  # made before the recorder was there
    w.add(raw.RESIZE, 1, 0x8000)
    w.add(raw.RESIZED, 1, 0x8000, 80)  # so this is an allocation
    w.add(raw.MALLOC, 1, 0x1000, 10)
    w.add(raw.MALLOC, 1, 0x1000, 20)  # its free was missed
    seen = decode(make_trace(w, tmp_path))
    assert [op.kind for op in seen.operations] == ["malloc", "malloc", "malloc"]
    assert (seen.head["unknown"], seen.head["unfreed"]) == (2, 1)


@pytest.mark.parametrize(("pages", "touched"), [(0, 0), (3, 3), (256, None), (300, None)])
def test_a_large_block_tells_how_much_of_it_was_touched(tmp_path: Path, pages: int, touched: int | None) -> None:
    w = RawWriter()
    w.add(raw.CALLOC, 1, 0x100000, LARGE)
    w.add(raw.MALLOC, 1, 0x1000, 1000)
    w.add(raw.TOUCHED, 1, 0x100000, pages)
    w.add(raw.TOUCHED, 1, 0x1000, 0)  # a small block is written whole, whatever is said of it
    w.add(raw.FREE, 1, 0x100000)
    seen = decode(make_trace(w, tmp_path))
    assert [op.touched for op in seen.operations[:2]] == [touched, None]


def test_pages_of_another_size_are_counted_in_those_of_4_kib(tmp_path: Path) -> None:
    w = RawWriter(page_bytes=65536)
    w.add(raw.MALLOC, 1, 0x100000, LARGE)
    w.add(raw.TOUCHED, 1, 0x100000, 2)
    w.add(raw.FREE, 1, 0x100000)
    assert decode(make_trace(w, tmp_path)).operations[0].touched == 32


def test_moments_are_kept_to_50_us(tmp_path: Path) -> None:
    w = RawWriter()
    moments = [7_000, 17_000, 60_000, 1_000_000, 1_000_000, 3_000_000]
    for n, ns in enumerate(moments):
        w.add(raw.MALLOC, 1, 0x1000 * (n + 1), 10, ns=ns)
    seen = decode(make_trace(w, tmp_path))
    for op, ns in zip(seen.operations, moments, strict=True):
        assert 0 <= (ns - moments[0]) // 1000 - op.microseconds < 50
    assert seen.head["microseconds"] == 2993


def test_a_forked_child_begins_with_what_it_found(tmp_path: Path) -> None:
    parent, child = RawWriter(), RawWriter()
    parent.add(raw.MALLOC, 1, 0x1000, 10)
    parent.add(raw.ALIGNED, 2, 0x2000, 20, alignment=32)
    parent.add(raw.MALLOC, 1, 0x3000, 30)
    parent.add(raw.FREE, 2, 0x1000)
    until = parent.events
    parent.add(raw.MALLOC, 1, 0x4000, 40)  # after the fork: not the child's
    child.add(raw.FREE, "only", 0x2000)
    child.add(raw.MALLOC, "other", 0x2000, 50)
    child.add(raw.FREE, "other", 0x3000)
    for name, writer in (("parent", parent), ("child", child)):
        writer.save(tmp_path / f"{name}.raw")
    plain = tmp_path / "child.plain"
    make_plain(plain, {}, [f"{tmp_path / 'parent.raw'}:{until}", str(tmp_path / "child.raw")])
    seen = decode(plain)
    assert [(op.kind, op.size, op.alignment) for op in seen.of_thread(0)] == [
        ("aligned", 20, 32),
        ("malloc", 30, 1),
        ("free", 0, 1),
    ]
    assert [op.kind for op in seen.of_thread(1)] == ["malloc", "free"]
    assert (seen.head["inherited"], seen.head["unknown"], seen.head["handed"]) == (2, 0, 1)


def play(seen: Decoded, order: random.Random) -> dict[tuple[int, bool, int], int]:
    """Play a decoded trace in a random order that the replay's three rules allow; returns the live sizes by slot."""
    queues = {t: seen.of_thread(t) for t in range(len(seen.threads))}
    left = {k: sum(op.slice == k for op in seen.operations) for k in range(seen.head["slices"])}
    live: dict[tuple[int, bool, int], int] = {}

    def key(op: Operation, slot: tuple[bool, int]) -> tuple[int, bool, int]:
        return (-1 if slot[0] else op.thread, *slot)

    while any(queues.values()):
        frontier = min((k for k, n in left.items() if n), default=0)
        ready = []
        for queue in filter(None, queues.values()):
            op = queue[0]
            waits = op.kind in ("free", "realloc") and op.slot[0] and key(op, op.slot) not in live
            if op.slice <= frontier + 1 and not waits:
                ready.append(queue)
        assert ready, "the rules must never let all threads wait"
        op = order.choice(ready).pop(0)
        left[op.slice] -= 1
        if op.kind in ("free", "realloc"):
            size = live.pop(key(op, op.slot))
            assert op.kind == "free" or size == op.old_size
        if op.kind != "free":
            target = key(op, op.new_slot or op.slot)
            assert target not in live, "a slot holds one block at a time, in every allowed order"
            live[target] = op.size
    return live


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), threads=st.integers(1, 5), slice_events=st.integers(1, 40))
def test_every_allowed_order_frees_the_right_blocks(
    tmp_path_factory: pytest.TempPathFactory, seed: int, threads: int, slice_events: int
) -> None:
    """Random histories with hand-overs and reuse of addresses: sizes are unique, so a mix-up would show."""
    draw = random.Random(seed)
    writer, addresses = RawWriter(), list(range(1, 60))
    live: dict[int, int] = {}
    for size in range(1, 300):
        thread = draw.randrange(threads)
        if live and draw.random() < 0.5:
            address = draw.choice(list(live))
            del live[address]
            if draw.random() < 0.3:
                writer.add(raw.RESIZE, thread, address)
                address = draw.choice([a for a in addresses if a not in live])
                writer.add(raw.RESIZED, thread, address, size)
                live[address] = size
            else:
                writer.add(raw.FREE, thread, address)
        elif len(live) < len(addresses) - 1:
            address = draw.choice([a for a in addresses if a not in live])
            writer.add(draw.choice((raw.MALLOC, raw.CALLOC)), thread, address, size)
            live[address] = size
    seen = decode(make_trace(writer, tmp_path_factory.mktemp("trace"), slice_events))
    for attempt in range(3):
        assert sorted(play(seen, random.Random(attempt)).values()) == sorted(live.values())
    assert seen.head["end_bytes"] == sum(live.values())


REP = """20000
3
8
1
a 0 512
a 1 128
r 0 640
a 2 128
f 1
r 0 768
f 0
f 2
"""

ANDROID = """100: malloc 0xb48390a0 48 1000000 1000100
200: calloc 0xb48c1100 32 8 1100000 1100200
100: memalign 0xb5000000 24 100 1200000 1200100
300: realloc 0x96b90920 0xb48390a0 256 2000000 2000100
200: realloc 0xb48d0000 0x0 10 2100000 2100100
100: malloc 0x0 99999999999 2150000 2150100
100: free 0x0 2160000 2160010
300: free 0xb48c1100 2200000 2200100
200: thread_done 0x0 2300000
"""


def converted(text: str, folder: Path) -> Decoded:
    source = folder / "text"
    source.write_text(text)
    return decode(prepare(str(source)))


def test_a_malloc_lab_file_is_read(tmp_path: Path) -> None:
    seen = converted(REP, tmp_path)
    assert [(op.kind, op.size, op.old_size) for op in seen.operations] == [
        ("malloc", 512, 0),
        ("malloc", 128, 0),
        ("realloc", 640, 512),
        ("malloc", 128, 0),
        ("free", 0, 0),
        ("realloc", 768, 640),
        ("free", 0, 0),
        ("free", 0, 0),
    ]
    assert seen.head["end_blocks"] == 0 and seen.head.info["source"] == "Malloc Lab: text"


def test_a_memory_replay_file_is_read(tmp_path: Path) -> None:
    seen = converted(ANDROID, tmp_path)
    assert [(op.kind, op.size, op.alignment) for op in seen.of_thread(0)] == [("malloc", 48, 1), ("aligned", 100, 32)]
    assert [(op.kind, op.size) for op in seen.of_thread(1)] == [("calloc", 256), ("malloc", 10)]
    assert [(op.kind, op.size, op.old_size) for op in seen.of_thread(2)] == [("realloc", 256, 48), ("free", 0, 0)]
    assert [ends for _, ends in seen.threads] == [0, 1, 0]
    assert seen.head["handed"] == 2
    assert seen.of_thread(2)[0].microseconds == 1000


def test_a_memory_replay_file_without_time_stamps_is_read(tmp_path: Path) -> None:
    lines = [
        " ".join(line.split()[: 2 + n])
        for line, n in zip(ANDROID.splitlines(), (2, 3, 3, 3, 3, 2, 1, 1, 1), strict=True)
    ]
    seen = converted("\n".join(lines) + "\n", tmp_path)
    assert len(seen.operations) == 6 and seen.head["microseconds"] == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello\n", "neither a trace of this harness"),
        ("", "neither a trace of this harness"),
        ("1\n2\nx\n4\n", "begins with four lines of one number each"),
        (REP.replace("f 2\n", ""), "promises 8 operations, there are 7: was it cut"),
        (REP.replace("f 1", "f 9"), ":9: ids go from 0 to 2"),
        (REP.replace("f 1", "q 1"), ":9: expected `a ID BYTES`"),
        (REP.replace("a 2 128", "a 0 128"), ":8: block 0 is allocated already"),
        (REP.replace("f 1", "f 2\nf 2"), ":10: block 2 is not allocated"),
        (REP.replace("a 2 128", "a 2 lots"), ":8: a word that should be a number is none"),
        (ANDROID.replace("calloc", "brk"), ":2: unknown operation brk"),
        (ANDROID.replace(" 1000000 1000100", " 1000000"), ":1: malloc takes 1 numbers"),
        (ANDROID.replace("200: realloc", "200 realloc"), ":5: expected `TID: OP POINTER"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    source = tmp_path / "text"
    source.write_text(text)
    with pytest.raises(HarnessError, match="text") as caught:
        prepare(str(source))
    assert complaint in str(caught.value)


def packed(folder: Path) -> Path:
    writer = RawWriter()
    draw = random.Random(1)
    for n in range(1, 5000):
        writer.add(raw.MALLOC, 1, n, draw.randrange(1, 10_000))
    target = folder / "made.trace.zst"
    compress(make_trace(writer, folder), target)
    return target


def test_a_packed_trace_comes_back_as_it_was(tmp_path: Path) -> None:
    target = packed(tmp_path)
    assert prepare(str(target)).read_bytes() == (tmp_path / "made.plain").read_bytes()
    assert target.stat().st_size < (tmp_path / "made.plain").stat().st_size
    assert list(tmp_path.glob(".made*")) == []


def test_a_cut_or_damaged_trace_is_refused_with_a_sentence(tmp_path: Path) -> None:
    target = packed(tmp_path)
    whole = target.read_bytes()
    for share in (0.3, 0.9, 0.999):
        target.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(HarnessError, match=r"made\.trace\.zst: (the trace is cut|not a trace)"):
            prepare(str(target))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0x55
    target.write_bytes(damaged)
    with pytest.raises(HarnessError, match=r"made\.trace\.zst: (damaged|the trace is cut)"):
        prepare(str(target))
    plain = tmp_path / "made.plain"
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(HarnessError, match="cut"):
        read_head(plain)


def test_a_file_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file; with the harness come .*compiler"):
        find_trace(str(tmp_path / "none.trace.zst"))


def test_old_plain_files_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(files, "CACHE_MOST", 100)
    for n in range(3):
        (tmp_path / f"{n}.rep").write_text(REP.replace("512", str(512 + n)))
        prepare(str(tmp_path / f"{n}.rep"))
    assert len(list((tmp_path / "cache").glob("*.plain"))) == 1


def test_the_traces_that_come_with_the_harness_are_as_they_are_described() -> None:
    lines = (files.SHIPPED / "README.md").read_text().splitlines()
    described = {line.split("|")[1].strip(" `"): line for line in lines if line.startswith("| `")}
    assert set(described) == set(files.shipped_traces())
    assert sum(path.stat().st_size for path in files.shipped_traces().values()) < 10e6
    for name, line in described.items():
        head = read_head(prepare(name))
        cells = [cell.strip().replace(" ", "") for cell in line.split("|")[2:5]]
        assert cells == [str(head[field]) for field in ("events", "threads", "handed")]
        assert head.info["source"] == "recorded" and head["lost"] == 0


def test_the_format_is_described_as_it_is() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "traces.md").read_text()
    assert f"header, {files._HEADER.size} bytes" in text and f"then {len(files._NAMES)} numbers" in text


def test_a_recorders_file_tells_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(b"something else" * 500)
    with pytest.raises(HarnessError, match="not a recorder's file"):
        read_raw(tmp_path / "x.raw")
    with pytest.raises(HarnessError, match="not a recorder's file"):
        make_plain(tmp_path / "x.plain", {}, [str(tmp_path / "x.raw")])
