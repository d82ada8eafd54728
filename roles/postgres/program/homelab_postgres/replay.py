"""Replay: bring restored data to a point, to a moment or to the end of the archive, and make it a primary."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from homelab_host import disk_space, report, share
from homelab_host.errors import Trouble
from homelab_host.timestamps import read, write

from .config import Setup
from .instance import INSUFFICIENT, Instance
from .pg_control import read_control
from .service import Service
from .sql import Door, Session, SqlError
from .wal import segment_number
from .wal_requests import Verdict, fetched, judge

# Seconds in which no segment was fetched and no record replayed.
PATIENCE = 900.0
PAUSE = 0.1
# At the end of the archive: seconds in which no record is replayed any more.
CALM = 0.4
# Seconds for one segment to reach the archive, and between two looks at the share meanwhile.
ARCHIVE_PATIENCE, LOOK_AT_SHARE = 300.0, 5.0
PROMOTE_SECONDS = 600.0
# Once, in the life of a cluster, a setting may have been raised after the backup; hardly more often.
RESTARTS = 5

STATE = """
SELECT json_build_object('paused', pg_get_wal_replay_pause_state() = 'paused', 'lsn', pg_last_wal_replay_lsn(),
    'moment', pg_last_xact_replay_timestamp())
"""

SYSTEM_ID = "SELECT to_json(system_identifier::text) FROM pg_control_system()"
TIMELINE = "SELECT to_json(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))"
UNARCHIVED = """
SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'
"""


@dataclass(frozen=True)
class State:
    """How far replay is. `moment`: when the last replayed transaction ended; None if there was none."""

    paused: bool
    lsn: str
    moment: datetime | None


@dataclass(frozen=True)
class Goal:
    """Where to: `target` are the server's settings for it; `last` is the last segment on the way, `first` the first."""

    what: str
    first: str
    last: str
    timeline: int
    target: Mapping[str, str]


def to_point(point: str, first: str, last: str, timeline: int) -> Goal:
    return Goal("replay to the restore point", first, last, timeline, {"recovery_target_name": point})


def to_end(first: str, last: str, timeline: int, moment: datetime | None) -> Goal:
    target = {"recovery_target_time": f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f+00}"} if moment else {}
    return Goal(f"replay to {write(moment)}" if moment else "replay what came after it", first, last, timeline, target)


def replay(instance: Instance, goal: Goal, settings: Mapping[str, str] | None = None) -> State:
    """Start the instance and wait until it has replayed to the goal: `paused` at its target, or at the archive's end.

    Raises `Trouble` if it ends early for any other reason: a gap, a damaged segment, a repository that is silent.
    """
    report.step(goal.what)
    target = {"recovery_target_timeline": str(goal.timeline), **goal.target, **(settings or {})}
    instance.start(target)
    for _ in range(RESTARTS):
        state = _follow(instance, goal)
        if state:
            return state
        report.step("start again with what the cluster was set to later")
        instance.restart()
    raise Trouble("the settings that the cluster needs change again and again", None, instance.output()[-2000:])


def _follow(instance: Instance, goal: Goal) -> State | None:
    """The state at the goal; None if the instance has to be started again, with settings that it found in the WAL."""
    watch = _Watch(instance, goal)
    session = _connect(instance, watch)
    if session is None:
        return None
    with session:
        calm = None
        while True:
            try:
                state = _state(session)
            except (SqlError, Trouble):
                watch.judge()
                if instance.alive():
                    raise
                _check_raised(instance, goal)
                return None
            if state.paused:
                return None if INSUFFICIENT in instance.output() else state
            if watch.look(state.lsn) is Verdict.ENDED:
                # It lacks the next segment; what it has may still be under way.
                if calm == state.lsn:
                    return state
                calm = state.lsn
                time.sleep(CALM)
            time.sleep(PAUSE)


def _connect(instance: Instance, watch: _Watch) -> Session | None:
    """A session as soon as the data are consistent; None if it has to be started again."""
    while True:
        if not instance.alive():
            _check_raised(instance, watch.goal)
            return None
        try:
            return instance.door.session()
        except SqlError:
            watch.look("")
            time.sleep(PAUSE)


def _check_raised(instance: Instance, goal: Goal) -> None:
    """It died. That is as it should be if the WAL said that the cluster needs more than was allowed for."""
    now = read_control(instance.setup, instance.data)
    if INSUFFICIENT in instance.output() and now.least != instance.control.least:
        return
    raise instance.died(goal.what)


class _Watch:
    """Reports progress, and raises when there is none any more."""

    def __init__(self, instance: Instance, goal: Goal) -> None:
        self.goal = goal
        self._instance = instance
        self._size = instance.control.segment_size
        self._seen: object = None
        self._since = time.monotonic()

    def look(self, lsn: str) -> Verdict:
        disk_space.check(self._instance.data.parent)
        fetches = self._instance.fetches()
        found = fetched(fetches)
        total = segment_number(self.goal.last, self._size) - segment_number(self.goal.first, self._size) + 1
        report.progress(self.goal.what, min(found, total), total, "segments")
        if (lsn, found) != self._seen:
            self._seen, self._since = (lsn, found), time.monotonic()
        elif time.monotonic() - self._since > PATIENCE:
            evidence = self._instance.output()[-2000:]
            raise Trouble(f"{self.goal.what}: nothing has moved for {PATIENCE:.0f} s", None, evidence)
        return self.judge()

    def judge(self) -> Verdict:
        fetches = self._instance.fetches()
        verdict = judge(fetches, self.goal.last, self._size)
        if verdict is Verdict.GAP:
            raise Trouble(
                f"WAL segment {fetches[-1].name} is missing in the archive, which goes on to {self.goal.last}",
                "restore to a time before the gap (--to TIME), or with a later backup (--label)",
            )
        if verdict is Verdict.DAMAGED:
            raise Trouble(
                f"WAL segment {fetches[-1].name} of the archive is damaged",
                "restore to a time before it (--to TIME), or with a later backup (--label)",
                self._instance.output()[-2000:],
            )
        return verdict


def _state(session: Session) -> State:
    found = session.ask(STATE)
    return State(bool(found["paused"]), found["lsn"] or "0/0", read(found["moment"]) if found["moment"] else None)


def snapshot(instance: Instance) -> str:
    """Which transactions are visible: the same text means the same rows."""
    return str(instance.door.ask("SELECT to_json(pg_current_snapshot()::text)"))


def promote(instance: Instance) -> int:
    """Make it a primary with a timeline of its own; returns its number."""
    report.step("promote")
    with instance.door.session() as session:
        try:
            done = session.ask(f"SELECT to_json(pg_promote(true, {PROMOTE_SECONDS:.0f}))", PROMOTE_SECONDS + 30)
            timeline = session.ask(TIMELINE) if done else None
        except SqlError:
            if instance.alive():
                raise
            raise instance.died("promote") from None
    if not timeline:
        raise Trouble("the restored cluster did not become a primary", None, instance.output()[-2000:])
    return int(timeline, 16)


def archive_the_last(service: Service, system_id: str) -> bool:
    """Let what the living cluster has written so far reach the archive; false if it is another cluster altogether."""
    report.step("archive what the cluster has written so far")
    door = service.door()
    if door.ask(SYSTEM_ID) != system_id:
        # A new, other cluster: nothing of it is to be found in what is restored.
        return False
    door.ask("SELECT to_json(pg_switch_wal())")
    await_archived(service.setup, door)
    return True


def await_archived(setup: Setup, door: Door) -> None:
    """Wait until no segment and no history file waits for the archive; raises `Trouble` if it takes none."""
    seen, since, looks = "", time.monotonic(), 0
    while waiting := door.ask(UNARCHIVED):
        if waiting[0] != seen:
            seen, since, looks = waiting[0], time.monotonic(), 0
        stuck = time.monotonic() - since
        if stuck > LOOK_AT_SHARE * (looks + 1):
            looks += 1
            share.require(setup.share)
            if looks == 1:
                # After three failures the archiver sleeps for a minute, unless there is a new segment.
                door.ask("SELECT to_json(pg_create_restore_point('homelab-archive'))")
                door.ask("SELECT to_json(pg_switch_wal())")
        report.progress(f"archive {seen.removesuffix('.ready')}", int(stuck), None, "seconds")
        if stuck > ARCHIVE_PATIENCE:
            raise Trouble(
                f"the archive does not take {waiting[0].removesuffix('.ready')}: waited {ARCHIVE_PATIENCE:.0f} s",
                f"journalctl --unit {setup.service} tells what pgBackRest says; to go on without what this cluster has "
                f"not archived, stop it (systemctl stop {setup.service}) and run the same command again",
                json.dumps(door.ask("SELECT to_json(pg_stat_archiver) FROM pg_stat_archiver")),
            )
        time.sleep(PAUSE)
