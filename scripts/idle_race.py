#!/usr/bin/env python3
"""How many requests are lost that come just when their idle connection's time is over.

    scripts/idle_race.py [--connections N] [--within MS] [--save]
    (default: 2500 each, 1.5 ms)

N keep-alive connections to each of four dispatchds (both backends, idle connections with the master or
with a worker) ask once, keep silent for the 75 s after which they are let go, and ask again at that very
moment, earlier or later by no more than MS milliseconds, spread evenly. Who finds its connection closed
before that would open another one, and loses nothing. Every client of HTTP that keeps connections has
this race with its server, and neither side alone can end it: what is lost are the requests that are on
their way while the server decides. No process is pinned: this script does not sleep just before it
asks, and a worker pinned to its CPU would decide only afterwards, without a race. Needs `cargo build
--release`, a quiet machine and a limit of open files above 4 N. Traffic stays on loopback.
"""

import argparse
import heapq
import random
import resource
import select
import socket
import sys
import time
from collections import Counter

import acceptance
from acceptance import SUMMARY, Server

GET = b"GET / HTTP/1.1\r\nHost: race\r\n\r\n"
IDLE_S = 75.0
# Pause between two connections: the requests of the race come so far apart.
APART_S = 0.004
# Until then whoever is answered at all has been answered.
ANSWER_S = 5.0
OWN_FILES = 128


class Asker:
    """A connection, and what became of its second request."""

    def __init__(self, kind, port):
        self.kind = kind
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self):
        try:
            self.socket.sendall(GET)
        except OSError:
            pass

    def is_closed(self):
        """Whether the end has come here."""
        self.socket.setblocking(False)
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def is_answered(self):
        """Whether an answer has come: otherwise it is the end."""
        try:
            return self.socket.recv(4096).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False


def opened(servers, given):
    """All connections, each with when it is to ask again: after its first answer by the time that
    idle ones are kept, and some offset."""
    plan, spread = [], given.within / 1e3
    for number in range(given.connections):
        for kind, server in servers.items():
            asker = Asker(kind, server.port)
            asker.ask()
            if not asker.is_answered():
                raise SystemExit("FAIL  a fresh connection was not answered")
            at = time.monotonic() + IDLE_S + random.uniform(-spread, spread)
            heapq.heappush(plan, (at, number, kind, asker))
            time.sleep(APART_S)
    return plan


def race(plan):
    """Has each ask at its time; returns how many of a kind found the end, how many requests of it
    were lost, and how many connections neither."""
    poll, closed, lost = select.poll(), Counter(), Counter()
    askers = {}
    while plan:
        at, _, _, asker = heapq.heappop(plan)
        time.sleep(max(0.0, at - time.monotonic() - 0.001))
        while time.monotonic() < at:
            pass
        if asker.is_closed():
            closed[asker.kind] += 1
            continue
        asker.ask()
        askers[asker.socket.fileno()] = asker
        poll.register(asker.socket, select.POLLIN)
    until = time.monotonic() + ANSWER_S
    while askers and time.monotonic() < until:
        for number, _ in poll.poll(100):
            asker = askers.pop(number)
            poll.unregister(number)
            lost[asker.kind] += not asker.is_answered()
    return closed, lost, len(askers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--connections", type=int, default=2_500, metavar="N")
    parser.add_argument("--within", type=float, default=1.5, metavar="MS")
    parser.add_argument("--save", action="store_true", help="keep the result in bench-results")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4 * given.connections + OWN_FILES:
        parser.error(f"that needs a higher `ulimit -Hn` than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kinds = [(backend, dispatch) for backend in acceptance.BACKENDS
             for dispatch in ["request", "connection"]]
    servers = {}
    try:
        for kind in kinds:
            backend, dispatch = kind
            servers[kind] = Server("--workers", "2", "--backend", backend, "--dispatch", dispatch,
                                 "--pin", "none", "--log-level", "error").__enter__()
        closed, lost, hanging = race(opened(servers, given))
    finally:
        for server in servers.values():
            server.__exit__()
    for backend, dispatch in kinds:
        kind = backend, dispatch
        where = "the master" if dispatch == "request" else "a worker"
        SUMMARY.say(f"{backend}, idle with {where} (--dispatch {dispatch}): {lost[kind]} of "
                    f"{given.connections} lost within {given.within} ms of their time, "
                    f"{closed[kind]} found the end before they asked")
    SUMMARY.say(f"{hanging} neither answered nor ended")
    if given.save:
        SUMMARY.keep("idle-race", "scripts/idle_race.py")
    sys.exit(1 if hanging else 0)


if __name__ == "__main__":
    main()
