"""The preload library and the C drivers for another machine or another C library than this one."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ci.variants import build_flags
from tests.core.building import CORE, CORE_C, DRIVER, DRIVER_FLAGS, SOURCES, compile_cached

KERNEL_HEADERS = {
    "linux": Path("/usr/include/linux"),
    "asm-generic": Path("/usr/include/asm-generic"),
    "asm": Path(f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}/asm"),
}


@dataclass(frozen=True)
class Cross:
    """A compiler for another system, and what runs its programs here."""

    name: str
    compiler: str
    runner: tuple[str, ...] = ()
    """What stands in front of a program: an emulator."""
    kernel_headers: bool = False
    """Whether the kernel's headers must be handed to the compiler, which sees its own C library's alone."""

    @property
    def includes(self) -> list[str]:
        """Where headers are found beside the compiler's own."""
        if not self.kernel_headers:
            return []
        folder = CORE.parents[1] / "build" / "tests" / f"headers-{self.name}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, target in KERNEL_HEADERS.items():
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(target)
        return ["-isystem", str(folder)]

    @property
    def library(self) -> Path:
        """The preload library, with the flags of setup.py."""
        assert CORE_C.exists(), f"{CORE_C} is missing: run `make build` first"
        compiling, linking = build_flags()
        # The Python half is compiled as well and dropped by the linker: any CPython's headers of 64 bits do.
        python = sysconfig.get_paths()["include"]
        macros = ["-DRT_SLICE_SHIFT=14", f"-I{CORE}", f"-I{python}", *self.includes]
        compiled: list[str | Path] = [self.compiler, *compiling, "-w", *macros, "-c", CORE_C, "-o", "{out}.o"]
        linked: list[str | Path] = [self.compiler, "{out}.o", *linking, "-o", "{out}", "-lpthread"]
        inputs = [CORE_C, *sorted(CORE.rglob("*.h"))]
        return compile_cached(f"librtmalloc-{self.name}.so", inputs, [compiled, linked])

    def driver(self, name: str) -> Path:
        """A driver, linked with the library, whose names the C library may not have."""
        sources = [DRIVER / source for source in SOURCES[name]]
        headers = sorted(DRIVER.glob("*.h"))
        # Its own name is librtmalloc.so: the preloaded one of that name serves.
        link: list[str | Path] = [self.library, "-ldl", "-lpthread", f"-Wl,-rpath,{self.named.parent}"]
        command: list[str | Path] = [self.compiler, *DRIVER_FLAGS, "-w", *self.includes, *sources, "-o", "{out}", *link]
        return compile_cached(f"{name}-{self.name}", [*sources, *headers, self.library], [command])

    @property
    def named(self) -> Path:
        """The library under the name that the drivers look for."""
        folder = self.library.with_name(f"{self.name}-lib")
        folder.mkdir(exist_ok=True)
        link = folder / "librtmalloc.so"
        if not link.is_symlink():
            link.symlink_to(self.library)
        return link

    def run(self, name: str, *words: str, options: str = "", seconds: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a driver to its end, its output captured; a time-out is an error."""
        settings = {"LD_PRELOAD": str(self.named), "RTMALLOC_OPTIONS": options}
        program = self.driver(name)
        if self.runner:
            # The emulator is a program of this machine, and hands the variables on to the one it runs.
            given = [word for key, value in settings.items() for word in ("-E", f"{key}={value}")]
            command, environment = [*self.runner, *given, str(program), *words], dict(os.environ)
        else:
            command, environment = [str(program), *words], {**os.environ, **settings}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
