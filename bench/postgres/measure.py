"""Three configurations of the same spans, measured in one run: see `queries.py` for what they are.

A is measured before B's indexes exist, in the same table. B and C are asked in turn, round by round, so that what
else happens on the machine meets both.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.postgres import restore
from bench.postgres.queries import (
    DIMENSIONS,
    OBVIOUS_INDEXES,
    TABLE,
    VECTORS,
    Kind,
    Sample,
    percentile,
    questions,
    recall,
    role_indexes,
    samples,
    script,
    tuned_table,
)
from bench.postgres.server import DEFAULTS, TUNED, Cluster, container, huge_bytes, huge_pages, versions
from bench.spans import SEED, Corpus
from homelab_provision import paths
from homelab_provision.errors import ProvisionError

sys.path.append(str(paths.content("roles") / "postgres" / "module_utils" / "homelab_postgres"))
postgres_tuning: Any = import_module("tuning")  # lies where Ansible looks for it

ROWS = 1_000_000
PARTS = 2
ROUNDS = 8
# What A is asked of each kind: it reads the whole table every time.
ASKED_OF_A = {Kind.RANKED_COMMON: 3, Kind.RANKED_RARE: 3, Kind.TRIGRAM: 10}
TUNED_FOR = postgres_tuning.Machine(memory_mib=16 * 1024, cores=os.cpu_count() or 1, rotational=False)
# Every cluster of the role carries these (roles/postgres/templates/postgresql.conf.j2); they cost a little.
HELP_WITH_SLOW_QUERIES = """shared_preload_libraries = 'pg_stat_statements,auto_explain'
pg_stat_statements.track_utility = off
auto_explain.log_min_duration = '1000ms'
auto_explain.log_parameter_max_length = 0
"""
ITERATIVE = "SET hnsw.iterative_scan = strict_order;"
# Candidates that C's search may keep, the default first: the first with which C finds as much as B is taken.
EF_SEARCH = (40, 48, 56, 64, 80, 100, 140, 200)

Samples = dict[Kind, list[Sample]]


def measure(rows: int = ROWS) -> Iterator[dict[str, object]]:
    """Everything about PostgreSQL, under one key; yielded whenever a part of it is known."""
    with TemporaryDirectory(prefix="hlp-bench-") as folder, huge_pages(), container(Path(folder)):
        run = Run(rows, Path(folder))
        for part in (run.load, run.ask_a, run.build, run.ask_b_and_c, run.restore):
            part()
            yield {"postgres": run.figures}


class Run:
    """One run: the figures so far, and the answers that later ones are compared with."""

    def __init__(self, rows: int, folder: Path) -> None:
        self._rows, self._folder = rows, folder
        self._corpus = Corpus.of(DIMENSIONS)
        self._questions = questions(self._corpus)
        self._exact: Samples = {}
        self._tuning = postgres_tuning.tune(TUNED_FOR, profile="search")
        self.figures: dict[str, Any] = {
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": rows,
            "dimensions": DIMENSIONS,
            "seed": SEED,
            "machine": machine(),
            "tuned_for": TUNED_FOR._asdict(),
            "settings": {setting.name: setting.value for setting in self._tuning},
            "versions": versions(),
        }

    def load(self) -> None:
        """The same rows into both clusters, in the same order."""
        say(f"making {self._rows} rows of {DIMENSIONS} dimensions")
        self._folder.chmod(0o755)  # PostgreSQL reads the rows from it
        _generate(self._corpus, self._rows, self._folder)
        settings = postgres_tuning.render(self._tuning) + HELP_WITH_SLOW_QUERIES
        loads = {
            "B": _load(DEFAULTS, TABLE),
            "C": _load(TUNED, tuned_table(TUNED_FOR.cores), settings),
        }
        self.figures["load"] = loads
        say(f"loaded: {loads}")

    def ask_a(self) -> None:
        """No index: every answer is exact."""
        DEFAULTS.start()
        for kind, asked in self._questions.items():
            queries = [query.plain for query in asked[: ASKED_OF_A.get(kind)]]
            self._exact[kind] = samples(DEFAULTS.psql(script(queries)))  # the first time warms up
            self._record("A", kind, self._exact[kind])
        DEFAULTS.stop()

    def build(self) -> None:
        """Indexes of B and of C, one cluster at a time."""
        builds: dict[str, dict[str, dict[str, object]]] = {}
        self.figures["builds"] = builds
        for letter, cluster, indexes in (
            ("B", DEFAULTS, OBVIOUS_INDEXES),
            ("C", TUNED, role_indexes(TUNED_FOR.cores)),
        ):
            cluster.start()
            for index in indexes:
                built = cluster.build(index)
                builds.setdefault(index.name, {})[letter] = built._asdict()
                say(f"{letter} built {index.name}: {built}")
            # Without it the planner knows nothing of B's expression, nor what is visible to all.
            cluster.psql("VACUUM ANALYZE; CHECKPOINT;")
            cluster.stop()
        hnsw = builds["hnsw"]
        self.figures["hnsw_build_gain"] = ratio(hnsw["B"]["seconds"], hnsw["C"]["seconds"])

    def ask_b_and_c(self) -> None:
        """Both clusters run; each is asked in turn."""
        DEFAULTS.start()
        TUNED.start()
        self._choose_ef_search()
        seen: dict[str, Samples] = {"B": {kind: [] for kind in Kind}, "C": {kind: [] for kind in Kind}}
        for number in range(ROUNDS + 1):
            for kind in Kind:
                for letter, cluster, queries in self._turns(kind)[:: 1 if number % 2 else -1]:
                    answered = samples(cluster.psql(script(queries, _settings(letter, kind))))
                    if number:  # the first round only warms up
                        seen[letter][kind] += answered
            say(f"round {number} of {ROUNDS}")
        for kind in Kind:
            for letter in ("B", "C"):
                self._check(kind, seen[letter][kind])
                self._record(letter, kind, seen[letter][kind])
        self._note_what_b_misses()
        self._compare()
        self.figures["settings_in_use"] = {**_settings_in_use(), "huge_bytes_of_shared_memory": huge_bytes()}
        DEFAULTS.stop()
        TUNED.stop()

    def restore(self) -> None:
        """How fast the database comes back, over a plain copy."""
        self.figures["restore"] = restore.measure(TUNED)
        self.figures["restore_over_copy"] = self.figures["restore"]["restore_over_copy"]
        self.figures["machine"]["load_after"] = os.getloadavg()[0]

    def _turns(self, kind: Kind) -> list[tuple[str, Cluster, list[str]]]:
        asked = self._questions[kind]
        return [("B", DEFAULTS, [one.plain for one in asked]), ("C", TUNED, [one.tuned for one in asked])]

    def _choose_ef_search(self) -> None:
        """The smallest one with which C finds at least as many of the nearest as B does."""
        kinds = (Kind.VECTOR, Kind.VECTOR_FILTERED)
        wanted = {kind: self._found(DEFAULTS, kind, _settings("B", kind)) for kind in kinds}
        for ef_search in EF_SEARCH:
            setting = [f"SET hnsw.ef_search = {ef_search};"]
            if all(self._found(TUNED, kind, setting) >= wanted[kind] for kind in kinds):
                break
        self.figures["hnsw_ef_search"] = {"B": EF_SEARCH[0], "C": ef_search}
        TUNED.psql(f"ALTER DATABASE spans SET hnsw.ef_search = {ef_search};")

    def _found(self, cluster: Cluster, kind: Kind, settings: Sequence[str]) -> float:
        answered = samples(cluster.psql(script([one.plain for one in self._questions[kind]], settings)))
        return recall(_answers(answered), _answers(self._exact[kind]))

    def _note_what_b_misses(self) -> None:
        """B answers a filter that no near row passes only with a setting that is not the default: say what it is."""
        kind = Kind.VECTOR_FILTERED_APART
        noted = self.figures["queries"][kind]["B"]
        noted["recall_as_it_comes"] = round(self._found(DEFAULTS, kind, ()), 3)

    def _check(self, kind: Kind, answered: list[Sample]) -> None:
        """Text has one right answer, and all three have to give it."""
        if kind in VECTORS:
            return
        for given, exact in zip(answered, self._exact[kind], strict=False):
            if given.answer != exact.answer:
                raise ProvisionError(f"{kind}: an index changes the answer: {given.answer} instead of {exact.answer}")

    def _record(self, letter: str, kind: Kind, answered: list[Sample]) -> None:
        times = [sample.milliseconds for sample in answered]
        noted: dict[str, object] = {
            "p50_ms": round(percentile(times, 50), 3),
            "p95_ms": round(percentile(times, 95), 3),
            "samples": len(times),
        }
        if kind in VECTORS:
            exact = _answers(self._exact[kind])
            noted["recall"] = round(recall(_answers(answered), exact * (len(answered) // len(exact))), 3)
        self.figures.setdefault("queries", {}).setdefault(kind.value, {})[letter] = noted
        say(f"{letter} {kind}: {noted}")

    def _compare(self) -> None:
        queries = self.figures["queries"]
        slower = {kind: ratio(queries[kind]["C"]["p50_ms"], queries[kind]["B"]["p50_ms"]) for kind in queries}
        common = queries[Kind.RANKED_COMMON]
        self.figures["c_over_b"] = slower
        self.figures["slowest_query"], self.figures["slowest_query_ratio"] = max(slower.items(), key=lambda one: one[1])
        self.figures["ranked_common_gain"] = ratio(common["B"]["p50_ms"], common["C"]["p50_ms"])


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "load_before": os.getloadavg()[0],
    }


def ratio(one: Any, other: Any) -> float:
    return round(float(one) / float(other), 3)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def _settings(letter: str, kind: Kind) -> list[str]:
    """What a session of B needs to give an answer at all; C has its settings in the database."""
    return [ITERATIVE] if letter == "B" and kind is Kind.VECTOR_FILTERED_APART else []


def _settings_in_use() -> dict[str, object]:
    names = ("huge_pages_status", "shared_buffers", "maintenance_work_mem", "jit", "server_version")
    return {name: TUNED.psql(f"SHOW {name}").strip() for name in names}


def _answers(answered: Sequence[Sample]) -> list[tuple[int, ...]]:
    return [sample.answer for sample in answered]


def _generate(corpus: Corpus, rows: int, folder: Path) -> None:
    """Files part-0, part-1, … below `folder`, made by as many processes."""
    each = -(-rows // PARTS)
    with ProcessPoolExecutor(PARTS) as pool:
        made = [
            pool.submit(_write, corpus, folder / f"part-{part}", part * each + 1, min(each, rows - part * each))
            for part in range(PARTS)
        ]
        for one in made:
            one.result()


def _write(corpus: Corpus, path: Path, first: int, rows: int) -> None:
    with path.open("w") as file:
        file.writelines(span.copy_line() for span in corpus.spans(rows, first))


def _load(cluster: Cluster, table: str, settings: str = "") -> dict[str, object]:
    """Make the cluster, fill it, stop it; seconds and bytes."""
    cluster.create(settings)
    cluster.start()
    cluster.psql("CREATE DATABASE spans", database="postgres")
    copies = [f"COPY spans (id, topic, body, embedding) FROM '/spans/part-{part}';" for part in range(PARTS)]
    told = cluster.psql("\n".join([table, r"\timing on", *copies, r"\timing off", "VACUUM ANALYZE;", "CHECKPOINT;"]))
    seconds = sum(float(line.split()[1]) for line in told.splitlines() if line.startswith("Time: ")) / 1000
    size = int(cluster.psql("SELECT sum(pg_table_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname ~ '^spans'"))
    cluster.stop()
    return {"seconds": round(seconds, 1), "table_bytes": size}
