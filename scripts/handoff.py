#!/usr/bin/env python3
"""Whether a handoff costs more than it did: the handoff bench of two builds, in turn.

    scripts/handoff.py BEFORE AFTER [--pairs N] [--save]

BEFORE and AFTER are the benches' programs (`cargo bench --bench handoff --no-run` names them), each of
its own checkout, since each starts the dispatchd beside it. A pair is one round of either; every other
pair begins with AFTER. Each row's figure is the CPU time per connection after over that before, as the
mean of the pairs with its 95 % interval: a row fails when the lower end is above 1.02. Exits 1 if one
did. Needs a quiet machine.
"""

import argparse
import re
import subprocess
import sys

from results import Foreign, Summary, is_worse, spread

ROW = re.compile(r"^(\S.*?) +\d+\.\d{3} \([\d.]+-[\d.]+\).*? (\d{4,7}) +(\d+\.\d\d) +\d+\.\d\d +\d")


def run(program):
    """CPU time per connection in microseconds, by mode and row."""
    said = subprocess.run([program, "--bench", "--rounds", "1"], capture_output=True, text=True)
    if said.returncode != 0:
        raise SystemExit(f"{program} failed: {said.stderr}")
    mode, costs = None, {}
    for line in said.stdout.splitlines():
        if " ratio " in line and line.rstrip().endswith("busy"):
            mode = line.split("  ")[0]
        row = ROW.match(line)
        if row and mode:
            costs[mode, row[1]] = float(row[3])
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", metavar="BEFORE")
    parser.add_argument("after", metavar="AFTER")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--save", action="store_true", help="keep the result in bench-results")
    given = parser.parse_args()
    if given.pairs < 2:
        parser.error("--pairs: an interval needs two or more")
    foreign, pairs = Foreign(), []
    for number in range(given.pairs):
        programs = [given.before, given.after]
        order = (0, 1) if number % 2 == 0 else (1, 0)
        costs = {at: run(programs[at]) for at in order}
        pairs.append((costs[0], costs[1]))
    summary, failed = Summary(), 0
    summary.say(f"CPU time per short connection, after over before: mean +- half of the 95 % interval, "
                f"median (least-most) of {given.pairs} interleaved pairs")
    for row in pairs[0][0]:
        shares = [after[row] / before[row] for before, after in pairs]
        failed += is_worse(shares)
        summary.say(f"{row[0]:22} {row[1]:28} {spread(shares)}" + "   WORSE" * is_worse(shares))
    summary.say(f"{failed} of {len(pairs[0][0])} rows are worse; "
                f"{foreign.percent():.1f} % of the CPUs went to others")
    if given.save:
        summary.keep("handoff-pairs", "scripts/handoff.py")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
