#!/usr/bin/env python3
"""What dispatching each request costs where nothing is gained by it: an answer that takes no time.

    scripts/dispatch.py [--rounds N] [--seconds N] [--backend uring|epoll]

wrk with 32 keep-alive connections asks for `/` as fast as it can, in interleaved rounds, of a
dispatchd under `--dispatch connection`, `auto` and `request`: everything on one CPU with one worker
and with eight, and on two CPUs with two. Each figure is compared with that of `connection` in the
same round. Needs `cargo build --release`, wrk (Debian: apt-get install wrk) and an idle machine.
Traffic stays on loopback.
"""

import argparse
import os
import statistics
import subprocess
import sys

import acceptance
from acceptance import House, finish

KINDS = ["connection", "auto", "request"]
# CPUs of all that takes part, and workers.
CASES = {"one CPU, 1 worker": (1, 1), "one CPU, 8 workers": (1, 8), "two CPUs, 2 workers": (2, 2)}


def run(kind, cpus, workers, given):
    """Requests per second, wakes of workers per request, errors."""
    flags = ["--workers", str(workers), "--pin", "none", "--dispatch", kind,
             "--backend", given.backend, "--log-level", "error"]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        with House(*flags) as house:
            command = ["wrk", "-t1", "-c32", f"-d{given.seconds}s", house.url()]
            requests, errors = finish(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            status = house.status()["workers"]
    finally:
        os.sched_setaffinity(0, before)
    naps = sum(worker["naps"] for worker in status)
    answered = sum(worker["requests"] for worker in status)
    return requests / given.seconds, naps / max(answered, 1), errors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--backend", choices=acceptance.BACKENDS, default="uring")
    given = parser.parse_args()
    allowed = sorted(os.sched_getaffinity(0))
    failed = 0
    for name, (count, workers) in CASES.items():
        if len(allowed) < count:
            parser.error(f"{count} CPUs are needed for '{name}'")
        rounds = {kind: [] for kind in KINDS}
        for number in range(given.rounds):
            # Every other round backwards: what changes with time changes for all alike.
            for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                rounds[kind].append(run(kind, set(allowed[:count]), workers, given))
        for kind in KINDS:
            shares = [each[0] / base[0] for each, base in zip(rounds[kind], rounds[KINDS[0]])]
            wakes = statistics.median(each[1] for each in rounds[kind])
            rate = statistics.median(each[0] for each in rounds[kind])
            failed += sum(each[2] for each in rounds[kind])
            print(f"{name}, {kind:10}  {statistics.median(shares):.3f} of connection "
                  f"({min(shares):.3f}-{max(shares):.3f})  {rate:8.0f} requests/s  "
                  f"{wakes:.3f} wakes/request", flush=True)
    print(f"{failed} requests failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
