"""rtmalloc.profile from Python, its files, and the commands that work on them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rtmalloc
from rtmalloc import profile
from rtmalloc.profile import LargeBucket, Profile, ProfileError, SmallBucket, load, merge, report
from rtmalloc.size_table import table_read
from tests.python.programs import run, run_code, run_rtmalloc, succeed

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "rtmalloc" / "schema" / "profile-1.json"


def some(seed: int, classes: tuple[int, ...] = (16, 32, 4608, 32768)) -> Profile:
    """A profile of a random kind."""
    pick = random.Random(seed)
    small = []
    for step in sorted(pick.sample(range(1, 2049), 20)):
        n, life = pick.randrange(1, 50), pick.randrange(1000)
        count, size = 1024 * n, 16 * step - pick.randrange(16)
        small.append(SmallBucket(16 * step, n, count, count * size, 0, 0, count * life, count * life * size))
    large = tuple(LargeBucket(least, pick.randrange(1, 9), 9 * least) for least in (32768, 65536, 1 << 20))
    return Profile(pick.randrange(1, 9000), 1024, tuple(small), large, 1, {f"p{seed % 3}": 1}, classes)


# ---- files


@pytest.mark.parametrize("seed", range(5))
def test_files_round_trip(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "one.json"
    some(seed).save(path)
    assert load(path) == some(seed)
    assert list(tmp_path.iterdir()) == [path]


def test_the_schema_is_the_format() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(some(1).to_json()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(some(1).to_json()), "version": 2}, schema)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "does not say format rtmalloc-profile"),
        ({"version": 2}, "version 2; this program reads version 1"),
        ({"every": "x"}, "every is a whole number"),
        ({"every": True}, "every is a whole number"),
        ({"processes": -1}, "processes is a whole number"),
        ({"small": 3}, "small is a list of buckets"),
        ({"small": [[16, 1]]}, "a bucket of small has 8 numbers"),
        ({"small": [[16, 1, 1, 1, 1, 1, 1, 1.5]]}, "a bucket of small is a list of whole numbers"),
        ({"small": [[24, 1, 1, 1, 1, 1, 1, 1]]}, "multiple of 16"),
        ({"large": [[65536, 1, 1], [32768, 1, 1]]}, "the buckets of large ascend"),
        ({"programs": {"x": "y"}}, "programs is an object of counts"),
        ({"classes": [1.5]}, "classes is a list of whole numbers"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**json.loads(some(1).to_json()), **change}))
    with pytest.raises(ProfileError, match="wrong.json: .*" + said):
        load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in (b"", b"{", b"[]", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(ProfileError, match="no profile"):
            load(path)


# ---- merging


def test_merging_in_any_order_and_grouping() -> None:
    a, b, c = some(1), some(2), some(3)
    assert merge([a, merge([b, c])]) == merge([merge([c, a]), b]) == merge([a, b, c])
    both = merge([a, a])
    assert both.processes == 2 and both.milliseconds == 2 * a.milliseconds and both.programs == {"p1": 2}
    assert [bucket.requests for bucket in both.small] == [2 * bucket.requests for bucket in a.small]
    assert both.classes == a.classes and merge([a, some(4, (16, 32))]).classes == ()
    with pytest.raises(ProfileError, match="no profile to merge"):
        merge([])


def test_merge_command(tmp_path: Path) -> None:
    directory = tmp_path / "made"
    directory.mkdir()
    for seed in range(3):
        some(seed).save(directory / f"rtmalloc-{seed}-1.json")
    out = tmp_path / "all.json"
    succeed(run_rtmalloc("profile", "merge", directory, "-o", out))
    assert load(out) == merge([some(0), some(1), some(2)])
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "none.json", tmp_path / "empty"):
        failed = run_rtmalloc("profile", "merge", out, wrong, "-o", tmp_path / "new.json")
        assert failed.returncode == 1 and len(failed.stderr.splitlines()) == 1 and not (tmp_path / "new.json").exists()


# ---- recording from Python

RECORD = """
import rtmalloc, sys
from rtmalloc import profile
assert not profile.is_recording()
try:
    profile.snapshot()
except profile.ProfileError as error:
    assert "nothing is recorded" in str(error)
else:
    raise AssertionError
profile.start(every=8)
assert profile.is_recording() and rtmalloc.options()["profile"].value == 1
kept = [bytearray(1500) for _ in range(4000)]
for _ in range(40000):
    bytearray(3000)
large = bytearray(1 << 20)
found = profile.snapshot()
profile.stop()
assert not profile.is_recording() and rtmalloc.options()["profile"].value == 0
small = {b.size: b for b in found.small}
a, b = small[1504], small[3008]
assert abs(a.requests - 4000) < 6 * (4000 * 8) ** 0.5 + 50, a
assert abs(b.requests - 40000) < 6 * (40000 * 8) ** 0.5 + 50, b
assert a.live == a.requests and b.live <= 16, (a, b)
assert sum(l.requests for l in found.large if l.least <= (1 << 20) + 1 < l.least * 9 / 8) == 1
assert found.every == 8 and found.classes == tuple(c for c in found.classes) and len(found.classes) > 60
later = profile.snapshot()
assert later.milliseconds >= found.milliseconds
del kept
profile.save(sys.argv[1])
assert profile.load(sys.argv[1]).small == profile.snapshot().small
profile.start(every=1)
assert not [b for b in profile.snapshot().small if b.size == 1504]
rtmalloc.configure(profile=0)
assert not profile.is_recording()
rtmalloc.configure(profile_every=2)
rtmalloc.configure(profile=1)
assert profile.snapshot().every == 2
for wrong in (0, -1, 1 << 21, 1.5, True, "8"):
    try:
        profile.start(every=wrong)
    except ValueError:
        continue
    raise AssertionError(wrong)
"""


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_recording_from_python(tmp_path: Path, route: str) -> None:
    code = f"import sys; sys.argv[1:] = [{str(tmp_path / 'p.json')!r}]\n" + RECORD
    succeed(run_code(code, route))
    assert load(tmp_path / "p.json").processes == 1


def test_the_module_comes_with_rtmalloc() -> None:
    assert rtmalloc.profile is profile


def test_workers_write_files_of_their_own(tmp_path: Path) -> None:
    code = """
import os, sys
def work(n):
    return sum(len(bytearray(1000 + i % 7)) for i in range(n))
if __name__ == "__main__":
    pid = os.fork()
    if pid == 0:
        work(20000)
        sys.exit(0)
    os.waitpid(pid, 0)
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    env = {"RTMALLOC_OPTIONS": "profile_every=16"}
    succeed(run_rtmalloc("run", "--profile", tmp_path / "made", "--", sys.executable, script, env=env))
    files = list((tmp_path / "made").iterdir())
    assert len(files) == 2
    found = [sum(b.requests for b in load(path).small if b.size == 1008) for path in files]
    assert max(found) > 10000 and min(found) < 5000, found


# ---- report and optimise


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The profile of a program that keeps blocks of sizes that the default table serves badly."""
    code = "import time; a = [bytearray(n) for n in (4640, 1040, 577 + 60) * 3000]; time.sleep(0.1)"
    env = {"RTMALLOC_OPTIONS": "profile_every=64"}
    succeed(run_rtmalloc("run", "--profile", tmp_path / "made", "--", sys.executable, "-c", code, env=env))
    return tmp_path / "made"


def test_report_command(recorded: Path, tmp_path: Path) -> None:
    text = succeed(run_rtmalloc("profile", "report", recorded))
    assert "wasted" in text and "4640" not in text and "5120" in text
    fields = json.loads(succeed(run_rtmalloc("profile", "report", recorded, "--json")))
    assert fields["by_life"] and 0 < fields["granule"] < fields["waste"] < fields["asked"]
    assert abs(sum(c["waste"] for c in fields["classes"]) - fields["waste"]) < 1e-3 * fields["waste"]
    assert abs(sum(w for _, w in fields["curve"]) - fields["waste"]) < 1e-3 * fields["waste"]
    other = json.loads(
        succeed(run_rtmalloc("profile", "report", recorded, "--json", "--table", ROOT / "rtmalloc.toml"))
    )
    assert other["waste"] == fields["waste"] and other["table"] != fields["table"]


def test_report_without_rich(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("rich", "rich.console", "rich.table"):
        monkeypatch.setitem(sys.modules, name, None)
    found = next(recorded.iterdir())
    report.show(report.examine(load(found), [16, 8192, 32768], "a table", 16), 5)
    out = capsys.readouterr().out
    assert re.search("the [23] classes that waste most", out) and "8192" in out


def test_picture(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = report.examine(load(next(recorded.iterdir())), [16, 8192, 32768], "a table", 16)
    with pytest.raises(ProfileError, match=r"pip install 'rtmalloc\[plots\]'"):
        report.draw(found, tmp_path / "x.png")
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    succeed(run_rtmalloc("profile", "report", recorded, "--picture", tmp_path / "x.png"))
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    failed = run_rtmalloc("profile", "report", recorded, "--picture", tmp_path / "x.exe")
    assert failed.returncode == 1 and "x.exe" in failed.stderr


def test_optimise_and_use_it(recorded: Path, tmp_path: Path) -> None:
    table = tmp_path / "best.toml"
    text = succeed(run_rtmalloc("profile", "optimise", recorded, "-o", table))
    sizes = table_read(table).sizes
    assert len(sizes) <= 64 and sizes[-1] == 32768 and "% less" in text
    before = json.loads(succeed(run_rtmalloc("profile", "report", recorded, "--json")))
    after = json.loads(succeed(run_rtmalloc("profile", "report", recorded, "--json", "--table", table)))
    assert after["waste"] < 0.75 * before["waste"]
    code = "import rtmalloc; print(rtmalloc.status().table, [c.size for c in rtmalloc.stats().classes])"
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    told = succeed(run_rtmalloc("run", "--config", table, "--", sys.executable, "-c", code, env=env))
    used = json.loads(told.partition(" ")[2])
    assert told.startswith(f"{tmp_path}/cache/rtmalloc/best-") and set(used) <= set(sizes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--classes", "0"], "a whole number from 1 to 125"),
        (["--classes", "126"], "a whole number from 1 to 125"),
        (["--classes", "10"], "10 classes are too few"),
        (["--max-waste", "0"], "max_waste is a fraction"),
        (["--max-waste", "x"], "invalid float"),
        (["--keep", "40"], "multiples of 16"),
    ],
)
def test_optimise_refuses(recorded: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    failed = run_rtmalloc("profile", "optimise", recorded, "-o", tmp_path / "x.toml", *arguments)
    assert failed.returncode in (1, 2) and said in failed.stderr, failed.stderr
    assert not (tmp_path / "x.toml").exists()


def test_any_program(tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "command -v sort"], capture_output=True, check=False).returncode:
        pytest.skip("no sort here")
    done = run([sys.executable, "-m", "rtmalloc", "run", "--profile", "made", "--", "sort", __file__], cwd=tmp_path)
    assert done.returncode == 0
    (path,) = (tmp_path / "made").iterdir()
    assert load(path).programs == {"sort": 1}
