"""lua: the interpreter, which asks its allocator for every object: trees, tables of strings, closures."""

from __future__ import annotations

import shutil

from bench_harness.workloads.programs._program import Failure, Run, main

OPERATION = "one node of a tree, and what comes with it"
NEEDS = ("lua5.4|lua5.3|lua",)
PARAMETERS = [
    ("depth", 14, 2, 26, "levels", "levels of the trees"),
    ("rounds", 12, 1, 1_000_000, "rounds", "trees that are built and dropped beside one that stays"),
]
TAKES_SECONDS = 2.0
SCRIPT = """
local depth, rounds = tonumber(arg[1]), tonumber(arg[2])
local function tree(n)
  if n == 0 then return {name = "leaf"} end
  return {left = tree(n - 1), right = tree(n - 1), name = "node " .. n}
end
local function count(t) return t.left and 1 + count(t.left) + count(t.right) or 1 end
local kept, words, total = tree(depth), {}, 0
for i = 1, rounds do
  total = total + count(tree(depth))
  for k = 1, 2000 do
    words[k] = (words[k * 7 % 2000 + 1] or "") .. string.char(97 + (i + k) % 26)
    if #words[k] > 200 then words[k] = words[k]:sub(1, 20):upper() end
  end
  table.sort(words)
  local f = {}
  for k = 1, 2000 do f[k] = function() return k + i end end
  for k = 1, 2000 do assert(f[k]() == k + i) end
end
assert(total == rounds * (2 ^ (depth + 1) - 1), "a tree lost nodes")
assert(count(kept) == 2 ^ (depth + 1) - 1, "the tree that stays lost nodes")
print("well")
"""


def body(run: Run) -> None:
    """One process from begin to end, its results checked by itself."""
    depth, rounds = run.integer("depth"), run.integer("rounds")
    interpreter = next(path for name in NEEDS[0].split("|") if (path := shutil.which(name)))
    (run.folder / "script.lua").write_text(SCRIPT)
    run.window_begin()
    program = run.start(interpreter, "script.lua", str(depth), str(rounds))
    status = program.process.wait()
    run.window_end(rounds * (2 ** (depth + 1) - 1))
    if status != 0 or program.last_words() != "well":
        raise Failure(f"lua ended with status {status}: {program.last_words()}")


if __name__ == "__main__":
    main(PARAMETERS, body)
