#!/usr/bin/env python3
"""What dispatching each request costs where nothing is gained by it: an answer that takes no time.

    scripts/dispatch.py [--rounds N] [--seconds N] [--backend uring|epoll] [--only TEXT] [--save]
                        [--against BINARY]

wrk with 32 keep-alive connections asks for `/` as fast as it can, in interleaved rounds, of a
dispatchd under `--dispatch connection`, `auto` and `request`: everything on one CPU (with one worker
and with eight, with connections that end after 50 requests, and with workers that can hold only 16 of
the connections, so that one is forgotten for nearly each that comes), and on two. Last, how an idle
worker waits: one connection, one worker with a CPU of its own, `--spin off` and `auto`. Each figure is
compared with the first of its case in the same round; a run during which more than 3 % of the CPUs'
time went to others is made again. With `--against`, the last of each case is compared with the same of
another dispatchd instead: what a change costs.

Needs `cargo build --release` and wrk (Debian: apt-get install wrk). Traffic stays on loopback.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

import acceptance
from acceptance import BINARY, House, told
from results import Foreign, Summary

FOREIGN_ALLOWED = 3.0
TRIES = 4
# What wrk runs for connections that end.
FIFTY = """
local count = 0
local next = wrk.format("GET", "/", { ["Host"] = "here" })
local last = wrk.format("GET", "/", { ["Host"] = "here", ["Connection"] = "close" })
request = function()
  count = count + 1
  return count % 50 == 0 and last or next
end
"""
# The built-in worker with room for 16 connections beside what it keeps for itself.
FEW = ["--", "sh", "-c", 'ulimit -n 48; exec "$0" serve-worker', BINARY]
DISPATCHES = [["--dispatch", kind] for kind in ["connection", "auto", "request"]]


class Case:
    """CPUs of all that takes part, workers, and what is compared."""

    def __init__(self, name, cpus, workers, kinds=DISPATCHES, flags=(), connections=32, lua=None,
                 program=()):
        self.name, self.cpus, self.workers, self.kinds = name, cpus, workers, kinds
        self.flags, self.connections, self.lua = list(flags), connections, lua
        self.program = list(program)


CASES = [
    Case("one CPU, 1 worker", 1, 1),
    Case("one CPU, 8 workers", 1, 8),
    Case("one CPU, 1 worker, 50 requests each", 1, 1, lua=FIFTY),
    Case("one CPU, 8 workers, 50 requests each", 1, 8, lua=FIFTY),
    Case("one CPU, 8 workers of room for 16", 1, 8, program=FEW),
    Case("two CPUs, 2 workers", 2, 2),
    Case("two CPUs, 1 connection", 2, 1, [["--spin", kind] for kind in ["off", "auto"]],
         ["--dispatch", "request", "--pin", "auto"], connections=1),
]


def run_once(case, kind, given, script, binary=BINARY):
    """Requests per second; how often workers and master were woken per request; errors; and the
    CPU time that each request took of master and workers, in microseconds."""
    acceptance.BINARY = binary
    program = [binary if word == BINARY else word for word in case.program]
    flags = ["--workers", str(case.workers), "--pin", "none", "--backend", given.backend,
             "--log-level", "error"]
    for flag, value in zip(case.flags[::2], case.flags[1::2]):
        if flag in flags:
            at = flags.index(flag)
            del flags[at:at + 2]
        flags += [flag, value]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:case.cpus]))
    try:
        with House(*flags, *kind, *program) as house:
            command = ["wrk", "-t1", f"-c{case.connections}", f"-d{given.seconds}s", house.url()]
            if case.lua:
                command += ["-s", script]
            _, errors, rate = told(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            workers = house.status()["workers"]
            used = sum(cpu_time(pid) for pid in
                       [house.process.pid, *(worker["pid"] for worker in workers)])
    finally:
        os.sched_setaffinity(0, before)
    answered = max(sum(worker["requests"] for worker in workers), 1)
    woken = [sum(worker[what] for worker in workers) / answered for what in ("wakes", "rings")]
    return rate, woken, errors, used / answered * 1e6


def cpu_time(pid):
    """Seconds that a process has run."""
    with open(f"/proc/{pid}/stat") as line:
        fields = line.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def run(case, kind, given, script, binary=BINARY):
    """As `run_once`, in a moment of quiet if there is one."""
    errors = 0
    for _ in range(TRIES):
        foreign = Foreign()
        rate, woken, failed, used = run_once(case, kind, given, script, binary)
        errors += failed
        percent = foreign.percent()
        if percent <= FOREIGN_ALLOWED:
            break
    return rate, woken, errors, percent, used


def compare(case, given, script, summary):
    """As `measure`, of the last kind alone, under the other binary and this one."""
    kind, pairs = case.kinds[-1], []
    binaries = [given.against, BINARY]
    for number in range(given.rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        runs = {at: run(case, kind, given, script, binaries[at]) for at in order}
        pairs.append((runs[0], runs[1]))
    summary.say(f"{case.name}, {' '.join(kind)}: of before, requests/s {share(pairs, 0)}, "
                f"CPU time per request {share(pairs, 4)}; master woken per request "
                f"{statistics.median(pair[1][1][1] for pair in pairs):.3f}")
    every = [each for pair in pairs for each in pair]
    return sum(each[2] for each in every), max(each[3] for each in every)


def share(pairs, what):
    """What comes after over what was before: the median and the extremes, and the mean with the
    half of its 95 % interval."""
    shares = [after[what] / before[what] for before, after in pairs]
    half = 2 * statistics.stdev(shares) / len(shares) ** 0.5
    return (f"{statistics.median(shares):.3f} ({min(shares):.3f}-{max(shares):.3f}, mean "
            f"{statistics.fmean(shares):.3f} +- {half:.3f})")


def measure(case, given, script, summary):
    """Prints a line for each kind; returns how many requests failed, and the worst disturbance."""
    rounds = [[] for _ in case.kinds]
    for number in range(given.rounds):
        # Every other round backwards: what changes with time changes for all alike.
        order = range(len(case.kinds))
        for at in order if number % 2 == 0 else reversed(order):
            rounds[at].append(run(case, case.kinds[at], given, script))
    first = case.kinds[0][1]
    for (_, kind), runs in zip(case.kinds, rounds):
        shares = [each[0] / base[0] for each, base in zip(runs, rounds[0])]
        workers, master = (statistics.median(each[1][at] for each in runs) for at in (0, 1))
        summary.say(
            f"{case.name}, {kind:10}  {statistics.median(shares):.3f} of {first} "
            f"({min(shares):.3f}-{max(shares):.3f})  "
            f"{statistics.median(each[0] for each in runs):7.0f} requests/s  "
            f"woken per request: workers {workers:.3f}, master {master:.3f}")
    every = [each for runs in rounds for each in runs]
    disturbed = sum(FOREIGN_ALLOWED < each[3] for each in every)
    if disturbed:
        summary.say(f"  {disturbed} of these {len(every)} runs were disturbed at each try")
    return sum(each[2] for each in every), max(each[3] for each in every)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--backend", choices=acceptance.BACKENDS, default="uring")
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--against", metavar="BINARY", help="another dispatchd")
    parser.add_argument("--save", action="store_true", help="keep the result in bench-results")
    given = parser.parse_args()
    cases = [case for case in CASES if given.only in case.name]
    if not cases:
        parser.error(f"--only '{given.only}': no case is called so")
    if given.against and given.rounds < 2:
        parser.error("--against needs --rounds 2 or more")
    most = max(case.cpus for case in cases)
    if len(os.sched_getaffinity(0)) < most:
        parser.error(f"{most} CPUs are needed")
    summary = Summary()
    summary.say(f"{given.backend}: median (least-most) of {given.rounds} interleaved rounds of "
                f"{given.seconds} s, wrk -t1 on /" + f", against {given.against}" * bool(given.against))
    failed, disturbed = 0, 0.0
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(FIFTY)
        script.flush()
        for case in cases:
            how = compare if given.against else measure
            errors, percent = how(case, given, script.name, summary)
            failed, disturbed = failed + errors, max(disturbed, percent)
    summary.say(f"{failed} requests failed; at most {disturbed:.1f} % of the CPUs went to others")
    if given.save:
        summary.keep(f"dispatch-{given.backend}", "scripts/dispatch.py", foreign_percent=disturbed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
