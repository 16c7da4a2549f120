"""From a seed to a world: its size, its policies, what is published when, and which faults come when."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from flowguard.application.ingest_ports import Pace
from flowguard.domain.batching import BatchPolicy, FlowPolicy
from flowguard.domain.dead_letters import DeadLetterPolicy
from flowguard.domain.errors import RetryPolicy
from tests.simulation.streams import POISON, STREAMS, Kind, Spec, make

SinkNames = Literal["all", "first", "none"]
"""Which of the rows that it refuses the sink names."""

ARMED = (
    "crash_before_claim", "crash_after_claim", "crash_before_write", "crash_after_write", "crash_before_dead_letters",
    "crash_after_dead_letters", "crash_before_commit", "crash_after_commit", "crash_in_poll",
    "claim_unknown", "write_unknown", "write_unknown_landed", "write_lands_late", "dead_letters_unknown",
    "commit_unknown", "publish_unknown", "write_raises_bug", "dead_letters_refused_for_good",
    "redelivery", "stale_fetch", "frozen_in_poll", "frozen_before_commit", "frozen_with_write", "stuck_poll_thread",
    "stop_with_write",
)  # fmt: skip
"""They wait for the next effect of their kind."""
WINDOWS = ("sink_down", "dead_letters_down", "log_down", "sink_slow")
"""They last for a while; they fired when somebody met them."""
TIMED = (
    "killed", "killed_request_lands", "frozen", "expired", "join", "leave", "sink_set_back", "clock_forward",
    "clock_back", "offsets_skipped", "topic_made_again", "relay", "relay_cut_off", "upgrade", "replay", "retention",
)  # fmt: skip
"""They happen at their time, where there is somebody to happen to."""
FAULTS = (*ARMED, *WINDOWS, *TIMED)


_COMPANIONS = {
    "stale_fetch": "expired",
    "claim_unknown": "expired",
    "crash_before_claim": "expired",
    "crash_after_claim": "expired",
    "relay": "upgrade",
    "relay_cut_off": "upgrade",
    "sink_set_back": "frozen_with_write",
}
"""What often has to come first, for a fault to have somebody to happen to, or an effect."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from `at` on. `lasts_s` for those that last; `pick` in [0, 1) chooses whom it meets."""

    at: float
    kind: str
    lasts_s: float
    pick: float


@dataclass(frozen=True, slots=True)
class Sending:
    """Events of one stream that a producer sends at once; `gateway`: by way of the publish use case."""

    at: float
    stream: str
    specs: tuple[Spec, ...]
    gateway: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a seed decides beforehand. What remains (latencies, jitter) is drawn as it comes, from the seed too."""

    seed: int
    partitions: dict[str, int]
    consumers: int
    sendings: tuple[Sending, ...]
    faults: tuple[Fault, ...]
    ends_at: float
    batch: BatchPolicy
    flow: FlowPolicy
    retry: RetryPolicy
    dead_letters: DeadLetterPolicy
    pace: Pace
    fetch_bytes: int
    log_bytes: int | None
    sink_names: SinkNames
    session_s: float
    latency_s: float
    storm: bool

    @property
    def specs(self) -> list[Spec]:
        return [spec for sending in self.sendings for spec in sending.specs]


def make_plan(seed: int, *, only: tuple[str, ...] = FAULTS) -> Plan:
    """The plan of a seed. `only`: the kinds of faults that it may use."""
    rng = Random(seed)
    ends_at = rng.uniform(3.0, 15.0)
    streams = STREAMS[: rng.choice((1, 1, 1, 2))]
    storm, small_flow = rng.random() < 0.08, rng.random() < 0.3
    kinds = rng.sample(only, min(len(only), rng.choice((0, 1, 2, 3, 5, 8))))
    kinds += [_COMPANIONS[kind] for kind in kinds if _COMPANIONS.get(kind) in only]
    some = [_fault(rng, kinds, ends_at) for _ in range(rng.choice((1, 2, 4, 8, 16)) if kinds else 0)]
    churn = "expired" in only and rng.random() < 0.15
    if churn:  # members come and go all the time
        some += [_fault(rng, ["expired"], ends_at) for _ in range(rng.randint(5, 25))]
    poison = churn or any("letters" in kind or "relay" in kind for kind in kinds)
    batch = BatchPolicy(
        rng.choice((1, 3, 10, 50)), rng.choice((400, 2_000, 100_000)), rng.choice((0.0, 0.05, 0.3, 1.0))
    )
    sendings = tuple(_sendings(rng, streams, ends_at, storm=storm, poison=poison))
    # A log that is kept small forgets what is committed: a sink that is set back would read it again.
    small_log = rng.random() < 0.15 and not {"sink_set_back", "relay", "relay_cut_off"} & {*kinds}
    return Plan(
        seed=seed,
        partitions={stream: rng.randint(1, 4) for stream in streams},
        consumers=rng.choice((1, 2, 2, 3)),
        sendings=sendings,
        faults=tuple(sorted(some, key=lambda fault: fault.at)),
        ends_at=ends_at,
        batch=batch,
        flow=FlowPolicy(rng.choice((600, 2_000)), rng.choice((0, 300, 500))) if small_flow else FlowPolicy(),
        retry=RetryPolicy(0.05, 2.0, rng.choice((0.3, 2.0))),
        dead_letters=_storm_policy(rng) if storm else DeadLetterPolicy(),
        pace=_pace(rng),
        log_bytes=max(map(_size, sendings)) * 2 if small_log else None,
        fetch_bytes=rng.choice((500, 5_000, 1_000_000)),
        sink_names=rng.choice(("all", "first", "none")),
        session_s=rng.uniform(0.5, 3.0),
        latency_s=rng.choice((0.01, 0.03, 0.2)),
        storm=storm,
    )


def _fault(rng: Random, kinds: list[str], ends_at: float) -> Fault:
    lasts_s = rng.choice((0.2, 1.0, 3.0, 12.0)) * rng.random()
    return Fault(rng.uniform(0.1, ends_at), rng.choice(kinds), lasts_s, rng.random())


def _pace(rng: Random) -> Pace:
    idle_s, busy_s, drain_s = rng.uniform(0.05, 0.3), rng.uniform(0.01, 0.05), rng.choice((0.1, 1.0, 5.0))
    return Pace(idle_s, busy_s, commit_s=rng.choice((0.0, 0.1, 1.0, 5.0)), drain_s=drain_s)


def _size(sending: Sending) -> int:
    return sum(len(spec.value) + 100 for spec in sending.specs)


def _storm_policy(rng: Random) -> DeadLetterPolicy:
    consecutive = rng.choice((0, 4, 8))
    return DeadLetterPolicy(consecutive, rng.choice((0.4, 0.7)) if not consecutive or rng.random() < 0.5 else 0.0, 15)


class _Mix:
    """What kinds of events the producers of one seed send, and how often the same ones again."""

    def __init__(self, rng: Random, *, poison: bool) -> None:
        self._rng = rng
        self._poison_share = rng.choice((0.05, 0.3)) if poison else rng.choice((0.0, 0.0, 0.05, 0.3))
        self._poisons = rng.sample(POISON, rng.randint(1, 4))
        if poison or rng.random() < 0.4:
            self._poisons.append(Kind.REFUSED)
        self._others = [kind for kind in (Kind.OLD_VERSION, Kind.FILTERED, Kind.FUTURE_VERSION) if rng.random() < 0.4]
        self._resend_share = rng.choice((0.0, 0.05, 0.3))
        self._sent: list[Spec] = []
        self.number = 1_000

    def sending(self, streams: tuple[str, ...], ends_at: float) -> Sending:
        rng = self._rng
        stream, gateway = rng.choice(streams), rng.random() < 0.3
        specs = tuple(self._event(stream, gateway=gateway) for _ in range(rng.choice((1, 2, 5, 10, 30))))
        self._sent += specs
        return Sending(rng.uniform(0.0, ends_at), stream, specs, gateway)

    def _event(self, stream: str, *, gateway: bool) -> Spec:
        rng = self._rng
        self.number += 1
        kind = Kind.GOOD
        if self._others and rng.random() < 0.2:
            kind = rng.choice(self._others)
        if not gateway and rng.random() < self._poison_share:
            kind = rng.choice(self._poisons)
        again = rng.choice(self._sent) if self._sent and rng.random() < self._resend_share else None
        if again is None or again.stream != stream or (gateway and again.kind in POISON):
            return make(stream, kind, self.number, rng)
        if rng.random() < 0.7:
            return again  # a client that got no answer
        return make(stream, kind, self.number, rng, event_id=again.event_id)  # a client that uses an id twice


def _sendings(rng: Random, streams: tuple[str, ...], ends_at: float, *, storm: bool, poison: bool) -> list[Sending]:
    mix = _Mix(rng, poison=poison)
    left = rng.choice((10, 20, 40, 80, 160))
    sendings = []
    while left > 0:
        sendings.append(mix.sending(streams, ends_at))
        left -= len(sendings[-1].specs)
    if storm:
        kind = rng.choice((Kind.FUTURE_VERSION, Kind.FUTURE_VERSION, Kind.MISFIT, Kind.REFUSED))
        burst = tuple(make(streams[0], kind, mix.number + 1 + extra, rng) for extra in range(40))
        sendings.append(Sending(rng.uniform(0.0, ends_at), streams[0], burst, gateway=False))
    return sendings
