"""Where results are kept, and what is said of the machine that they come from: the same for every
script of Python's that measures."""

import datetime
import hashlib
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def git(*arguments):
    said = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return said.stdout.strip() if said.returncode == 0 else ""


def digest(path):
    """Which program it was, whatever lies there later."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


# As it is when the script begins: it runs for long, and somebody may go on working meanwhile.
COMMIT = git("rev-parse", "--short", "HEAD") or "nocommit"
CHANGED = bool(git("status", "--porcelain", "--", "src", "scripts", "Cargo.toml", "Cargo.lock"))
PROGRAM = digest(os.path.join(ROOT, "target", "release", "dispatchd"))


def environment(command):
    """What is kept beside a result, since nobody could judge it without."""
    with open("/proc/cpuinfo") as lines:
        model = re.search(r"^model name\s*: (.*)$", lines.read(), re.M)
    return {"date": str(datetime.date.today()), "commit": COMMIT, "uncommitted_changes": CHANGED,
            "program_sha256": PROGRAM,
            "command": " ".join([command, *sys.argv[1:]]),
            "kernel": platform.release(), "host": platform.node(),
            "cpu_model": model.group(1) if model else None, "cpus": os.cpu_count()}


def make_folder(kind):
    """A new folder in bench-results; none is ever written twice."""
    folder = os.path.join(ROOT, "bench-results", f"{datetime.date.today()}-{COMMIT}-{kind}")
    try:
        os.mkdir(folder)
    except FileExistsError:
        sys.exit(f"{folder} is there: results are never overwritten")
    return folder


def write_json(folder, name, content):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(content, file, indent=1)
        file.write("\n")


# A change is worse when what it costs is surely above this share of the cost before it.
WORSE_ABOVE = 1.02
# Student's t for a 95 % interval, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262,
        10: 2.228, 11: 2.201, 12: 2.179, 13: 2.160, 14: 2.145, 15: 2.131, 16: 2.120, 17: 2.110,
        18: 2.101, 19: 2.093, 20: 2.086}


def interval(shares):
    """Their mean, and the half of its 95 % interval."""
    t = T_95.get(len(shares) - 1, T_95[20])
    return statistics.fmean(shares), t * statistics.stdev(shares) / len(shares) ** 0.5


def is_worse(shares):
    """Whether these shares of the cost before say that a change is worse: the lower end of their
    interval is too high."""
    mean, half = interval(shares)
    return WORSE_ABOVE < mean - half


def spread(shares):
    """Mean and interval, median, least and most, as they are printed."""
    mean, half = interval(shares)
    return (f"{mean:.3f} +- {half:.3f}   {statistics.median(shares):.3f} "
            f"({min(shares):.3f}-{max(shares):.3f})")


class Summary:
    """Prints lines, and keeps them for a folder if that is wanted."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        print(line, flush=True)
        self.lines.append(line)

    def keep(self, kind, command, **more):
        folder = make_folder(kind)
        write_json(folder, "env.json", {**environment(command), **more})
        with open(os.path.join(folder, "summary.txt"), "w") as file:
            file.write("\n".join(self.lines) + "\n")
        print(f"saved in {os.path.relpath(folder, ROOT)}")


class Foreign:
    """The share of the machine's CPU time that went to others since this was made. To be asked when
    all that was started has been waited for."""

    def __init__(self):
        self.before = self.used()

    @staticmethod
    def used():
        with open("/proc/stat") as lines:
            fields = [int(word) for word in lines.readline().split()[1:9]]
        ours = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            usage = resource.getrusage(who)
            ours += usage.ru_utime + usage.ru_stime
        busy = sum(fields) - fields[3] - fields[4]
        return busy, ours * os.sysconf("SC_CLK_TCK"), sum(fields)

    def percent(self):
        busy, ours, total = (now - then for now, then in zip(self.used(), self.before))
        return max(0.0, 100 * (busy - ours) / max(total, 1))
