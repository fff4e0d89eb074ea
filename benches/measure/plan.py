"""How long to measure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    # Peers take turns this often; the median of the rounds counts.
    rounds: int
    # Length of one round of one peer.
    seconds: int
    # Starts from zero with a warm instance, and without.
    warm_starts: int
    cold_starts: int
    # Functions at zero in one program.
    functions: int
    # After which memory no longer changes.
    rest_seconds: int
    # Pods started one at a time.
    pod_starts: int
    # On a cluster: starts from zero, and changes while requests come.
    cluster_starts: int
    # Times that a function is given to go to zero; four of five do before the next request.
    scale_downs: int
    updates: int
    rollouts: int


FULL = Plan(
    rounds=3,
    seconds=3,
    warm_starts=200,
    cold_starts=100,
    functions=10_000,
    rest_seconds=5,
    pod_starts=20,
    cluster_starts=100,
    scale_downs=66,
    updates=20,
    rollouts=5,
)
SMOKE = Plan(
    rounds=1,
    seconds=1,
    warm_starts=5,
    cold_starts=3,
    functions=500,
    rest_seconds=1,
    pod_starts=2,
    cluster_starts=3,
    scale_downs=3,
    updates=2,
    rollouts=1,
)
