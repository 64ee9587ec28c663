"""compiler: gcc -O2 on C that is made up for it: a driver, a compiler and an assembler, each a process."""

from __future__ import annotations

from collections.abc import Iterator

from bench_harness.workloads.programs._program import Failure, Run, main

OPERATION = "one function compiled"
NEEDS = ("gcc",)
PARAMETERS = [
    ("functions", 120, 1, 1_000_000, "functions", "functions of the file"),
]
TAKES_SECONDS = 3.0


def source(run: Run) -> Iterator[str]:
    """Functions with structures, loops, switches and calls of earlier ones; the same for the same seed."""
    draw = run.random
    yield "typedef struct { int a, b; double x; char name[24]; } item;"
    yield "typedef unsigned long size_type; extern void *memcpy(void *, const void *, size_type);"
    for n in range(run.integer("functions")):
        yield f"int function_{n}(item *p, int n, double scale) {{"
        yield "    int total = 0; double weight = scale; item copy;"
        yield f"    for (int i = 0; i < n; i++) {{ p[i].a += i * {draw.randrange(99)}; weight *= p[i].x; }}"
        yield "    switch (n & 7) {"
        for k in range(8):
            yield f"    case {k}: total += p[{k}].b ^ {draw.randrange(9999)}; p[{k}].x = weight / (n + 1.5); break;"
        yield "    }"
        yield "    memcpy(&copy, p, sizeof copy);"
        if n:
            yield f"    if (total & 1) total += function_{draw.randrange(n)}(&copy, 1, weight);"
        yield f"    while (n-- > {draw.randrange(9)}) total = total * 31 + (int)copy.name[n % 24];"
        yield "    return total + copy.a;\n}"


def body(run: Run) -> None:
    """One file, compiled to an object file that must be there at the end."""
    (run.folder / "made.c").write_text("\n".join(source(run)) + "\n")
    run.window_begin()
    program = run.start("gcc", "-O2", "-c", "made.c", "-o", "made.o")
    status = program.process.wait()
    run.window_end(run.integer("functions"))
    if status != 0 or not (run.folder / "made.o").stat().st_size:
        raise Failure(f"gcc ended with status {status}: {program.last_words()}")


if __name__ == "__main__":
    main(PARAMETERS, body)
