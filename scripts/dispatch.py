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
another dispatchd instead, to tell what a change costs. What is compared is the CPU time per request.
Where all is on one CPU both run at once, each with a wrk of its own, and what disturbs one disturbs the
other. A row is worse when the lower end of its 95 % interval is above 1.02; exits 1 if one is.

Needs `cargo build --release` and wrk (Debian: apt-get install wrk). Traffic stays on loopback.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections import namedtuple

import acceptance
from acceptance import BINARY, Server, told
from results import Foreign, Summary, digest, interval, is_worse, spread

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


def start(case, kind, given, binary=BINARY):
    """A dispatchd for this case."""
    flags = {"--workers": str(case.workers), "--pin": "none", "--backend": given.backend,
             "--log-level": "error", **dict(zip(case.flags[::2], case.flags[1::2]))}
    program = [binary if word == BINARY else word for word in case.program]
    words = [word for flag in flags.items() for word in flag]
    return Server(*words, *kind, *program, binary=binary)


def load(case, server, given, script):
    """A wrk that asks it for `/`."""
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{given.seconds}s", server.url()]
    return subprocess.Popen(command + ["-s", script] * bool(case.lua), stdout=subprocess.PIPE,
                            text=True)


@contextlib.contextmanager
def on_cpus(count):
    """All that is started meanwhile has so many CPUs together."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(before)[:count]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def in_quiet(once):
    """What `once` says, of which the last are errors, and how many percent of the CPUs went to
    others: in a moment of quiet if there is one. Errors are those of every try."""
    errors = 0
    for _ in range(TRIES):
        foreign = Foreign()
        *said, failed = once()
        errors += failed
        percent = foreign.percent()
        if percent <= FOREIGN_ALLOWED:
            break
    return *said, errors, percent


def run(case, kind, given, script):
    """Requests per second; how often workers and master were woken per request; and errors."""
    with on_cpus(case.cpus), start(case, kind, given) as server:
        _, errors, rate = told(load(case, server, given, script))
        workers = server.status()["workers"]
    answered = max(sum(worker["requests"] for worker in workers), 1)
    woken = [sum(worker[what] for worker in workers) / answered for what in ("wakes", "rings")]
    return rate, woken, errors


def run_both(case, kind, given, script, binaries):
    """Of each binary, the microseconds that a request took of the master and of the workers; and the
    errors of all. On one CPU both run at once. On two, where which process shares a CPU with which
    is luck, they run in turn."""
    if case.cpus == 1:
        return run_at_once(case, kind, given, script, binaries)
    runs = [run_at_once(case, kind, given, script, [binary]) for binary in binaries]
    return sum((costs for costs, _ in runs), []), sum(errors for _, errors in runs)


def run_at_once(case, kind, given, script, binaries):
    """The same, of all together."""
    with on_cpus(case.cpus), contextlib.ExitStack() as stack:
        servers = [stack.enter_context(start(case, kind, given, binary)) for binary in binaries]
        before = [account(server) for server in servers]
        said = [told(process) for process in [load(case, server, given, script) for server in servers]]
        after = [account(server) for server in servers]
    costs = []
    for now, then in zip(after, before):
        if now.pids != then.pids:
            raise SystemExit(f"FAIL  {case.name}: a worker was replaced meanwhile")
        answered = now.answered - then.answered
        costs.append(((now.master - then.master) / answered / 1000,
                      (now.workers - then.workers) / answered / 1000))
    return costs, sum(errors for _, errors, _ in said)


# Nanoseconds that the master has run, and the workers; what they have answered; and who they are.
Account = namedtuple("Account", "master workers answered pids")


def account(server):
    workers = server.status()["workers"]
    pids = [worker["pid"] for worker in workers]
    return Account(time_run(server.process.pid), sum(time_run(pid) for pid in pids),
                   sum(worker["requests"] for worker in workers), pids)


def time_run(pid):
    """Nanoseconds that a process of one thread has run."""
    with open(f"/proc/{pid}/schedstat") as line:
        return int(line.read().split()[0])


def compare(case, given, script, summary):
    """Prints what a request costs here over what it costs the other binary, for the last kind;
    returns how many requests failed, the worst disturbance, and whether it is worse."""
    kind, pairs, errors, disturbed = case.kinds[-1], [], 0, 0.0
    binaries = [given.against, BINARY]
    for number in range(given.rounds):
        step = 1 if number % 2 == 0 else -1
        costs, failed, percent = in_quiet(
            lambda: run_both(case, kind, given, script, binaries[::step]))
        pairs.append(costs[::step])
        errors, disturbed = errors + failed, max(disturbed, percent)
    parts = {"all": sum, "master": lambda cost: cost[0], "workers": lambda cost: cost[1]}
    shares = {part: [of(after) / of(before) for before, after in pairs]
              for part, of in parts.items()}
    row = f"{case.name}, {' '.join(kind)}"
    master, workers = (interval(shares[part]) for part in ("master", "workers"))
    summary.say(f"{row:56} {spread(shares['all'])}   master {master[0]:.3f} +- {master[1]:.3f}, "
                f"workers {workers[0]:.3f} +- {workers[1]:.3f}"
                + "   WORSE" * is_worse(shares["all"]))
    return errors, disturbed, is_worse(shares["all"])


def measure(case, given, script, summary):
    """Prints a line for each kind; returns how many requests failed, the worst disturbance, and
    that nothing is worse: there is nothing to compare with."""
    rounds = [[] for _ in case.kinds]
    for number in range(given.rounds):
        # Every other round backwards: what changes with time changes for all alike.
        order = range(len(case.kinds))
        for at in order if number % 2 == 0 else reversed(order):
            rounds[at].append(in_quiet(lambda: run(case, case.kinds[at], given, script)))
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
    return sum(each[2] for each in every), max(each[3] for each in every), False


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
    if given.against:
        summary.say(f"{given.backend}: CPU time per request of master and workers, this over "
                    f"{given.against}: mean +- half of the 95 % interval, median (least-most) of "
                    f"{given.rounds} pairs of {given.seconds} s, wrk -t1 on /")
    else:
        summary.say(f"{given.backend}: median (least-most) of {given.rounds} interleaved rounds of "
                    f"{given.seconds} s, wrk -t1 on /")
    failed, disturbed, worse = 0, 0.0, 0
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(FIFTY)
        script.flush()
        for case in cases:
            how = compare if given.against else measure
            errors, percent, costs_more = how(case, given, script.name, summary)
            failed, disturbed, worse = failed + errors, max(disturbed, percent), worse + costs_more
    summary.say(f"{failed} requests failed; at most {disturbed:.1f} % of the CPUs went to others"
                + f"; {worse} of {len(cases)} rows are worse" * bool(given.against))
    if given.save:
        kind = f"dispatch-{given.backend}" + "-pairs" * bool(given.against)
        against = {"against_sha256": digest(given.against)} if given.against else {}
        summary.keep(kind, "scripts/dispatch.py", foreign_percent=disturbed, **against)
    sys.exit(1 if failed or worse or acceptance.FAILED else 0)


if __name__ == "__main__":
    main()
