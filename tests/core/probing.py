"""Compile and import the probe: handles on the core's layers that Python tests can drive."""

from __future__ import annotations

import functools
import importlib.util
import sys
import sysconfig
from types import ModuleType

from .building import CORE, ROOT, compile_cached

PROBE = ROOT / "tests" / "core" / "probe" / "probe.pyx"


@functools.cache
def probe_load() -> ModuleType:
    """The probe module, compiled against this checkout's layers if they have changed since the last time."""
    layers = [path for path in sorted(CORE.rglob("*")) if path.suffix in (".pxd", ".h")]
    include = sysconfig.get_paths()["include"]
    flags = ["-shared", "-fPIC", "-O1", "-g", "-w", "-fno-strict-aliasing", "-DRT_SLICE_SHIFT=14"]
    library = compile_cached(
        "probe.so",
        [PROBE, *layers],
        [
            [sys.executable, "-m", "cython", "-3", f"-I{ROOT}", PROBE, "-o", "{out}.c"],
            ["gcc", *flags, f"-I{CORE}", f"-I{include}", "{out}.c", "-o", "{out}", "-lpthread"],
        ],
    )
    spec = importlib.util.spec_from_file_location("probe", library)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
