"""What is slow in a cluster, and what an HNSW index would cost: questions to the server, and readable answers.

The estimates say where to look; they are not measurements. How much a table has grown beyond its rows is reckoned from
the statistics that ANALYZE has gathered, without what is stored out of line.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.homelab_postgres.client import identifier, literal
from ansible.module_utils.homelab_postgres.tuning import hnsw_bytes

# What a column can be indexed as: as it is, with half the precision, by the signs alone.
KINDS = {"vector": ("vector", "halfvec", "bit"), "halfvec": ("halfvec", "bit"), "sparsevec": ("sparsevec",)}
# The most that pgvector takes into an HNSW index (its README): dimensions, or elements that are not zero.
MOST = {"vector": 2000, "halfvec": 4000, "bit": 64_000, "sparsevec": 1000}
WIDTH = 100
# Rows of which the fullest sparse vector is sought.
SAMPLE = 10_000

# Where the extension lies, which is not where our sessions look names up.
STATISTICS = """
SELECT coalesce((SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
    WHERE extname = 'pg_stat_statements'), 'public')
"""
QUERIES = """
SELECT coalesce(json_agg(t), '[]') FROM (
    SELECT d.datname AS database, s.calls, round(s.total_exec_time) AS total_ms,
        round(s.mean_exec_time::numeric, 1) AS mean_ms, s.rows,
        s.shared_blks_read AS blocks_read, s.temp_blks_written AS temporary_blocks,
        regexp_replace(s.query, '\\s+', ' ', 'g') AS query
    FROM {statistics}.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
    ORDER BY s.total_exec_time DESC LIMIT {limit}) t
"""
MEMORY = "SELECT pg_size_bytes(current_setting('maintenance_work_mem'))"

# Tables of more than a megabyte of which whole reads have taken more rows than there are.
READ_WHOLE = """
SELECT coalesce(json_agg(t), '[]') FROM (
    SELECT relid::regclass::text AS name, seq_scan AS scans, seq_tup_read AS rows_read,
        coalesce(idx_scan, 0) AS by_index, n_live_tup AS rows, pg_relation_size(relid) AS bytes
    FROM pg_stat_user_tables WHERE seq_scan > 1 AND seq_tup_read > n_live_tup AND pg_relation_size(relid) > 1048576
    ORDER BY seq_tup_read DESC LIMIT {limit}) t
"""
# What no constraint needs; an index that cannot be used is named whatever it is for.
UNUSED = """
SELECT coalesce(json_agg(t), '[]') FROM (
    SELECT s.indexrelid::regclass::text AS name, s.relid::regclass::text AS table, i.indisvalid AS valid,
        pg_relation_size(s.indexrelid) AS bytes
    FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)
    WHERE s.idx_scan = 0 AND NOT i.indisunique OR NOT i.indisvalid
    ORDER BY pg_relation_size(s.indexrelid) DESC LIMIT {limit}) t
"""
# 28 bytes a row are its header and its pointer (manual, 65.6), rows begin at multiples of 8.
BLOAT = """
SELECT coalesce(json_agg(t), '[]') FROM (
    SELECT name, bytes, greatest(0, bytes - needed) AS unneeded, dead FROM (
        SELECT c.oid::regclass::text AS name, pg_relation_size(c.oid) AS bytes, n_dead_tup AS dead,
            (c.reltuples * (28 + 8 * ceil(coalesce(w.width, 0) / 8)) * 8192 / 8168
                * 100 / coalesce((SELECT option_value::int FROM pg_options_to_table(c.reloptions)
                                  WHERE option_name = 'fillfactor'), 100))::bigint AS needed
        FROM pg_class c JOIN pg_stat_user_tables u ON u.relid = c.oid
        LEFT JOIN LATERAL (SELECT sum((1 - null_frac) * avg_width) AS width FROM pg_stats
            WHERE schemaname = u.schemaname AND tablename = u.relname) w ON true
        WHERE c.relkind = 'r' AND c.reltuples > 0) reckoned
    WHERE bytes > 1048576 AND (bytes - needed > bytes / 5 OR dead > 10000)
    ORDER BY bytes - needed DESC LIMIT {limit}) t
"""
# Only of pgvector's own types: what is asked about them calls its functions, and a type of that name may be anybody's.
VECTORS = """
SELECT coalesce(json_agg(t), '[]') FROM (
    SELECT c.oid::regclass::text AS table, a.attname AS column, y.typname AS type, a.atttypmod AS dimensions,
        quote_ident(n.nspname) AS schema,
        greatest(c.reltuples, u.n_live_tup, 0)::bigint AS rows,
        EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
                WHERE i.indrelid = c.oid AND m.amname = 'hnsw'
                    AND pg_get_indexdef(i.indexrelid) LIKE '%' || a.attname || '%') AS indexed
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type y ON y.oid = a.atttypid
    JOIN pg_namespace n ON n.oid = y.typnamespace
    JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = y.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'vector'
    LEFT JOIN pg_stat_user_tables u ON u.relid = c.oid
    WHERE c.relkind IN ('r', 'm') AND a.attnum > 0 AND NOT a.attisdropped
        AND y.typname IN ('vector', 'halfvec', 'sparsevec')
    ORDER BY rows DESC LIMIT {limit}) t
"""
OF_DATABASE = {"read_whole": READ_WHOLE, "unused_indexes": UNUSED, "bloat": BLOAT, "vectors": VECTORS}


def dimensions_question(vector: dict[str, Any]) -> str:
    """For a column that does not declare how many dimensions its vectors have: those of one of them. For sparse
    vectors the most elements that are not zero, of so many rows: 8 bytes each, after a head of 13 or 16."""
    quoted = identifier(vector["column"])
    # The names of table and schema come from the server, quoted where they have to be.
    some = f"FROM {vector['table']} WHERE {quoted} IS NOT NULL LIMIT"
    if vector["type"] == "sparsevec":
        return f"SELECT max((pg_column_size(v) - 13) / 8) FROM (SELECT {quoted} {some} {SAMPLE}) AS seen (v)"
    return f"SELECT {vector['schema']}.vector_dims({quoted}) {some} 1"


def costed(vector: dict[str, Any], memory: int) -> dict[str, Any]:
    """The vector column with the bytes that an HNSW index takes while it is built, as each kind that it can be indexed
    as; which of them fit `memory`; and why it cannot be indexed as the others."""
    dimensions, kinds = vector["dimensions"], KINDS[vector["type"]]
    unit = "elements that are not zero" if vector["type"] == "sparsevec" else "dimensions"
    possible = [kind for kind in kinds if 0 < dimensions <= MOST[kind]]
    needs = {kind: hnsw_bytes(vector["rows"], dimensions, kind) for kind in possible}
    refused = {kind: f"an index has at most {MOST[kind]} {unit}" for kind in kinds if dimensions > MOST[kind]}
    fits = [kind for kind, size in needs.items() if size <= memory]
    return {**vector, "unit": unit, "hnsw_bytes": needs, "fits": fits, "refused": refused}


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    lines = ["The queries that took the most time altogether:"]
    lines += [
        f"  {q['total_ms']:>10} ms in {q['calls']} calls of {q['mean_ms']} ms, {q['rows']} rows, {q['database']}: "
        f"{q['query'][:WIDTH]}"
        for q in report["queries"]
    ] or ["  none was seen yet"]
    for name, found in report["databases"].items():
        lines += [f"Database {name}:", *_about(found, report["maintenance_work_mem"])]
    return lines


def _about(found: dict[str, Any], memory: int) -> list[str]:
    lines = [
        f"  read as a whole: {t['name']} ({size(t['bytes'])}, {t['rows']} rows) {t['scans']} times, by an index "
        f"{t['by_index']} times; look for its conditions among the queries above"
        for t in found["read_whole"]
    ]
    for i in found["unused_indexes"]:
        trouble = "never used" if i["valid"] else "INVALID, cannot be used"
        lines.append(f"  {trouble}: index {i['name']} of {i['table']} ({size(i['bytes'])})")
    for t in found["bloat"]:
        more = f"by about {size(t['unneeded'])}, {t['dead']} dead rows"
        lines.append(f"  larger than its rows: {t['name']} ({size(t['bytes'])}) {more}")
    lines += [_hnsw(vector, memory) for vector in found["vectors"]]
    return lines or ["  nothing to say"]


def _hnsw(vector: dict[str, Any], memory: int) -> str:
    where = f"{vector['table']}.{vector['column']} ({vector['rows']} rows of {vector['dimensions']} {vector['unit']})"
    state = "has an HNSW index" if vector["indexed"] else "has no HNSW index"
    lines = [f"  {where} {state}"]
    if not vector["refused"] or vector["hnsw_bytes"]:
        needs = ", ".join(f"{kind} {size(number)}" for kind, number in vector["hnsw_bytes"].items())
        fits = ", ".join(vector["fits"]) or "none: building takes many times longer then"
        lines.append(f"it is built in {needs or 'an unknown amount'}; into {size(memory)} fits {fits}")
    lines += [f"it cannot be indexed as {kind}: {why}" for kind, why in vector["refused"].items()]
    if vector["refused"]:
        lines.append(_instead(vector))
    return "; ".join(lines)


def _instead(vector: dict[str, Any]) -> str:
    """What can be indexed of a column with too many dimensions, as an index's definition has it."""
    column, dimensions = vector["column"], vector["dimensions"]
    if vector["type"] == "sparsevec":
        return "keep fewer elements of each, as those that weigh most"
    if "halfvec" in vector["hnsw_bytes"]:
        return f"with half the precision: (({column}::halfvec({dimensions})) halfvec_cosine_ops)"
    if "bit" in vector["hnsw_bytes"]:
        return f"by the signs, to be ranked again: ((binary_quantize({column})::bit({dimensions})) bit_hamming_ops)"
    return f"a part of it: ((subvector({column}, 1, {MOST['vector']})::vector({MOST['vector']})) vector_cosine_ops)"


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} TB"


def databases_question() -> str:
    excluded = ", ".join(literal(name) for name in ("template0", "template1", "postgres"))
    return (
        f"SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database WHERE datname NOT IN ({excluded})"
    )
