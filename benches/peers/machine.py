"""What a result depends on besides the programs."""

import os
import platform
import subprocess

INTERESTING = ("sse4_2", "avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "sse4_2": "SSE4"}


def _cpuinfo():
    try:
        with open("/proc/cpuinfo") as info:
            pairs = (line.split(":", 1) for line in info if ":" in line)
            return {key.strip(): value.strip() for key, value in pairs}
    except OSError:
        return {}


def cores():
    """How many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def about():
    """Processor, cores that may be used, memory."""
    info = _cpuinfo()
    flags = set(info.get("flags", "").split())
    vectors = [name for flag, name in VECTORS.items() if flag in flags]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cpu_family": f"{info.get('vendor_id', '?')} family {info.get('cpu family', '?')} model {info.get('model', '?')}",
        "flags": [flag for flag in INTERESTING if flag in flags],
        "vectors": vectors[0] if vectors else "unknown vector units",
        "cores": cores(),
        "memory_gib": round(pages / 2**30),
        "system": platform.system(),
    }


def commit(root):
    """The commit that was measured, with `-dirty` if code has been changed since; None outside of git, or without it."""

    def git(*arguments):
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)

    try:
        head = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    except OSError:
        return None
    changed = git("diff", "--quiet", "HEAD", "--", "crates", "benches", "Cargo.toml", "Cargo.lock").returncode
    return head + ("-dirty" if changed else "") if head else None
