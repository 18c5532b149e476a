#!/usr/bin/env python3
"""Holds N idle connections open while two workers serve load, and says what one costs.

    scripts/parked.sh [N ...] [--backend uring|epoll] [--save]
    (default: 2000 6000 18000)

Each connection asks once and then keeps silent; dispatchd has it back and watches it. Afterwards all
of them ask once more, and each must have its answer. Memory is that of the processes (VmRSS); what
the kernel keeps per socket is not in it. Needs `cargo build --release`, wrk (Debian: apt-get install
wrk) and a hard limit of open files (`ulimit -Hn`) above N. Traffic stays on loopback. Exits 1 if
anything was wrong.
"""

import argparse
import resource
import socket
import sys

import acceptance
from acceptance import SUMMARY, Server, finish, verdict, wrk
from soak import files, rss_kib

GET = b"GET / HTTP/1.1\r\nHost: parked\r\n\r\n"
# What the script itself has open beside the connections.
OWN_FILES = 64


def ask(connection):
    connection.sendall(GET)
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b")\n"):
        chunk = connection.recv(4096)
        if not chunk:
            return False
        answer += chunk
    return answer.startswith(b"HTTP/1.1 200 ")


def opened(server, count):
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        connections.append(connection)
        if not ask(connection):
            raise SystemExit("FAIL  a fresh connection was not answered")
    return connections


def workers_kib(server):
    return sum(rss_kib(worker["pid"]) for worker in server.ready())


def measure(count, given):
    """Bytes per parked connection in the master, and in the workers."""
    flags = ["--workers", "2", "--backend", given.backend, "--dispatch", "request",
             "--log-level", "error"]
    with Server(*flags) as server:
        # Whatever serving takes at all is there before the counting begins.
        finish(wrk(server, 1, False))
        before, workers_before = rss_kib(server.process.pid), workers_kib(server)
        connections = opened(server, count)
        after, workers_after = rss_kib(server.process.pid), workers_kib(server)
        parked = server.status()["hold"]["parked"]
        requests, errors = finish(wrk(server, 3, False))
        each = (after - before) * 1024 / count
        each_worker = (workers_after - workers_before) * 1024 / count
        verdict(parked == count, f"{count} connections: {parked} parked, {files(server.process.pid)} "
                f"descriptors in the master")
        verdict(errors == 0, f"{count} connections: {requests} requests served meanwhile by two "
                f"workers, {errors} failed")
        right = sum(ask(connection) for connection in connections)
        verdict(right == count, f"{count} connections: {right} answered afterwards")
        SUMMARY.say(f"      {count} connections: {each:.0f} bytes each in the master ({before} to "
                    f"{after} KiB), {each_worker:.0f} in both workers together")
        for connection in connections:
            connection.close()
        return after - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("counts", type=int, nargs="*", default=[2_000, 6_000, 18_000], metavar="N")
    parser.add_argument("--backend", choices=acceptance.BACKENDS, default="uring")
    parser.add_argument("--save", action="store_true", help="keep the result in bench-results")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < max(given.counts) + OWN_FILES:
        parser.error(f"{max(given.counts)} connections need a higher `ulimit -Hn` than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    costs = [(count, measure(count, given)) for count in sorted(given.counts)]
    if 1 < len(costs):
        (few, little), (many, much) = costs[0], costs[-1]
        slope = (much - little) * 1024 / (many - few)
        SUMMARY.say(f"      slope from {few} to {many}: {slope:.0f} bytes per connection in the "
                    "master")
    if given.save:
        SUMMARY.keep(f"parked-{given.backend}", "scripts/parked.sh")
    sys.exit(1 if acceptance.FAILED else 0)


if __name__ == "__main__":
    main()
