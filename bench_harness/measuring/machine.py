"""What a result must say of the machine it was measured on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil

__all__ = ["describe_machine", "machine_id"]

# The fields that make two machines the same kind: results are only ever pooled when all of these agree.
_KIND = ("cpu", "cores", "memory_bytes", "architecture", "kernel", "glibc", "transparent_hugepages")


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _cpu() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith(("model name", "Processor", "CPU part")):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _chosen(text: str) -> str:
    """The bracketed word of a kernel setting: "always [madvise] never" gives "madvise"."""
    return text.partition("[")[2].partition("]")[0] or text or "unknown"


def _compiler() -> str:
    command = shutil.which("gcc") or shutil.which("cc")
    if command is None:
        return "none"
    said = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=20)
    return said.stdout.partition("\n")[0]


def describe_machine() -> dict[str, Any]:
    """CPU, cores, memory, kernel and its settings, C library, compiler and Python, ready for JSON.

    Sizes are in bytes. `id` is a hash of those fields that decide whether two results may be compared.
    """
    fields: dict[str, Any] = {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "glibc": " ".join(platform.libc_ver()),
        "transparent_hugepages": _chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "overcommit": _read("/proc/sys/vm/overcommit_memory"),
        "page_bytes": os.sysconf("SC_PAGESIZE"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "unknown",
        "compiler": _compiler(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "hostname": platform.node(),
    }
    return {"id": machine_id(fields), **fields}


def machine_id(fields: dict[str, Any]) -> str:
    """A short hash of the fields that make a machine type."""
    text = json.dumps([fields[name] for name in _KIND])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
