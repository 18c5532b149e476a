#!/usr/bin/env python3
"""Keeps a release build busy for long while its workers are killed, and checks that nothing goes wrong.

    scripts/soak.py [--minutes M] [--workers N] [--backend uring|epoll] [--dispatch WHAT] [--every S]
                    [--classes WHAT] [--save]

wrk, the generator (`dispatchd bench load`) and clients of its own load one dispatchd together, all
on keep-alive connections; every few seconds a worker is killed. The clients send numbered bodies and
look at each byte that comes back: an answer that comes twice, or to somebody else, shows. What may
fail are requests that a killed worker had begun with, which the master counts (`lost`).

Needs `cargo build --release` to have run, and wrk (Debian: apt-get install wrk). Traffic stays on
loopback; only processes started here are signalled, by pid. Exits 1 if anything was wrong.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import acceptance
from acceptance import BINARY, SUMMARY, Server, finish, verdict

CLIENTS = 48
ANSWER_S = 10.0


class Tally:
    """What the clients have seen."""

    def __init__(self):
        self.answered = self.broken = self.closed_idle = self.wrong = self.hung = self.refused = 0
        # Times when the master did not say how it is.
        self.silent = 0
        self.over = False
        self.first_wrong = None


async def ask(reader, writer, number):
    """One request with a body of its own; true when exactly that came back."""
    body = f"{number} ".encode() * random.randint(1, 200)
    head = f"POST /echo HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", answer.lower())
    if not length or not answer.startswith(b"HTTP/1.1 200 "):
        return False
    return await reader.readexactly(int(length.group(1))) == body


async def client(port, tally, name):
    number = 0
    while not tally.over:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            tally.refused += 1
            await asyncio.sleep(0.05)
            continue
        while not tally.over:
            number += 1
            try:
                right = await asyncio.wait_for(ask(reader, writer, f"{name}-{number}"), ANSWER_S)
            except asyncio.TimeoutError:
                tally.hung += 1
                break
            except (OSError, EOFError, asyncio.IncompleteReadError):
                tally.broken += 1
                break
            except asyncio.LimitOverrunError:
                right = False
            tally.answered += right
            if not right:
                tally.wrong += 1
                tally.first_wrong = tally.first_wrong or f"{name}-{number}"
                break
            await asyncio.sleep(random.expovariate(1 / 0.04))
            # An answer that nobody asked for would lie here, or the end of the connection.
            try:
                extra = await asyncio.wait_for(reader.read(1), 0.001)
            except asyncio.TimeoutError:
                continue
            except OSError:
                extra = b""
            tally.closed_idle += extra == b""
            tally.wrong += extra != b""
            break
        writer.close()


async def kill_now_and_then(server, every, tally, memory):
    kills = 0
    loop = asyncio.get_running_loop()
    while not tally.over:
        await asyncio.sleep(every * random.uniform(0.5, 1.5))
        status = await loop.run_in_executor(None, server.status)
        if not status:
            tally.silent += 1
            continue
        ready = [each for each in status["workers"] if each["state"] == "ready"]
        if ready and not tally.over:
            os.kill(random.choice(ready)["pid"], signal.SIGKILL)
            kills += 1
        memory.append((time.monotonic(), rss_kib(server.process.pid), files(server.process.pid)))
    return kills


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as lines:
        return int(re.search(r"VmRSS:\s+(\d+)", lines.read()).group(1))


def files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


async def load(server, given, tally, memory):
    killer = asyncio.create_task(kill_now_and_then(server, given.every, tally, memory))
    clients = [asyncio.create_task(client(server.port, tally, name)) for name in range(CLIENTS)]
    await asyncio.sleep(given.minutes * 60)
    tally.over = True
    await asyncio.gather(*clients)
    return await killer


def generator(server, seconds):
    command = [BINARY, "bench", "load", server.url("/"), "--rate", "300", "--mix", "bim10",
               "--connections", "keep-alive:50", "--duration", f"{seconds}s", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def failures_of(process):
    """Requests that the generator saw fail, of how many."""
    rounds = [each for cell in json.loads(process.communicate()[0])["cells"]
              for each in cell["rounds"]]
    failed = sum(sum(each.get("failures", {}).values()) for each in rounds)
    return failed, sum(each["requests"] for each in rounds)


def is_quiet(server, workers):
    """All workers are there, and all clients have gone."""
    status = server.status()
    return status["have"] == workers and status["hold"]["parked"] == 0 and all(
        each["connections"] == 0 for each in status["workers"])


def judge(server, given, tally, memory, kills, wrk_says, generated):
    status = server.status()
    totals, lost = status["totals"], status["totals"]["lost"]
    failed, asked = generated
    requests, errors = wrk_says
    verdict(tally.wrong == 0, f"answers: {tally.answered} as asked for, {tally.wrong} not, "
            f"or twice (first: {tally.first_wrong})")
    verdict(tally.hung == 0, f"hung: {tally.hung} clients waited longer than {ANSWER_S:g} s")
    verdict(tally.refused == 0, f"refused: {tally.refused} connections of ours")
    verdict(tally.silent == 0, f"silent: {tally.silent} times the master did not say how it is")
    every = tally.broken + tally.closed_idle + errors + failed
    verdict(every <= lost, f"failed: {tally.broken} of ours, and {tally.closed_idle} closed while idle, "
            f"{errors} of wrk's {requests}, {failed} of the generator's {asked}; {lost} "
            f"connections had been begun by {kills} killed workers")
    verdict(status["have"] == status["want"], f"workers: {status['have']} of {status['want']} ready")
    verdict(server.threads() == 1, f"threads of the master: {server.threads()}")
    # The first minute fills tables and pools.
    settled = [each for each in memory if memory[0][0] + 60 < each[0]] or memory
    first, last = settled[0][1], settled[-1][1]
    verdict(last <= first + 1024, f"memory of the master: {first} KiB after a minute, {last} KiB at "
            f"the end")
    left = files(server.process.pid)
    verdict(left <= memory[0][2], f"descriptors of the master: {memory[0][2]} before, at most "
            f"{max(each[2] for each in memory)}, {left} when all have gone")
    SUMMARY.say(f"      given back {totals['given_back']}, recovered {totals['recovered']}, recalled "
                f"{totals['recalled']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--backend", choices=acceptance.BACKENDS, default="uring")
    parser.add_argument("--dispatch", default="request")
    parser.add_argument("--classes", default="target")
    parser.add_argument("--every", type=float, default=3, help="seconds between two kills")
    parser.add_argument("--save", action="store_true", help="keep the result in bench-results")
    given = parser.parse_args()
    seconds = int(given.minutes * 60)
    tally, memory = Tally(), []
    flags = ["--workers", str(given.workers), "--backend", given.backend,
             "--dispatch", given.dispatch, "--classes", given.classes, "--log-level", "error"]
    with Server(*flags) as server:
        memory.append((time.monotonic(), rss_kib(server.process.pid), files(server.process.pid)))
        command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", f"{ANSWER_S:g}s",
                   server.url("/sleep?ms=4")]
        wrk = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        generated = generator(server, seconds)
        try:
            kills = asyncio.run(load(server, given, tally, memory))
            wrk_says, generator_says = finish(wrk), failures_of(generated)
        finally:
            for each in (wrk, generated):
                each.kill()
                each.wait()
        acceptance.wait_for(lambda: is_quiet(server, given.workers))
        judge(server, given, tally, memory, kills, wrk_says, generator_says)
    if given.save:
        SUMMARY.keep(f"soak-{given.backend}", "scripts/soak.py")
    sys.exit(1 if acceptance.FAILED else 0)


if __name__ == "__main__":
    main()
