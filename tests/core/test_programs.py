"""Real programs under the preload library, each doing a real job: the output must be that of a run without it."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from .building import preloaded, run

# Deterministic surroundings: outputs are compared byte for byte.
SETTLED = {
    "LC_ALL": "C",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
}

SHELL_JOBS = {
    "bash": """
        declare -A count; s=""
        for i in {1..3000}; do count[$((i % 17))]+="x$i"; s+="$i,"; done
        for k in "${!count[@]}"; do echo "$k ${#count[$k]}"; done | sort -n
        s="${s//1/one}"; echo "${#s} ${s:0:3000}"
        f() { local n=$1; ((n < 2)) && echo "$n" || echo $(( $(f $((n-1))) + $(f $((n-2))) )); }; f 7
        mapfile -t lines < <(seq 5000); echo "${#lines[@]} ${lines[4321]}"; x=$(seq 20000 | md5sum); echo "$x"
    """,
    "git": """
        git init -q -b main . && for i in $(seq 60); do mkdir -p d$((i % 7)); seq $((i * 50)) > d$((i % 7))/f$i; done
        git add . && git commit -qm one
        for i in $(seq 8); do seq $i 900 > d1/f$i; git add . ; git commit -qm "change $i"; done
        git log --stat --format='%H %s' | md5sum; git gc -q --aggressive --prune=now; git fsck --full --strict 2>&1
        git checkout -q HEAD~4; git diff HEAD main | md5sum; git merge-base main HEAD; git grep -c 77 | md5sum
    """,
    "gcc": r"""
        cat > a.c <<'END'
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        static int compare(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
        int main(void) {
            char *words[2000]; size_t n = 0;
            for (int i = 0; i < 2000; i++) words[i] = malloc(30), snprintf(words[i], 30, "word %d", i * 7919 % 2000);
            qsort(words, 2000, sizeof *words, compare);
            for (int i = 0; i < 2000; i++) n = n * 31 + strlen(words[i]), free(words[i]);
            printf("%zu\n", n); return 0;
        }
        END
        gcc -O2 -g -w a.c -o a && ./a && gcc -O2 -w -S a.c -o - | grep -v ident | md5sum
    """,
    "g++": r"""
        cat > b.cc <<'END'
        #include <algorithm>
        #include <iostream>
        #include <map>
        #include <memory>
        #include <new>
        #include <regex>
        #include <string>
        #include <thread>
        #include <vector>
        struct alignas(128) Wide { char c[256]; };
        int main() {
            std::map<std::string, std::vector<int>> m;
            for (int i = 0; i < 20000; i++) m["key" + std::to_string(i % 977)].push_back(i);
            long sum = 0; for (auto &[k, v] : m) sum = sum * 31 + k.size() + v.size() + v.back();
            std::vector<std::thread> ts; std::vector<long> got(4);
            for (int t = 0; t < 4; t++) ts.emplace_back([&, t] {
                for (int i = 0; i < 2000; i++) {
                    std::string s(i % 300, 'a');
                    got[t] += std::make_unique<std::string>(s + s)->size();
                } });
            for (auto &t : ts) t.join();
            for (long g : got) sum += g;
            std::unique_ptr<Wide[]> wide(new Wide[10]); sum += (reinterpret_cast<uintptr_t>(wide.get()) % 128);
            try { volatile size_t huge = PTRDIFF_MAX; char *p = new char[huge - 100]; std::cout << (void *)p; }
            catch (const std::bad_alloc &) { std::cout << "bad_alloc "; }
            std::cout << sum << " " << std::regex_replace("a1b22c333", std::regex("[0-9]+"), "#") << "\n";
        }
        END
        g++ -O1 -std=c++17 -w b.cc -o b -lpthread && ./b
    """,
    "perl": r"""
        perl -e 'my %h; for my $i (1..60000) { $h{"k".($i*7919%5003)} .= "$i,"; } my $n=0;
        for (sort keys %h) { my $s=$h{$_}; $s =~ s/(\d+),/<$1>/g; $n += length $s; } print "$n\n";
        my @a = map { { id => $_, t => "x" x ($_ % 100) } } 1..20000;
        print scalar(grep { $_->{t} =~ /^x{50,}$/ } @a), "\n";
        my $pid = fork(); if (!$pid) { my @b = (1..10000); print scalar(@b), "\n"; exit 0 }
        waitpid($pid, 0); print "end\n";'
    """,
    "tar+gzip": """
        mkdir in && for i in $(seq 80); do seq $((i * 90)) > in/f$i; done
        tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - in | gzip -9n > x.tgz; md5sum < x.tgz
        mkdir out && tar -xzf x.tgz -C out && diff -r in out/in && zcat x.tgz | tar -tf - | wc -l
    """,
    "sort": """
        seq 200000 | awk '{print ($1 * 7919) % 200003, $1}' > x; sort -n x | md5sum
        sort -k2,2r -S 1M --parallel=4 x | md5sum
        sort -u x | uniq -c | wc -l; join <(sort x) <(sort x) | md5sum
    """,
    "awk+sed": r"""
        seq 60000 | awk '{a[$1 % 997] = a[$1 % 997] " " $1; s = s substr($0, 1, 1)}
            END {for (i = 0; i < 997; i++) print i, a[i]; print length(s)}' | md5sum
        seq 30000 | sed -E 's/([0-9])([0-9])/\2\1/g; s/^/line /; $!N; P; D' | md5sum
    """,
    "make": r"""
        unset MAKEFLAGS MFLAGS MAKELEVEL  # else this make is a child of `make test` and names its directory
        for i in $(seq 40); do
            printf 'f%d: f%d.in\n\t@cat $< | wc -c > $@; echo made $@\n' $i $i >> Makefile; seq $i 500 > f$i.in
        done
        printf 'all: %s\n\t@echo all\n' "$(seq -f 'f%g' -s ' ' 40)" >> Makefile
        make -j4 all | sort | md5sum; touch f7.in; make -s all; cat f* | md5sum; make -np all | grep -c made
    """,
}


def results(job: Callable[[Path, dict[str, str]], str], tmp_path: Path) -> None:
    """Run ``job`` in a directory of its own, without and with the preload, and compare."""
    outputs = []
    for name, environment in (("without", {}), ("with", preloaded())):
        directory = tmp_path / name
        directory.mkdir()
        outputs.append(job(directory, {**SETTLED, **environment}))
    assert outputs[0], "the job says nothing"
    assert outputs[1] == outputs[0]


@pytest.mark.parametrize("name", SHELL_JOBS)
def test_shell_job(name: str, tmp_path: Path) -> None:
    for program in re.split(r"\+", name.replace("g++", "gxx")):
        if shutil.which(program.replace("gxx", "g++")) is None:
            pytest.skip(f"{program} is not installed")
    bash = shutil.which("bash")
    assert bash is not None

    def job(directory: Path, environment: dict[str, str]) -> str:
        script = textwrap.dedent(SHELL_JOBS[name])
        done = run([bash, "-euo", "pipefail", "-c", script], environment=environment, cwd=directory)
        assert done.returncode == 0, f"{done.returncode}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
        # The allocator has nothing to say, and neither has the program that it did not say before.
        return done.stdout + done.stderr

    results(job, tmp_path)


# ---- CPython

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
# pymalloc would keep most of what Python allocates to itself: with "malloc" all of it comes to us.
PYTHON_ALLOCATORS = ["malloc", "pymalloc"]

PYTHON_JOB = """
import concurrent.futures, json, multiprocessing, re, subprocess, sys, threading, zlib

def work(n):
    text = json.dumps([{"id": i, "name": "x" * (i % 50), "list": list(range(i % 20))} for i in range(n)])
    back = json.loads(text)
    return len(re.findall(r'"x+"', text)), zlib.crc32(text.encode()), sum(len(d["list"]) for d in back)

def in_process(n, queue):
    queue.put(work(n))

if __name__ == "__main__":
    print(work(3000))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        print(list(pool.map(work, [100, 700, 1500, 900] * 3)))
    held = []
    def hold():
        held.append([bytearray(i % 3000) for i in range(2000)])
    threads = [threading.Thread(target=hold) for _ in range(8)]
    [t.start() for t in threads]; [t.join() for t in threads]
    print(sum(len(b) for h in held for b in h)); held.clear()
    child = [sys.executable, "-c", "print(sum(len(str(i)) for i in range(20000)))"]
    print(subprocess.run(child, capture_output=True, text=True).stdout)
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        processes = [context.Process(target=in_process, args=(500 + i, queue)) for i in range(3)]
        [p.start() for p in processes]
        print(method, sorted(queue.get(timeout=60) for _ in processes))
        [p.join(60) for p in processes]
        print([p.exitcode for p in processes])
        with context.Pool(2) as pool:
            print(pool.map(work, range(50, 60)))
    big = bytearray()
    for i in range(300):
        big += bytes([i % 256]) * 30000
    print(len(big), zlib.crc32(big))
    print(sorted({str(i * 7919 % 10007) for i in range(30000)})[::1000])
    try:
        bytearray(sys.maxsize - 100)
    except MemoryError:
        print("MemoryError")
"""


def find_python(version: str) -> str | None:
    """A real interpreter of that version: the running one, pyenv's, or one on PATH."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(versions.glob(f"{version}.*/bin/python3"))
    if found:
        return str(found[-1])
    on_path = shutil.which(f"python{version}")
    # A shim is a shell script that looks for the version by itself and may not find one.
    return on_path if on_path and run([on_path, "-c", "0"]).returncode == 0 else None


@pytest.mark.parametrize("allocator", PYTHON_ALLOCATORS)
@pytest.mark.parametrize("version", PYTHONS)
def test_cpython(version: str, allocator: str, tmp_path: Path) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"CPython {version} is not installed")

    def job(directory: Path, environment: dict[str, str]) -> str:
        (directory / "job.py").write_text(PYTHON_JOB)
        # No warnings: 3.12 and later warn about fork in a threaded process.
        command = [python, "-W", "ignore", "job.py"]
        done = run(command, environment={**environment, "PYTHONMALLOC": allocator}, cwd=directory)
        assert done.returncode == 0, f"{done.returncode}: {done.stdout[-1000:]}{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    results(job, tmp_path)


SMALLEST_PROGRAM = "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0])"
GENEROUS_KIB = 3 * 1024


def test_peak_of_an_empty_python() -> None:
    # The target of issue 2 (at most 1 MiB above glibc's) is the harness's to measure; this catches a disaster.
    def peak(environment: dict[str, str]) -> int:
        done = run([sys.executable, "-c", SMALLEST_PROGRAM], environment=environment)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    without = min(peak({}) for _ in range(3))
    with_us = min(peak(preloaded()) for _ in range(3))
    print(f"python -c 0: VmHWM {without} KiB with glibc, {with_us} KiB with rtmalloc")
    assert with_us <= without + GENEROUS_KIB
