"""`python -m benchmarks.postgres_storage --url postgresql://... [parts]`: what each storage choice costs.

One thing is changed at a time against the same baseline. The variants of a part take turns (A B C A B C ...), because
the machine is shared: figures of one run compare with each other, not with another run's. Give it an empty database: it
makes tables named after the variants, and drops them. Backend CPU is read from /proc, so the server must run here.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from time import perf_counter, process_time

import psycopg

from benchmarks.postgres_rows import Db, Maker, Table, block, run
from benchmarks.postgres_variants import BATCH, BY_TEMPORARY, PARTS, Batch, Sample, Variant, copied, direct, temporary

# --- Measuring -----------------------------------------------------------------------------------------------


def _cpu(db: Db) -> float:
    """CPU seconds of this connection's backend so far."""
    return int(Path(f"/proc/{db.info.backend_pid}/schedstat").read_text().split()[0]) / 1e9


def _lsn(db: Db) -> int:
    [(place,)] = run(db, "SELECT pg_current_wal_insert_lsn() - '0/0'")
    db.commit()
    return int(place)


def timed(db: Db, work: Callable[[], None]) -> Sample:
    lsn, backend, client, wall = _lsn(db), _cpu(db), process_time(), perf_counter()
    work()
    wall, client, backend = perf_counter() - wall, process_time() - client, _cpu(db) - backend
    return Sample(wall * 1e3, client * 1e3, backend * 1e3, (_lsn(db) - lsn) / BATCH)


def measure(db: Db, variants: Sequence[Variant], filled: int, rounds: int, turn: int) -> None:
    """Fill each table, then let the variants take turns of so many batches."""
    makers = {}
    for variant in variants:
        variant.table.make(db)
        for first in range(0, filled, 500_000):
            variant.table.fill(db, first, min(first + 500_000, filled))
        variant.prepare(db, variant.table.name)
        makers[variant.name] = Maker(variant.table, filled)
        if variant.again:
            direct(db, variant.table.name, _batch(makers[variant.name], 0))
    with psycopg.connect(db.info.dsn, autocommit=True) as other:
        for variant in variants:
            other.execute(f"VACUUM ANALYZE {variant.table.name}".encode())
        other.execute("CHECKPOINT")
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else variants[::-1]:
            samples = []
            for _ in range(1 + turn):
                batch = _batch(makers[variant.name], variant.again)
                samples.append(timed(db, lambda: variant.load(db, variant.table.name, batch)))  # noqa: B023  # at once
            # The first one also fetches what the other tables have pushed out of the cache.
            variant.samples += samples[1:]


def _batch(maker: Maker, again: int) -> Batch:
    rows = maker.batch(BATCH, again=again)
    return Batch(rows, block(rows))


def report(title: str, names: str, lines: Sequence[Sequence[object]]) -> None:
    """A Markdown table; `names` are those of the columns after the first. Medians, where nothing else is said."""
    print(f"\n### {title}\n\n| |{names}|\n|{'---|' * (names.count('|') + 2)}")
    for line in lines:
        print(f"| {' | '.join(map(str, line))} |", flush=True)


def _brief(samples: Sequence[Sample]) -> list[str]:
    return [
        f"{summary(getattr(one, what) for one in samples):.0f}"
        for what in ("wall", "backend")
        for summary in (statistics.median, min)
    ]


def show(db: Db, title: str, variants: Sequence[Variant]) -> None:
    lines: list[Sequence[object]] = []
    first: tuple[float, float] | None = None
    for variant in variants:
        wall, client, backend, wal = (
            statistics.median(getattr(one, what) for one in variant.samples)
            for what in ("wall", "client", "backend", "wal")
        )
        least, calm = (min(getattr(one, what) for one in variant.samples) for what in ("wall", "backend"))
        first = first or (backend, calm)
        name = variant.table.name
        [(rows, heap, indexes)] = run(
            db, f"SELECT count(*), pg_table_size('{name}'), pg_indexes_size('{name}') FROM {name}"
        )
        lines.append(
            (
                *(variant.name, f"{wall:.0f}", f"{least:.0f}", f"{client:.1f}"),
                *(f"{backend:.0f}", f"{calm:.0f}", f"{backend / first[0]:.2f}", f"{calm / first[1]:.2f}"),
                *(f"{wal:.0f}", f"{heap / rows:.0f}", f"{indexes / rows:.0f}"),
            )
        )
    report(title, "wall ms|min|client CPU ms|backend CPU ms|min|ratio|of min|WAL B/row|heap B/row|index B/row", lines)
    db.commit()


def _drop(db: Db, variants: Sequence[Variant]) -> None:
    for variant in variants:
        run(db, f"DROP TABLE IF EXISTS {variant.table.name}")
    db.commit()


# --- What does not fit the frame -----------------------------------------------------------------------------


def questions(db: Db, variants: Sequence[Variant]) -> None:
    """What the audit asks of a partition, and one batch's range of offsets: milliseconds, best of three."""
    one = "source_topic = 'raw.clicks.v1' AND source_incarnation = 1 AND source_partition = 3"
    asked = {
        "all offsets": "count(DISTINCT source_offset), min(source_offset), max(source_offset)",
        "a range of 5,000": "source_offset",
    }
    lines = []
    for variant in variants:
        name = variant.table.name
        with psycopg.connect(db.info.dsn, autocommit=True) as other:
            other.execute(f"VACUUM ANALYZE {name}".encode())
        times = []
        for what, query in asked.items():
            some = " AND source_offset BETWEEN 100000 AND 104999" if what != "all offsets" else ""
            times.append(min(_seconds(db, f"SELECT {query} FROM {name} WHERE {one}{some}") for _ in range(3)))
        lines.append((name, *(f"{time * 1e3:.0f}" for time in times)))
    report("Questions, ms", "|".join(asked), lines)


def _seconds(db: Db, query: str) -> float:
    start = perf_counter()
    run(db, query)
    return perf_counter() - start


def growth(db: Db, sizes: Sequence[int], batches: int) -> None:
    """The fast path, and the slow one with half of its rows new, at table sizes."""
    table = Table("growth")
    table.make(db)
    temporary(db, "growth")
    lines = []
    filled = 0
    for size in sizes:
        for first in range(filled, size, 500_000):
            table.fill(db, first, min(first + 500_000, size))
        with psycopg.connect(db.info.dsn, autocommit=True) as other:
            other.execute(b"VACUUM ANALYZE growth")
            other.execute("CHECKPOINT")
        maker = Maker(table, max(size, filled))
        direct(db, table.name, _batch(maker, 0))
        fast, slow = [], []
        for _ in range(batches):
            batch = _batch(maker, 0)
            fast.append(timed(db, lambda: direct(db, "growth", batch)))  # noqa: B023
            batch = _batch(maker, BATCH // 2)
            slow.append(timed(db, lambda: BY_TEMPORARY(db, "growth", batch)))  # noqa: B023
        filled = max(size, filled) + BATCH + batches * (BATCH + BATCH // 2)
        lines.append((f"{size:,}", *_brief(fast), *_brief(slow)))
    names = "wall ms|min|backend CPU ms|min"
    report("Growth: fast path, then slow path with half the rows new", f"{names}|slow: {names}", lines)
    run(db, "DROP TABLE growth")
    db.commit()


def parallel(url: str, rounds: int, turn: int) -> None:
    """The same batches by one connection, and by two at once."""
    table = Table("parallel")
    with psycopg.connect(url) as one, psycopg.connect(url) as two:
        table.make(one)
        maker = Maker(table, 0)

        def carry(db: Db, batches: Sequence[Batch]) -> None:
            for batch in batches:
                direct(db, table.name, batch)

        rates: dict[str, list[float]] = {"one connection": [], "two connections": []}
        for _ in range(rounds):
            for name, hands in (("one connection", [one]), ("two connections", [one, two])):
                work = [[_batch(maker, 0) for _ in range(2 * turn // len(hands))] for _ in hands]
                threads = [Thread(target=carry, args=given) for given in zip(hands, work, strict=True)]
                start = perf_counter()
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                rates[name].append(2 * turn * BATCH / (perf_counter() - start))
        run(one, "DROP TABLE parallel")
    lines = [(name, f"{statistics.median(some):,.0f}", f"{max(some):,.0f}") for name, some in rates.items()]
    report("Connections", "rows/s|best", lines)


def several_types(db: Db, rounds: int, turn: int) -> None:
    """Two event types of half a batch each: two COPYs in one transaction, or one in each of two."""
    tables = [Table("type_a"), Table("type_b")]
    makers = [Maker(table, 0) for table in tables]
    for table in tables:
        table.make(db)

    def carry(parts: Sequence[tuple[str, bytes]], *, each: bool) -> None:
        for name, data in parts:
            copied(db, name, data)
            if each:
                db.commit()
        db.commit()

    samples: dict[str, list[Sample]] = {"one type": [], "two types, one transaction": [], "two transactions": []}
    for _ in range(rounds * turn):
        for name, some in samples.items():
            if name == "one type":
                parts = [("type_a", block(makers[0].batch(BATCH)))]
            else:
                parts = [(one.name, block(made.batch(BATCH // 2))) for one, made in zip(tables, makers, strict=True)]
            each = name == "two transactions"
            some.append(timed(db, lambda: carry(parts, each=each)))  # noqa: B023  # called at once
    lines = [(name, *_brief(some)) for name, some in samples.items()]
    report("Several event types, 5,000 rows", "wall ms|min|backend CPU ms|min", lines)
    for table in tables:
        run(db, f"DROP TABLE {table.name}")
    db.commit()


def main() -> None:
    """Measure the parts that were asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres_storage", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}, growth, parallel, several_types (default: all)")
    parser.add_argument("--url", required=True, help="a server on this machine, as a role that may CHECKPOINT")
    parser.add_argument(
        "--filled", type=int, default=2_000_000, help="rows that the tables hold before the first batch"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turn", type=int, default=4, help="batches of one variant before the next one's")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 3_000_000])
    parser.add_argument("--only", default="", help="of the variants, those whose name matches this regular expression")
    given = parser.parse_args()
    parts = given.parts or [*PARTS, "growth", "parallel", "several_types"]
    with psycopg.connect(given.url) as db:
        [(version, buffers)] = run(db, "SELECT current_setting('server_version'), current_setting('shared_buffers')")
        print(f"PostgreSQL {version}, shared_buffers {buffers}, batches of {BATCH:,}, tables of {given.filled:,} rows")
        for part in parts:
            if part == "growth":
                growth(db, given.sizes, given.rounds * given.turn)
            elif part == "parallel":
                parallel(given.url, given.rounds, given.turn)
            elif part == "several_types":
                several_types(db, given.rounds, given.turn)
            else:
                variants = [one for one in PARTS[part]() if re.search(given.only, one.name)]
                measure(db, variants, given.filled, given.rounds, given.turn)
                show(db, part, variants)
                if part == "places":
                    questions(db, variants)
                _drop(db, variants)


if __name__ == "__main__":
    main()
