#!/usr/bin/env python3
"""Puts a release build under real load and checks what users were promised.

    scripts/acceptance.py [load|reload|kill|stop|weights|pipe|all] [--quick]

Needs `cargo build --release` to have run, and wrk (Debian: apt-get install wrk) for load, reload
and kill. Traffic stays on loopback; only processes started here are signalled, by pid. Each check
prints one line per case and the script exits 1 if any failed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from results import ROOT, Summary

BINARY = os.path.join(ROOT, "target", "release", "dispatchd")
POLICIES = ["rr", "wrr", "least", "jbsq", "shared", "reuseport"]
BACKENDS = ["uring", "epoll"]
FAILED = []
SUMMARY = Summary()


def verdict(ok, text):
    SUMMARY.say(("ok    " if ok else "FAIL  ") + text)
    if not ok:
        FAILED.append(text)


class Server:
    """One dispatchd, ended with the block."""

    def __init__(self, *flags, stderr=None, env=None, binary=BINARY):
        self.binary = binary
        self.home = tempfile.mkdtemp(prefix="dispatchd-acceptance-")
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.home, **(env or {}))
        self.port = free_port()
        self.log = open(os.path.join(self.home, "log"), "w+b")
        command = [binary, "--listen", f"127.0.0.1:{self.port}", *flags]
        self.process = subprocess.Popen(command, env=self.env, stderr=stderr or self.log)

    def __enter__(self):
        try:
            wait_for(lambda: self.status() and self.status()["have"] == self.status()["want"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            verdict(False, "the master did not stop within 20 s of SIGTERM")
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def status(self):
        asked = subprocess.run([self.binary, "status", "--json"], env=self.env,
                               capture_output=True)
        return json.loads(asked.stdout) if asked.returncode == 0 else None

    def ready(self):
        return [worker for worker in self.status()["workers"] if worker["state"] == "ready"]

    def threads(self):
        with open(f"/proc/{self.process.pid}/status") as lines:
            return int(re.search(r"Threads:\s+(\d+)", lines.read()).group(1))

    def signal(self, number):
        self.process.send_signal(number)

    def url(self, path="/"):
        return f"http://127.0.0.1:{self.port}{path}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    raise SystemExit("FAIL  a condition did not come true in time")


def wrk(server, seconds, close, connections=32, path="/"):
    """Starts wrk; `finish` gives requests and errors."""
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s"]
    if close:
        command += ["-H", "Connection: close"]
    return subprocess.Popen(command + [server.url(path)], stdout=subprocess.PIPE, text=True)


def finish(process):
    """Requests that wrk had answers to, and those that failed."""
    requests, errors, _ = told(process)
    return requests, errors


def told(process):
    """The same, and requests per second as wrk itself reckons them."""
    out = process.communicate()[0]
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    failed = sum(map(int, errors.groups())) if errors else 0
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    return requests, failed + (int(bad.group(1)) if bad else 0), rate


def check_load(quick):
    wanted = 20_000 if quick else 200_000
    for backend in BACKENDS:
        for policy in POLICIES:
            with Server("--workers", "2", "--policy", policy, "--backend", backend) as server:
                total = {False: 0, True: 0}
                failed, threads = 0, set()
                while min(total.values()) < wanted // 2:
                    # Both kinds at once: half of the connections keep alive, half do not.
                    runs = [(close, wrk(server, 2, close, 16)) for close in (False, True)]
                    while any(run.poll() is None for _, run in runs):
                        threads.add(server.threads())
                        time.sleep(0.05)
                    for close, run in runs:
                        requests, errors = finish(run)
                        total[close] += requests
                        failed += errors
                spread = [worker["accepted"] for worker in server.ready()]
                ok = failed == 0 and threads == {1} and sum(total.values()) >= wanted
                verdict(ok, f"load {backend} {policy}: {total[False]} keep-alive and "
                            f"{total[True]} close requests, {failed} errors, "
                            f"master threads {sorted(threads)}, accepted {spread}")


def check_reload(quick):
    rounds = 5 if quick else 20
    for policy in POLICIES:
        for close in (False, True):
            with Server("--workers", "2", "--policy", policy) as server:
                # Each takes somewhat more than the second that its first worker is on trial.
                run = wrk(server, rounds * 3 // 2 + 2, close)
                time.sleep(0.5)
                for generation in range(2, rounds + 2):
                    server.signal(signal.SIGHUP)
                    wait_for(lambda: server.status()["generation"] == generation)
                under_load = run.poll() is None
                requests, errors = finish(run)
                kind = "close" if close else "keep-alive"
                verdict(errors == 0 and under_load,
                        f"reload {policy} {kind}: {rounds} reloads during "
                        f"{requests} requests, {errors} failed")


def check_kill(quick):
    kills = 3 if quick else 10
    for policy in POLICIES:
        with Server("--workers", "2", "--policy", policy) as server:
            run = wrk(server, 3 if quick else 8, True)
            time.sleep(0.5)
            for kill in range(kills):
                victim = server.ready()[kill % 2]
                os.kill(victim["pid"], signal.SIGKILL)
                wait_for(lambda: is_whole_without(server, victim["pid"]))
            requests, errors = finish(run)
            totals = server.status()["totals"]
            # Workers that accept for themselves report to nobody what they had claimed: one that
            # is being read, one that is being answered, one that is being closed.
            reported = policy not in ("shared", "reuseport")
            claimed = totals["lost"] if reported else 3 * kills
            verdict(errors <= claimed,
                    f"kill {policy}: {kills} kills during {requests} requests, {errors} failed, "
                    f"{totals['lost'] if reported else 'unknown'} claimed by the dead, "
                    f"{totals['recovered']} recovered from them")


def is_whole_without(server, pid):
    pids = [worker["pid"] for worker in server.ready()]
    return len(pids) == 2 and pid not in pids


def request(port, path="/", timeout=10):
    """One request on a fresh connection; seconds until its answer, and who answered."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := stream.recv(4096):
            answer += chunk
    return time.monotonic() - began, answer.split(b"\r\n\r\n", 1)[-1]


def check_stop(quick):
    rounds = 5 if quick else 20
    for policy in ("least", "jbsq", "shared"):
        for backend in BACKENDS:
            for busy in (False, True):
                for gap_ms in (4, 60):
                    stop_rounds(policy, backend, busy, gap_ms, rounds)


def stop_rounds(policy, backend, busy, gap_ms, rounds):
    late, worst, sent, claimed = 0, 0.0, 0, 0
    with Server("--workers", "2", "--policy", policy, "--backend", backend) as server:
        for number in range(rounds):
            # The one of the round before goes on, and its master hears of that, a moment later.
            wait_for(lambda: len(server.ready()) == 2)
            victim = server.ready()[number % 2]["pid"]
            held = occupy(server, victim) if busy else []
            before = server.status()
            os.kill(victim, signal.SIGSTOP)
            delays = []
            threads = []
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                arrival = threading.Thread(
                    target=lambda: delays.append(request(server.port)[0]))
                arrival.start()
                threads.append(arrival)
                time.sleep(gap_ms / 1000)
            os.kill(victim, signal.SIGCONT)
            for thread in threads + held:
                thread.join()
            sent += len(delays)
            # A request that the victim had begun when it was stopped is its own to finish.
            begun = 0 if busy else 1 if before is None else 0
            over = sorted(delay for delay in delays if delay > 0.030)
            claimed += min(len(over), begun)
            late += max(0, len(over) - begun)
            worst = max([worst, *delays])
    verdict(late == 0, f"stop {policy} {backend} {'busy' if busy else 'idle'} every {gap_ms} ms: "
                       f"{rounds} stops, {sent} connections, {late} delayed > 30 ms, "
                       f"worst {worst * 1000:.1f} ms")


def occupy(server, victim):
    """Keeps exactly this worker busy with a long request, so that it is stopped while it serves."""
    while True:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(request(server.port, "/sleep?ms=350")))
        thread.start()
        wait_for(lambda: any(w["in_flight"] for w in server.ready()))
        if any(w["pid"] == victim and w["in_flight"] for w in server.ready()):
            return [thread]
        thread.join()


def check_weights(_quick):
    for backend in BACKENDS:
        with Server("--workers", "2", "--policy", "wrr", "--weight", "3,1",
                   "--backend", backend) as server:
            order = [int(request(server.port)[1].split()[3]) for _ in range(4000)]
            share = order.count(0) / len(order)
            longest = max(len(run) for run in re.findall(r"0+", "".join(map(str, order))))
            verdict(abs(share - 0.75) <= 0.0075 and longest <= 3,
                    f"weights {backend}: 3,1 gave {order.count(0)}:{order.count(1)}, "
                    f"longest run of the heavy one {longest}")


def check_pipe(_quick):
    for backend in BACKENDS:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        try:
            while True:
                os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write_end, True)
        with Server("--workers", "2", "--backend", backend, "--log-level", "debug",
                   stderr=write_end) as server:
            for _ in range(3):
                server.signal(signal.SIGHUP)
                time.sleep(0.2)
            answered = sum(b"hello" in request(server.port)[1] for _ in range(500))
            verdict(answered == 500, f"pipe {backend}: {answered} of 500 requests answered while "
                                     f"stderr is a full pipe")
        os.close(read_end)
        os.close(write_end)


CHECKS = {"load": check_load, "reload": check_reload, "kill": check_kill, "stop": check_stop,
          "weights": check_weights, "pipe": check_pipe}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checks", nargs="*", default=["all"])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    given = parser.parse_args()
    if not os.path.exists(BINARY):
        sys.exit(f"{BINARY} is missing: run `cargo build --release` first")
    names = list(CHECKS) if "all" in given.checks else given.checks
    for name in names:
        if name not in CHECKS:
            sys.exit(f"no check '{name}': choose from {', '.join(CHECKS)}, all")
        if name in ("load", "reload", "kill") and not shutil.which("wrk"):
            sys.exit("wrk is missing: apt-get install wrk")
        CHECKS[name](given.quick)
    print(f"{len(FAILED)} failed")
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
