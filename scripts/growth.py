#!/usr/bin/env python3
"""What a request costs the master with few workers and with many: it should not depend on that.

    scripts/growth.py [--rounds N] [--seconds N] [--backend uring|epoll] [--binary FILE] [--save]

wrk with 64 connections asks for `/`, in interleaved rounds, of dispatchds with 2, 16, 64 and 256
workers and `--pin none`: once each connection is closed after its answer, and once connections stay
and each request is dispatched for itself (`--dispatch request`). What is told is the master's CPU time
per request in microseconds, and what it is of that with 2 workers in the same round. Exits 1 if the
lower end of its 95 % interval is above 1.15 with 256 workers, or if a request failed.

Needs `cargo build --release` and wrk (Debian: apt-get install wrk). Traffic stays on loopback.
"""

import argparse
import statistics
import sys

import acceptance
from acceptance import BINARY, Server, finish, wrk
from dispatch import account, in_quiet
from results import Summary, digest, interval

COUNTS = [2, 16, 64, 256]
GROWTH_ALLOWED = 1.15
# By name: whether connections are closed, and what is dispatched.
CASES = {"close": (True, "connection"), "request": (False, "request")}


def run(workers, case, given):
    """Microseconds of the master's time per request, and how many requests failed."""
    closes, dispatch = CASES[case]
    with Server("--workers", str(workers), "--pin", "none", "--backend", given.backend,
               "--log-level", "error", "--dispatch", dispatch, binary=given.binary) as server:
        before = account(server)
        _, errors = finish(wrk(server, given.seconds, closes, connections=64))
        after = account(server)
    if before.pids != after.pids:
        raise SystemExit(f"FAIL  {case}, {workers} workers: one was replaced meanwhile")
    return (after.master - before.master) / (after.answered - before.answered) / 1000, errors


def measure(case, given, summary):
    """Prints a line for each number of workers; returns how many requests failed, the worst
    disturbance, and whether the cost grows."""
    rounds = {count: [] for count in COUNTS}
    failed, disturbed = 0, 0.0
    for number in range(given.rounds):
        for count in COUNTS if number % 2 == 0 else reversed(COUNTS):
            cost, errors, percent = in_quiet(lambda: run(count, case, given))
            rounds[count].append(cost)
            failed, disturbed = failed + errors, max(disturbed, percent)
    for count in COUNTS:
        costs, shares = rounds[count], [a / b for a, b in zip(rounds[count], rounds[COUNTS[0]])]
        mean, error = interval(shares)
        summary.say(f"{case:8} {count:4} workers: {statistics.median(costs):6.2f} us "
                    f"({min(costs):.2f}-{max(costs):.2f}), {mean:.3f} +- {error:.3f} of 2 workers")
    return failed, disturbed, GROWTH_ALLOWED < mean - error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--backend", choices=acceptance.BACKENDS, default="uring")
    parser.add_argument("--binary", default=BINARY, help="another dispatchd")
    parser.add_argument("--save", action="store_true", help="keep the result in bench-results")
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error("--rounds: 2 or more")
    summary = Summary()
    summary.say(f"{given.backend}: the master's CPU time per request, median (least-most) of "
                f"{given.rounds} interleaved rounds of {given.seconds} s, wrk -c64 on /")
    failed, disturbed, grows = 0, 0.0, False
    for case in CASES:
        errors, percent, worse = measure(case, given, summary)
        failed, disturbed, grows = failed + errors, max(disturbed, percent), grows or worse
    summary.say(f"{failed} requests failed; at most {disturbed:.1f} % of the CPUs went to others")
    if given.save:
        summary.keep(f"growth-{given.backend}", "scripts/growth.py", foreign_percent=disturbed,
                     binary_sha256=digest(given.binary))
    sys.exit(1 if failed or grows or acceptance.FAILED else 0)


if __name__ == "__main__":
    main()
