"""PostgreSQL's settings for the machine that it runs on, each with its reason.

Pure: a machine in, values and reasons out. The reasons become comments of the generated configuration, so
whoever opens it on the host reads why a value is what it is. What the user sets always wins.

Sources: PostgreSQL 17's manual, chapter 19 (what a parameter does, its limits and default) and chapter 14.4
(loading data); pgvector's README ("Index Build Time": the graph has to fit `maintenance_work_mem`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MIB_PER_GIB = 1024
PROFILES = ("mixed", "search")
# Below this, half of the memory would be buffers and connections: nothing is left to divide.
LEAST_MEMORY_MIB = 512

# How much of the memory goes where, as one part in so many.
BUFFERS, CACHE_OF_FOUR, MAINTENANCE, VACUUM, WORK, WAL = 4, 3, 12, 64, 128, 8

# What pgvector takes for a graph beside the numbers of the vectors: at once, and for each of them.
GRAPH_BYTES, GRAPH_BYTES_PER_ROW = 4 << 20, 682

# Before it, a parallel build of an HNSW index writes past its memory: other tables' data are shown, or the server ends.
MENDED_PGVECTOR = (0, 8, 2)
WHY_ALONE = "HNSW indexes are not built in parallel before 0.8.2 (CVE-2026-3172)"


class Machine(NamedTuple):
    """What matters of a machine: memory in MiB, cores that the kernel sees, whether the data's disk turns, and the
    version of pgvector that its packages bring, if any."""

    memory_mib: int
    cores: int
    rotational: bool
    pgvector: str | None = None


class Setting(NamedTuple):
    """One parameter, its value as postgresql.conf wants it (unquoted), and why."""

    name: str
    value: str
    reason: str


def tune(
    machine: Machine, *, profile: str = "mixed", share: float = 1.0, desired: Mapping[str, object] | None = None
) -> list[Setting]:
    """The settings of a cluster on `machine`, sorted by name.

    `share` is the part of the memory that the cluster may count on (0 < share <= 1): less than 1 where
    applications live on the same machine. `desired` are the user's own values. Raises `ValueError` for a profile
    that is not known, a share that is no share, and a machine that is too small.
    """
    if profile not in PROFILES:
        raise ValueError(f"no profile `{profile}`: there are {' and '.join(PROFILES)}")
    if not 0 < share <= 1:
        raise ValueError(f"a share of the memory lies above 0 and is at most 1, not {share}")
    memory = int(machine.memory_mib * share)
    if memory < LEAST_MEMORY_MIB:
        raise ValueError(f"{memory} MiB for PostgreSQL are too little; it needs at least {LEAST_MEMORY_MIB}")
    derived = [
        *_memory(memory, profile),
        *_parallel(machine),
        *_disk(machine.rotational),
        *_writing(memory),
        *(_searching(memory, machine.cores) if profile == "search" else _mixed(machine.cores)),
    ]
    return sorted(_won({setting.name: setting for setting in derived}, desired or {}).values())


def render(settings: list[Setting]) -> str:
    """The settings as text of a configuration file, each with its reason behind it."""
    width = max((len(f"{setting.name} = {quoted(setting.value)}") for setting in settings), default=0)
    lines = [f"{setting.name} = {quoted(setting.value)}".ljust(width) + f"  # {setting.reason}" for setting in settings]
    return "\n".join(lines) + "\n"


def quoted(value: str) -> str:
    """A value as postgresql.conf takes any value: in single quotes, with quotes and backslashes doubled."""
    if "\n" in value:
        raise ValueError(f"a setting is one line, not {value!r}")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def hnsw_bytes(rows: int, dimensions: int, kind: str = "vector") -> int:
    """Memory in bytes that the graph of an HNSW index (m = 16) takes while it is built; more than that, and it spills.

    A vector has 4 bytes a dimension (`halfvec` 2, `bit` an eighth, `sparsevec` 8 for each that is not zero). Its place
    in the graph, mostly the list of its neighbours, is as large for every kind: in bits a graph is not much smaller.
    Measured with pgvector 0.8.0, which tells after how many rows a graph no longer fits; the same within a hundredth
    for 64 to 1024 dimensions (`sparsevec` is computed).
    """
    bits = {"vector": 32, "halfvec": 16, "bit": 1, "sparsevec": 64}
    if kind not in bits:
        raise ValueError(f"no vectors of the kind `{kind}`: there are {', '.join(bits)}")
    return GRAPH_BYTES + rows * (GRAPH_BYTES_PER_ROW + dimensions * bits[kind] // 8)


def _memory(memory: int, profile: str) -> list[Setting]:
    share = f"of the {size(memory)} that it may count on"
    buffers = memory // BUFFERS
    maintenance = clamp(memory // (MAINTENANCE if profile == "search" else MAINTENANCE * 2), 64, 4 * MIB_PER_GIB)
    builds = "index builds: GIN is sorted and an HNSW graph built in it" if profile == "search" else "index builds"
    huge = buffers >= MIB_PER_GIB
    return [
        Setting("shared_buffers", size(buffers), f"a quarter {share}; the kernel caches in the rest"),
        Setting(
            "effective_cache_size", size(memory * CACHE_OF_FOUR // 4), f"three quarters {share}: buffers and cache"
        ),
        Setting(
            "maintenance_work_mem", size(maintenance), f"one part in {memory // maintenance} {share}, for {builds}"
        ),
        Setting(
            "autovacuum_work_mem",
            size(clamp(memory // VACUUM, 64, MIB_PER_GIB)),
            "three vacuums at once must not take what an index build may take",
        ),
        Setting(
            "work_mem",
            size(clamp(memory // WORK, 4, 512)),
            "for each sort and bitmap of each worker; a bitmap that does not fit makes a search check every row",
        ),
        Setting(
            "huge_pages",
            "try" if huge else "off",
            "page tables of large buffers cost memory and time" if huge else "buffers below 1GB gain nothing",
        ),
    ]


def _parallel(machine: Machine) -> list[Setting]:
    cores = machine.cores
    builds = Setting("max_parallel_maintenance_workers", str(max(cores - 1, 1)), "an index build may use every core")
    if builds_hnsw_alone(machine.pgvector):
        builds = Setting("max_parallel_maintenance_workers", "0", f"pgvector {machine.pgvector}: {WHY_ALONE}")
    return [
        Setting("max_worker_processes", str(max(cores * 2, 8)), f"room for {cores} cores and for extensions"),
        Setting("max_parallel_workers", str(cores), f"{cores} cores"),
        builds,
    ]


def builds_hnsw_alone(pgvector: str | None) -> bool:
    """Whether this version must not build HNSW indexes in parallel. One that is no version is taken for an old one."""
    if pgvector is None:
        return False
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", pgvector)
    return numbers is None or tuple(int(number or 0) for number in numbers.groups()) < MENDED_PGVECTOR


def _disk(rotational: bool) -> list[Setting]:
    if rotational:
        return [
            Setting("random_page_cost", "4", "the disk turns: a jump costs several pages in a row"),
            Setting("effective_io_concurrency", "2", "the disk turns: it serves one place at a time"),
        ]
    return [
        Setting("random_page_cost", "1.1", "no moving parts: a jump costs hardly more than the next page"),
        Setting("effective_io_concurrency", "200", "no moving parts: it serves many requests at once"),
    ]


def _writing(memory: int) -> list[Setting]:
    largest = clamp(memory // WAL, MIB_PER_GIB, 8 * MIB_PER_GIB)
    return [
        Setting("max_wal_size", size(largest), "bulk loads run into fewer forced checkpoints"),
        Setting("min_wal_size", size(largest // 4), "log files are used again instead of made anew"),
        Setting("checkpoint_timeout", "15min", "each checkpoint makes the log carry whole pages again"),
        Setting("wal_compression", "lz4", "less to write and to archive, for little processor time"),
        Setting(
            "autovacuum_vacuum_insert_scale_factor",
            "0.05",
            "a table that only grows gets its visibility map, and GIN its pending list sorted in",
        ),
    ]


def _mixed(cores: int) -> list[Setting]:
    return [
        Setting(
            "max_parallel_workers_per_gather",
            str(max(cores // 2, 1)),
            "half of the cores for one query leaves some for the others",
        ),
    ]


def _searching(memory: int, cores: int) -> list[Setting]:
    """Few and heavy queries. The planner takes a ranked search for cheaper than it is: a call of ts_rank counts like
    adding two numbers, and a row that a worker sorts out counts as if it were handed on."""
    return [
        Setting(
            "max_parallel_workers_per_gather",
            str(max(cores - 1, 1)),
            "one search may use every core: its own process works, too",
        ),
        Setting("parallel_setup_cost", "100", "a worker starts in 3 ms; ranked searches cost more than estimated"),
        Setting("parallel_tuple_cost", "0.001", "of what a worker ranks it hands on the best, not every row"),
        Setting(
            "min_dynamic_shared_memory",
            size(clamp(memory // WORK, 16, 512)),
            "what workers share lies ready, in the pages of the buffers, and is not made for each query",
        ),
        Setting("jit", "off", "compiling takes longer than short queries do"),
        Setting("hnsw.iterative_scan", "strict_order", "a filter that few near rows pass must not shorten the answer"),
    ]


def _won(derived: Mapping[str, Setting], desired: Mapping[str, object]) -> dict[str, Setting]:
    """`derived` with the user's values on top; the reason says what the machine would have had."""
    settings = dict(derived)
    for name, value in desired.items():
        instead = f"; by the machine: {derived[name].value}" if name in derived else ""
        settings[name] = Setting(name, _text(value), f"set for this host{instead}")
    return settings


def _text(value: object) -> str:
    """A value of YAML as PostgreSQL writes it: `true` is `on`."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def size(mib: int) -> str:
    """A size in PostgreSQL's units, which are powers of 1024: `8GB` where it is whole, else `170MB`."""
    return f"{mib // MIB_PER_GIB}GB" if mib % MIB_PER_GIB == 0 else f"{mib}MB"


def clamp(value: int, least: int, most: int) -> int:
    return max(least, min(value, most))
