"""Build rtmalloc: one C file from Cython, compiled once, linked twice.

1. ``rtmalloc/size_table.py`` turns rtmalloc.toml into ``rtmalloc/core/base/_size_table.h``; a table that breaks a
   rule ends the build with the line.
2. Cython turns ``rtmalloc/_core.pyx`` and the layers it cimports into one C file.
3. The compiler makes one object of it.
4. Link one: the Python extension ``rtmalloc._core``. Link two: the preload library ``rtmalloc/lib/librtmalloc.so``,
   with ``-z defs`` and ``--gc-sections``: a Python call in the core would leave an undefined symbol and fail here.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CORE = ROOT / "rtmalloc" / "core"
SLICE_BYTES = 1 << int(os.environ.get("RTMALLOC_SLICE_SHIFT", "14"))

COMPILE_FLAGS = [
    "-O2",
    "-g1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-semantic-interposition",
    "-fno-plt",
    "-ftls-model=initial-exec",  # one 8-byte pointer in static TLS: no call on the fast path
    "-fno-builtin-malloc",  # our malloc must not be "optimised" into calls of itself
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-free",
    "-fno-strict-aliasing",  # a free block's first word is its link
    "-fno-tree-vectorize",  # loops here are short; vector set-up costs more than it gives
    "-ffunction-sections",
    "-fdata-sections",
    "-Wno-attributes",
    "-Wno-missing-attributes",
    "-Wno-sign-compare",  # Cython loops over an unsigned variable with the type of the bound
    "-Wno-unused-function",
    "-Wno-enum-compare",
    "-Wno-discarded-qualifiers",
    "-Wno-unused-variable",
]
EXTENSION_LINK = [f"-Wl,--version-script={CORE / 'calls' / 'extension.map'}"]
PRELOAD_LINK = [
    "-shared",
    "-Wl,--gc-sections",
    f"-Wl,--version-script={CORE / 'calls' / 'preload.map'}",
    "-Wl,-z,defs",
    "-Wl,-z,now",
    "-Wl,-z,initfirst",  # our constructor, and with it our fork handlers, come before those of other libraries
    "-Wl,-soname,librtmalloc.so",
    "-Wl,-init=rt_preload_init",  # which of the two it is (calls/fork.h)
    "-Wl,--build-id=none",
]


def module_from_file(path: Path) -> ModuleType:
    """Import one file without its package, whose ``__init__`` needs the extension that is being built."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def size_table_write() -> None:
    """Generate the size-class header, leaving an unchanged file alone so that nothing is rebuilt for it."""
    size_table = module_from_file(ROOT / "rtmalloc" / "size_table.py")
    toml = Path(os.environ.get("RTMALLOC_TABLE", ROOT / "rtmalloc.toml"))
    try:
        text = size_table.table_header(size_table.table_read(toml), SLICE_BYTES)
    except size_table.TableError as error:
        raise SystemExit(f"error: {error}") from None
    header = CORE / "base" / "_size_table.h"
    if not header.exists() or header.read_text() != text:
        header.write_text(text)


class BuildTwice(build_ext):  # type: ignore[misc]  # Cython and setuptools have no types
    """``build_ext`` that links the one object a second time, as the Python-free preload library."""

    def build_extension(self, ext: Extension) -> None:
        """Build the extension, then link the preload library from the same object."""
        super().build_extension(ext)
        if ext.name != "rtmalloc._core":
            return
        objects = self.compiler.object_filenames(ext.sources, output_dir=self.build_temp)
        target = Path(self.build_lib) / "rtmalloc" / "lib" / "librtmalloc.so"
        target.parent.mkdir(parents=True, exist_ok=True)
        compiler = shlex.split(os.environ.get("CC", "")) or [self.compiler.compiler_so[0]]
        # A running program may have the old library mapped: replace the file, never write into it.
        fresh = target.with_suffix(".new")
        flags = [*PRELOAD_LINK, *shlex.split(os.environ.get("LDFLAGS", ""))]
        command = [*compiler, *objects, *flags, "-o", str(fresh), "-lpthread"]
        self.announce(" ".join(command), level=2)
        subprocess.run(command, check=True)
        fresh.replace(target)

    def copy_extensions_to_source(self) -> None:
        """For ``--inplace`` and editable installs: the preload library goes beside the sources as well."""
        super().copy_extensions_to_source()
        target = ROOT / "rtmalloc" / "lib" / "librtmalloc.so"
        fresh = target.with_suffix(".new")
        shutil.copy2(Path(self.build_lib) / "rtmalloc" / "lib" / "librtmalloc.so", fresh)
        fresh.replace(target)

    def get_outputs(self) -> list[str]:
        """The extension's files and the preload library, so that installs and wheels record it."""
        return [*super().get_outputs(), str(Path(self.build_lib) / "rtmalloc" / "lib" / "librtmalloc.so")]


class WithStartup(build_py):  # type: ignore[misc]
    """``build_py`` that puts ``rtmalloc.pth`` beside the package, where an interpreter looks for it."""

    def run(self) -> None:
        """Copy the packages, then the file."""
        super().run()
        self.copy_file(str(ROOT / "rtmalloc.pth"), self.build_lib)


class ConsoleScript(Distribution().get_command_class("build_scripts")):  # type: ignore[misc]
    """``build_scripts`` that tells the console script its interpreter: the name of binary and library folder."""

    def run(self) -> None:
        """Copy the scripts, then fill in the name."""
        super().run()
        script = Path(self.build_dir) / "rtmalloc"
        script.write_text(script.read_text().replace("@PYTHON@", Path(sysconfig.get_path("stdlib")).name))


def declared_write() -> None:
    """Generate what lists options and numbers, from their declarations (rtmalloc/core/declare.py)."""
    declare = module_from_file(CORE / "declare.py")
    try:
        declare.sources_write()
    except declare.DeclarationError as error:
        raise SystemExit(f"error: {error}") from None


def extensions() -> list[Extension]:
    """The extension modules, with every layer as a dependency so that a change of one rebuilds."""
    layers = sorted(str(p.relative_to(ROOT)) for p in CORE.rglob("*") if p.suffix in (".pxd", ".h", ".map"))
    # Without its own module state per interpreter Cython leaves out Py_mod_multiple_interpreters, and interpreters with
    # a lock of their own (PEP 684) refuse the module. And its classes must be made for each of them: a static one would
    # be changed by every interpreter that imports it, with objects of its own allocator.
    defines: list[tuple[str, str | None]] = [("CYTHON_USE_MODULE_STATE", "1"), ("CYTHON_USE_TYPE_SPECS", "1")]
    for define in os.environ.get("RTMALLOC_DEFINES", "").split():
        name, _, value = define.partition("=")
        defines.append((name, value or "1"))
    return [
        Extension(
            "rtmalloc._core",
            ["rtmalloc/_core.pyx"],
            include_dirs=[str(CORE)],
            define_macros=[("RT_SLICE_SHIFT", str(SLICE_BYTES.bit_length() - 1)), *defines],
            extra_compile_args=COMPILE_FLAGS + shlex.split(os.environ.get("RTMALLOC_CFLAGS", "")),
            extra_link_args=EXTENSION_LINK,
            depends=layers,
        ),
        # Without numpy's headers: it is built everywhere and used where a numpy is.
        Extension(
            "rtmalloc.numpy_handler",
            ["rtmalloc/numpy_handler.pyx"],
            include_dirs=[str(CORE)],
            define_macros=[("CYTHON_USE_MODULE_STATE", "1")],
            extra_compile_args=["-O2", "-fvisibility=hidden", "-Wno-unused-variable", "-Wno-unused-function"],
            depends=[str((CORE / "calls" / "api.h").relative_to(ROOT))],
        ),
    ]


if __name__ == "__main__":  # ci/variants.py imports the flags
    size_table_write()
    declared_write()
    setup(
        # An editable install of the checkout leaves them to `make build`, which compiles in place.
        ext_modules=cythonize(  # type: ignore[no-untyped-call]
            [] if os.environ.get("RTMALLOC_NO_EXTENSIONS") else extensions(),
            language_level=3,
            build_dir=os.environ.get("RTMALLOC_C_DIR"),
            emit_linenums=bool(os.environ.get("RTMALLOC_LINE_DIRECTIVES")),
            annotate=bool(os.environ.get("RTMALLOC_ANNOTATE")),
            compiler_directives={
                "cdivision": True,
                "boundscheck": False,
                "wraparound": False,
                "initializedcheck": False,
            },
        ),
        cmdclass={"build_ext": BuildTwice, "build_py": WithStartup, "build_scripts": ConsoleScript},
        scripts=["console/rtmalloc"],
    )
