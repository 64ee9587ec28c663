"""sqlite: the library in Python's own module, in memory: rows with text, indices, joins, updates, deletes."""

from __future__ import annotations

import sys

from bench_harness.workloads.programs._program import Failure, Run, main

OPERATION = "one row inserted, and all that follows for it"
NEEDS = ("module:sqlite3",)
PARAMETERS = [
    ("rows", 60_000, 100, 100_000_000, "rows", "rows of the larger table"),
]
TAKES_SECONDS = 2.0
# Runs in the process that the allocator serves; Python does little in it.
SCRIPT = """
import random, sqlite3, sys
rows, seed = int(sys.argv[1]), int(sys.argv[2])
draw = random.Random(seed)
words = ["".join(draw.choices("abcdefghij ", k=draw.randrange(5, 120))) for _ in range(997)]
db = sqlite3.connect(":memory:")
db.executescript("create table item(id integer primary key, owner integer, price real, name text);"
                 "create table owner(id integer primary key, name text, note text)")
owners = rows // 20
db.executemany("insert into owner values(?, ?, ?)", ((n, words[n % 997], words[n * 7 % 997]) for n in range(owners)))
db.executemany("insert into item values(?, ?, ?, ?)",
               ((n, draw.randrange(owners), draw.random() * 100, words[n % 997]) for n in range(rows)))
db.executescript("create index by_owner on item(owner); create index by_name on item(name, price)")
joined = db.execute("select owner.name, count(*), sum(price), group_concat(item.name) from item join owner"
                    " on item.owner = owner.id group by owner.id order by 3 desc").fetchall()
db.execute("update item set name = name || ' ' || upper(name) where id % 3 = 0")
db.execute("delete from item where id % 5 < 2")
left = db.execute("select count(*), count(distinct owner), max(length(name)) from item").fetchone()
db.commit()
db.execute("vacuum")
assert sum(row[1] for row in joined) == rows, "the join lost rows"
assert left[0] == rows - len([n for n in range(rows) if n % 5 < 2]), "the delete missed rows"
assert db.execute("pragma integrity_check").fetchone() == ("ok",)
print("well")
"""


def body(run: Run) -> None:
    """One process from begin to end, its results checked by itself."""
    rows, seed = run.integer("rows"), run.integer("seed")
    run.window_begin()
    program = run.start(sys.executable, "-c", SCRIPT, str(rows), str(seed), environment={"PYTHONMALLOC": "malloc"})
    status = program.process.wait()
    run.window_end(rows)
    if status != 0 or program.last_words() != "well":
        raise Failure(f"sqlite ended with status {status}: {program.last_words()}")


if __name__ == "__main__":
    main(PARAMETERS, body)
