"""PostgreSQL's settings, derived from the machine: sane on every machine, explained, and the user's word is last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.roles import modules

tuning = modules.part("tuning", "postgres")
machine = modules.part("machine", "postgres")

WYSE = tuning.Machine(memory_mib=32 * 1024, cores=4, rotational=False)
SMALL = tuning.Machine(memory_mib=1965, cores=2, rotational=False)
UNITS = {"MB": 1, "GB": 1024}


def values(machine: object = WYSE, **options: object) -> dict[str, str]:
    return {setting.name: setting.value for setting in tuning.tune(machine, **options)}


def mib(value: str) -> int:
    found = re.fullmatch(r"(\d+)(MB|GB)", value)
    assert found, value
    return int(found[1]) * UNITS[found[2]]


def test_search_on_a_wyse_with_32_gigabytes() -> None:
    assert values(profile="search") == {
        "autovacuum_vacuum_insert_scale_factor": "0.05",
        "autovacuum_work_mem": "512MB",
        "checkpoint_timeout": "15min",
        "effective_cache_size": "24GB",
        "effective_io_concurrency": "200",
        "hnsw.iterative_scan": "strict_order",
        "huge_pages": "try",
        "jit": "off",
        "maintenance_work_mem": "2730MB",
        "max_parallel_maintenance_workers": "3",
        "max_parallel_workers": "4",
        "max_parallel_workers_per_gather": "3",
        "max_wal_size": "4GB",
        "max_worker_processes": "8",
        "min_dynamic_shared_memory": "256MB",
        "min_wal_size": "1GB",
        "parallel_setup_cost": "100",
        "parallel_tuple_cost": "0.001",
        "random_page_cost": "1.1",
        "shared_buffers": "8GB",
        "wal_compression": "lz4",
        "work_mem": "256MB",
    }


@pytest.mark.parametrize("memory", [512, 1965, 8 * 1024, 32 * 1024, 128 * 1024])
@pytest.mark.parametrize("cores", [1, 2, 4, 32])
@pytest.mark.parametrize("profile", tuning.PROFILES)
def test_what_is_given_away_at_once_fits_the_memory(memory: int, cores: int, profile: str) -> None:
    """Buffers, one index build, and one search with all of its workers, each with a sort and a bitmap."""
    found = values(tuning.Machine(memory, cores, False), profile=profile)
    workers = int(found["max_parallel_workers_per_gather"]) + 1
    shared = mib(found["shared_buffers"]) + mib(found.get("min_dynamic_shared_memory", "0MB"))
    at_once = shared + mib(found["maintenance_work_mem"]) + 2 * workers * mib(found["work_mem"])
    assert at_once <= memory
    assert workers <= max(cores, 2)
    assert int(found["max_parallel_workers"]) <= int(found["max_worker_processes"])
    assert mib(found["autovacuum_work_mem"]) <= mib(found["maintenance_work_mem"])


def test_index_builds_get_what_pgvector_wants_only_where_searching_is_the_point() -> None:
    search, mixed = values(profile="search"), values()
    assert mib(search["maintenance_work_mem"]) >= 2048 > mib(mixed["maintenance_work_mem"])
    assert "jit" not in mixed


def test_small_machine_goes_without_huge_pages() -> None:
    assert values(SMALL)["huge_pages"] == "off"


def test_turning_disk_pays_for_jumps() -> None:
    turning = values(WYSE._replace(rotational=True))
    assert (turning["random_page_cost"], turning["effective_io_concurrency"]) == ("4", "2")


def test_share_leaves_memory_to_the_applications() -> None:
    assert values(share=0.5)["shared_buffers"] == "4GB"


def test_what_the_user_sets_wins_and_the_reason_says_what_it_replaced() -> None:
    settings = tuning.tune(WYSE, desired={"shared_buffers": "1GB", "jit": True, "max_connections": 30})
    found = {setting.name: setting for setting in settings}
    assert found["shared_buffers"] == ("shared_buffers", "1GB", "set for this host; by the machine: 8GB")
    assert found["jit"].value == "on"
    assert found["max_connections"] == ("max_connections", "30", "set for this host")
    assert [setting.name for setting in settings] == sorted(found)


def test_rendered_text_says_each_value_once_with_its_reason() -> None:
    lines = tuning.render(tuning.tune(WYSE, profile="search")).splitlines()
    told = [re.fullmatch(r"([a-z_.]+) = '[^']+' +# \S.*", line) for line in lines]
    assert all(told), lines
    assert len({match[1] for match in told if match}) == len(lines) == 22


def test_quotes_cannot_leave_their_value() -> None:
    assert tuning.quoted(r"it's \n") == r"'it''s \\n'"


@pytest.mark.negative
@pytest.mark.parametrize(
    ("machine", "options", "words"),
    [
        (WYSE, {"profile": "serach"}, "no profile `serach`: there are mixed and search"),
        (WYSE, {"share": 0}, "not 0"),
        (WYSE, {"share": 1.5}, "not 1.5"),
        (SMALL, {"share": 0.2}, "393 MiB for PostgreSQL are too little"),
        (WYSE, {"desired": {"work_mem": "4MB\nport = 1"}}, "one line"),
    ],
)
def test_nonsense_is_refused(machine: object, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tuning.render(tuning.tune(machine, **options))


@pytest.mark.parametrize(
    ("dimensions", "kind", "gigabytes"),
    [(384, "vector", 49), (384, "halfvec", 32), (384, "bit", 16), (768, "vector", 83), (1024, "vector", 105)],
)
def test_memory_of_an_index_over_22_million_spans(dimensions: int, kind: str, gigabytes: int) -> None:
    assert round(tuning.hnsw_bytes(22_000_000, dimensions, kind) / 1e9) == gigabytes


@pytest.mark.parametrize(
    ("memory", "rows", "dimensions", "kind"),
    [
        (64, 67057, 64, "vector"),
        (8, 1892, 384, "vector"),
        (8, 877, 1024, "vector"),
        (8, 2894, 384, "halfvec"),
        (8, 5735, 384, "bit"),
    ],
)
def test_memory_of_an_index_is_what_pgvector_was_seen_to_take(
    memory: int, rows: int, dimensions: int, kind: str
) -> None:
    """`maintenance_work_mem` in MiB, and after how many rows pgvector 0.8.0 said that the graph no longer fits."""
    assert tuning.hnsw_bytes(rows, dimensions, kind) == pytest.approx(memory << 20, rel=0.01)


@pytest.mark.negative
def test_unknown_kind_of_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match="no vectors of the kind `float8`: there are vector, halfvec, bit"):
        tuning.hnsw_bytes(1, 1, "float8")


@pytest.mark.negative
@pytest.mark.parametrize("version", ["0.5.1", "0.6.0", "0.8.0", "0.8.1", "0.8", "unknown"])
def test_a_pgvector_that_overflows_builds_alone(version: str) -> None:
    found = {setting.name: setting for setting in tuning.tune(WYSE._replace(pgvector=version), profile="search")}
    assert found["max_parallel_maintenance_workers"].value == "0"
    assert "CVE-2026-3172" in found["max_parallel_maintenance_workers"].reason


@pytest.mark.parametrize("version", [None, "0.8.2", "0.8.10", "0.9.0", "1.0"])
def test_one_that_is_mended_builds_with_every_core(version: str | None) -> None:
    assert values(WYSE._replace(pgvector=version))["max_parallel_maintenance_workers"] == "3"


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    control = tmp_path / "vector.control"
    assert machine.pgvector("17", str(control)) is None
    control.write_text("comment = 'vector data type'\ndefault_version = '0.8.0'\nmodule_pathname = '$libdir/vector'\n")
    assert machine.pgvector("17", str(control)) == "0.8.0"
    control.write_text("")
    assert machine.pgvector("17", str(control)) == "unknown"


@pytest.mark.parametrize(
    ("method", "version", "usual", "workers"),
    [
        ("hnsw", "0.8.0", 3, 0),  # also where somebody's own settings say 3
        ("HNSW", "0.8.0", 3, 0),
        ("gin", "0.8.0", 0, 3),
        ("gin", "0.8.0", 2, 2),
        ("hnsw", "0.8.2", 3, 3),
        ("hnsw", None, 3, 3),
        ("gin", "0.8.2", 0, 0),
    ],
)
def test_who_builds_an_index(method: str, version: str | None, usual: int, workers: int) -> None:
    assert modules.module("postgres_index", "postgres").workers_for(method, version, usual, 4) == workers
