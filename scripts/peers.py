#!/usr/bin/env python3
"""dispatchd beside nginx, HAProxy, Node cluster and PM2, in the same run and interleaved rounds.

    scripts/peers.sh [--rounds N] [--seconds N] [--skew-seconds N] [--workers N] [--only LIST]
                     [--binary PATH] [--install] [--save]

Two workloads: / as fast as wrk can ask (keep-alive and close: requests/s, CPU, memory), and short
requests of 1 ms beside 1 % long ones of 100 ms at load 0.8 from `dispatchd bench load` (their
p99). nginx and HAProxy cannot hold a worker up for a millisecond, so in the second workload they
stand as balancers before as many dispatchd processes of one worker each.

Needs wrk and, of the peers, whatever is installed; --install fetches them (Debian's nginx, haproxy,
nodejs, npm and wrk; PM2 from npm into ~/.cache/dispatchd-peers). Traffic stays on loopback; only
processes started here are signalled, by pid.
"""

import argparse
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import results
from results import ROOT

SERVER_JS = os.path.join(ROOT, "scripts", "peers", "server.js")
PM2_PREFIX = os.path.join(os.path.expanduser("~"), ".cache", "dispatchd-peers")
MODES = ["keep-alive", "close"]
CONNECTIONS = 32
LOAD = 0.8
MEAN_MS = 0.99 * 1 + 0.01 * 100
FOREIGN_ALLOWED = 3.0
CONFIGS = {}


class Peer:
    """A server under test: how it is started, and what it takes part in."""

    def __init__(self, name, start, serves=True, skew=True, note=""):
        self.name, self.start, self.serves, self.skew, self.note = name, start, serves, skew, note
        self.port = self.master = None
        self.roots = []

    def pids(self):
        return [pid for root in self.roots for pid in tree(root)]

    def url(self):
        return f"http://127.0.0.1:{self.port}"


def fail(text, code=1):
    print(f"peers: {text}", file=sys.stderr)
    sys.exit(code)


def tree(pid):
    """A process and its descendants."""
    found = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as children:
                for child in children.read().split():
                    found += tree(int(child))
    except OSError:
        pass
    return found


def cpu_s(pids):
    """CPU time of processes so far; exact while they sleep."""
    total = 0
    for pid in pids:
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as line:
                    total += int(line.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def busy_s():
    """Busy time of all CPUs so far."""
    with open("/proc/stat") as lines:
        fields = [int(field) for field in lines.readline().split()[1:]]
    busy = sum(fields[:3]) + sum(fields[5:8])
    return busy / os.sysconf("SC_CLK_TCK")


def children_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + own.ru_utime + own.ru_stime


def memory_mib(pid, file, key):
    try:
        with open(f"/proc/{pid}/{file}") as lines:
            return int(re.search(rf"^{key}:\s+(\d+) kB", lines.read(), re.M).group(1)) / 1024
    except OSError:
        return 0.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(port, path="/"):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while chunk := stream.recv(65536):
            answer += chunk
    return answer


class Stage:
    """All servers of a run; whatever was started ends with the block."""

    def __init__(self, given):
        self.given, self.workers = given, given.workers
        self.home = tempfile.mkdtemp(prefix="dispatchd-peers-")
        self.processes, self.at_exit, self.backends = [], [], []
        self.cpus = sorted(os.sched_getaffinity(0))
        self.body = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in self.at_exit:
            end()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def folder(self, name):
        path = os.path.join(self.home, re.sub(r"[^a-z0-9]+", "-", name.lower()))
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def spawn(self, name, command, env=None):
        clean = {"PATH": os.environ["PATH"], "HOME": self.home, **(env or {})}
        with open(os.path.join(self.folder(name), "log"), "wb") as log:
            process = subprocess.Popen(command, env=clean, stdout=log, stderr=log)
        self.processes.append(process)
        return process.pid

    def wait_ready(self, name, port, pid=None, children=0):
        for _ in range(150):
            try:
                if (pid is None or len(tree(pid)) > children) and fetch(port):
                    return
            except OSError:
                pass
            time.sleep(0.1)
        with open(os.path.join(self.folder(name), "log")) as log:
            said = (log.read().strip() or "it said nothing").splitlines()[-1]
        fail(f"{name} is not ready: {said}")

    def dispatchd(self, peer, policy, workers=None, pin="auto"):
        workers = workers or self.workers
        peer.port = free_port()
        folder = self.folder(peer.name)
        pid = self.spawn(peer.name, [
            self.given.binary, "--workers", str(workers), "--policy", policy, "--pin", pin,
            "--listen", f"127.0.0.1:{peer.port}", "--log-level", "warn"],
            {"XDG_RUNTIME_DIR": folder})
        peer.master, peer.roots = pid, [pid]
        self.wait_ready(peer.name, peer.port, pid, workers)

    def backend_ports(self):
        """As many dispatchds of one worker as there are workers elsewhere, for the balancers."""
        while len(self.backends) < self.workers:
            number = len(self.backends)
            backend = Peer(f"backend {number}", None)
            self.dispatchd(backend, "shared", 1, str(self.cpus[number % len(self.cpus)]))
            self.backends.append(backend)
        return [backend.port for backend in self.backends]

    def nginx(self, peer, content, listen=""):
        peer.port = free_port()
        folder = self.folder(peer.name)
        temps = "\n".join(f"  {kind}_temp_path {folder}/{kind};" for kind in
                          ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        text = f"""{"user root;" if os.getuid() == 0 else ""}
daemon off;
worker_processes {self.workers};
worker_cpu_affinity auto;
pid {folder}/pid;
error_log {folder}/log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
{temps}
{content(peer.port, listen)}
}}
"""
        conf = self.config(peer, "nginx.conf", text)
        pid = self.spawn(peer.name, ["nginx", "-e", f"{folder}/log", "-p", folder, "-c", conf])
        peer.master, peer.roots = pid, [pid] + self.backend_pids(peer)
        self.wait_ready(peer.name, peer.port, pid, self.workers)

    def nginx_static(self, port, listen):
        body = self.body.replace("\n", "\\n")
        return f"""  server {{
    listen 127.0.0.1:{port} backlog=4096{listen};
    location / {{ return 200 "{body}"; }}
  }}"""

    def nginx_balancer(self, method):
        servers = "".join(f" server 127.0.0.1:{port};" for port in self.backend_ports())
        return lambda port, _listen: f"""  upstream backends {{ zone all 256k;{method}{servers} \
keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://backends; proxy_http_version 1.1; proxy_set_header Connection "";
    }}
  }}"""

    def haproxy(self, peer, content, threads=None):
        peer.port = free_port()
        text = f"""global
  nbthread {threads or self.workers}
  maxconn 8192
defaults
  mode http
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout queue 60s
frontend here
  bind 127.0.0.1:{peer.port} backlog 4096
{content}
"""
        conf = self.config(peer, "haproxy.cfg", text)
        pid = self.spawn(peer.name, ["haproxy", "-W", "-db", "-f", conf])
        peer.master, peer.roots = pid, [pid] + self.backend_pids(peer)
        self.wait_ready(peer.name, peer.port, pid, 1)

    def haproxy_static(self, peer):
        page = os.path.join(self.folder(peer.name), "page")
        with open(page, "w") as file:
            file.write(self.body)
        self.haproxy(peer, f"  http-request return status 200 content-type text/plain file {page}")

    def haproxy_balancer(self, peer, method, limit="", threads=None):
        servers = "\n".join(f"  server s{number} 127.0.0.1:{port}{limit}"
                            for number, port in enumerate(self.backend_ports()))
        self.haproxy(peer, f"  default_backend all\nbackend all\n  balance {method}\n"
                           f"  http-reuse always\n{servers}", threads)

    def backend_pids(self, peer):
        return [] if peer.serves else [backend.master for backend in self.backends]

    def config(self, peer, file, text):
        path = os.path.join(self.folder(peer.name), file)
        with open(path, "w") as config:
            config.write(text)
        CONFIGS[peer.name] = text.replace(self.home, "TMP")
        return path

    def node(self, peer, mode):
        peer.port = free_port()
        pid = self.spawn(peer.name, ["node", SERVER_JS], self.node_env(peer, mode))
        peer.master, peer.roots = pid, [pid]
        self.wait_ready(peer.name, peer.port, pid, self.workers)

    def node_env(self, peer, mode):
        return {"PEER_MODE": mode, "PEER_PORT": str(peer.port), "PEER_BODY": self.body,
                "PEER_WORKERS": str(self.workers)}

    def pm2(self, peer):
        peer.port = free_port()
        home = self.folder(peer.name)
        env = {"PATH": os.environ["PATH"], "HOME": self.home, "PM2_HOME": home,
               "PM2_DISABLE_VERSION_CHECK": "true", **self.node_env(peer, "pm2")}
        program = find_pm2()
        self.at_exit.append(lambda: subprocess.run([program, "kill"], env=env, timeout=30,
                                                   capture_output=True))
        started = subprocess.run([program, "start", SERVER_JS, "-i", str(self.workers), "--no-pmx",
                                  "--no-vizion"], env=env, capture_output=True, text=True,
                                 timeout=60)
        if started.returncode != 0:
            fail(f"pm2 failed: {(started.stderr or started.stdout).strip().splitlines()[-1]}")
        with open(os.path.join(home, "pm2.pid")) as pid:
            peer.master = int(pid.read())
        peer.roots = [peer.master]
        open(os.path.join(home, "log"), "a").close()
        self.wait_ready(peer.name, peer.port, peer.master, self.workers)


def find_pm2():
    private = os.path.join(PM2_PREFIX, "node_modules", ".bin", "pm2")
    return os.environ.get("PM2") or shutil.which("pm2") or (
        private if os.path.exists(private) else None)


def installed(program):
    return find_pm2() if program == "pm2" else shutil.which(program)


# Programs, contestants, and what each stands for.
def contestants(stage):
    def ours(policy):
        return Peer(f"dispatchd {policy}", lambda peer: stage.dispatchd(peer, policy))

    def nginx(name, listen):
        return Peer(name, lambda peer: stage.nginx(peer, stage.nginx_static, listen), skew=False)

    def nginx_lb(name, method):
        return Peer(name, lambda peer: stage.nginx(peer, stage.nginx_balancer(method)),
                    serves=False)

    def haproxy_lb(name, method, *more):
        return Peer(name, lambda peer: stage.haproxy_balancer(peer, method, *more), serves=False)

    return {
        None: [ours("rr"), ours("jbsq"), ours("shared")],
        "nginx": [nginx("nginx shared", ""), nginx("nginx reuseport", " reuseport"),
                  nginx_lb("nginx > rr", ""), nginx_lb("nginx > least_conn", " least_conn;")],
        "haproxy": [Peer("HAProxy", stage.haproxy_static, skew=False),
                    haproxy_lb("HAProxy > rr", "roundrobin"),
                    haproxy_lb("HAProxy > leastconn", "leastconn"),
                    haproxy_lb("HAProxy > maxconn 1", "leastconn", " maxconn 1", 1)],
        "node": [Peer("Node cluster rr", lambda peer: stage.node(peer, "rr")),
                 Peer("Node cluster none", lambda peer: stage.node(peer, "none"))],
        "pm2": [Peer("PM2 cluster", stage.pm2)],
    }


def notes(stage, missing):
    lines = [
        f"{stage.workers} workers each. dispatchd pins them (--pin auto), nginx too "
        "(worker_cpu_affinity auto); HAProxy's threads and Node's processes are not pinned.",
        "The same body for all; heads differ, as each server writes its own.",
        "HAProxy: master-worker mode, as Debian starts it, one worker process with a thread per "
        "worker; / is `http-request return`.",
        "nginx, HAProxy serving /: no figure under skew. Neither can hold a worker up for 1 or "
        "100 ms; what they do about long requests is balance them, which the rows with > show.",
        "Rows with > : a balancer before as many dispatchds of one worker each, so HTTP is parsed "
        "twice and their CPU is the balancer's and the backends'. No figure for /: it would measure "
        "the backends.",
        "HAProxy > maxconn 1: requests wait in HAProxy until a backend is free. It has one thread: "
        "with two they wake each other over the queue, CPU per request doubles and p99 is a fifth "
        "worse.",
        "Node and PM2: /sleep blocks the event loop (Atomics.wait), as dispatchd's does.",
        "us: CPU per request, of all processes of the server; of wrk beside it. master MiB: its "
        "resident memory; PM2's is its daemon. all MiB: every process's share (PSS).",
        "wrk is a closed loop: requests/s and CPU are read off it, never latency. The p99 under "
        "skew is from an open loop (Poisson, a connection per request, the same requests for all "
        "in a round).",
    ]
    return lines + [f"{name}: not installed, left out (scripts/peers.sh --install)"
                    for name in missing]


class Meter:
    """CPU of everybody around a run: the contestant's, the generator's, and strangers'."""

    def __init__(self, stage, peer):
        self.stage, self.peer = stage, peer

    def read(self):
        # Backends belong to several balancers: each process counts once.
        everyone = {pid for peer in self.stage.peers for pid in peer.pids()}
        return cpu_s(self.peer.pids()), cpu_s(everyone), children_s(), busy_s(), time.monotonic()

    def __enter__(self):
        self.before = self.read()
        return self

    def __exit__(self, *_):
        time.sleep(0.1)
        spent = [after - before for after, before in zip(self.read(), self.before)]
        self.server_s, everyone, self.generator_s, busy, wall = spent
        part = (busy - everyone - self.generator_s) / wall / os.cpu_count() * 100
        self.foreign = max(0.0, part)


def run_wrk(stage, peer, mode, seconds):
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", peer.url() + "/"]
    if mode == "close":
        command[1:1] = ["-H", "Connection: close"]
    with Meter(stage, peer) as meter:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    found = re.search(r"(\d+) requests in ([\d.]+)(s|m)", run.stdout)
    if run.returncode != 0 or not found or found.group(1) == "0":
        fail(f"wrk failed on {peer.name}: {(run.stderr or run.stdout).strip().splitlines()[-1]}")
    requests = int(found.group(1))
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                       run.stdout)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", run.stdout)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", run.stdout).group(1))
    return {"requests": requests, "requests_per_s": rate,
            "errors": (sum(map(int, errors.groups())) if errors else 0) +
                      (int(bad.group(1)) if bad else 0),
            "server_us": meter.server_s / requests * 1e6,
            "generator_us": meter.generator_s / requests * 1e6,
            "foreign_percent": meter.foreign,
            "master_mib": memory_mib(peer.master, "status", "VmRSS"),
            "all_mib": sum(memory_mib(pid, "smaps_rollup", "Pss") for pid in peer.pids())}


def run_skew(stage, peer, seed, seconds):
    rate = round(LOAD * stage.workers * 1000 / MEAN_MS)
    command = [stage.given.binary, "bench", "load", peer.url(), "--mix", "bim100", "--service",
               "sleep", "--rate", str(rate), "--duration", f"{seconds}s", "--seed", str(seed),
               "--json"]
    for pid in peer.roots:
        command += ["--server-pid", str(pid)]
    with Meter(stage, peer) as meter:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    try:
        found = json.loads(run.stdout)["cells"][0]["rounds"][0]
        of = {each["name"]: each for each in found["classes"]}
        short, long = of["short"]["latency_us"], of["long"]["latency_us"]
    except (ValueError, LookupError, TypeError):
        said = (run.stderr.strip() or "it printed no result").splitlines()[-1]
        fail(f"bench load failed on {peer.name}: {said}")
    return {"requests": found["requests"], "errors": found["errors"],
            "rejected": found["rejected"], "foreign_percent": meter.foreign,
            "short_p50_ms": short["p50"] / 1000, "short_p99_ms": short["p99"] / 1000,
            "long_p99_ms": long["p99"] / 1000,
            "server_us": meter.server_s / found["requests"] * 1e6,
            "generator_us": meter.generator_s / found["requests"] * 1e6}


def progress(text):
    if sys.stderr.isatty():
        print(f"\r{text:<60}", end="" if text else "\r", file=sys.stderr, flush=True)


def run_rounds(stage, given):
    for peer in stage.peers:
        progress(f"warming up {peer.name}")
        if peer.serves:
            run_wrk(stage, peer, "close", 1)
        if peer.skew:
            run_skew(stage, peer, 1, 1)
    samples = []
    for number in range(1, given.rounds + 1):
        for workload in MODES + ["skew"]:
            for peer in stage.peers:
                if not (peer.skew if workload == "skew" else peer.serves):
                    continue
                progress(f"round {number} of {given.rounds}: {workload} {peer.name}")
                run = (run_skew(stage, peer, number, given.skew_seconds) if workload == "skew"
                       else run_wrk(stage, peer, workload, given.seconds))
                samples.append({"round": number, "workload": workload, "server": peer.name, **run})
    progress("")
    return samples


def counts(sample):
    return not (sample["errors"] or sample.get("rejected")
                or sample["foreign_percent"] > FOREIGN_ALLOWED)


def values(samples, server, workload, key):
    """By round; what does not count is left out."""
    return {each["round"]: each[key] for each in samples if counts(each)
            and each["server"] == server and each["workload"] == workload}


# Heading, workload, key, format, and whether more is better (None: not compared).
COLUMNS = [
    ("req/s", "keep-alive", "requests_per_s", "{:.0f}", True),
    ("us", "keep-alive", "server_us", "{:.2f}", False),
    ("wrk us", "keep-alive", "generator_us", "{:.2f}", None),
    ("req/s", "close", "requests_per_s", "{:.0f}", True),
    ("us", "close", "server_us", "{:.2f}", False),
    ("wrk us", "close", "generator_us", "{:.2f}", None),
    ("master", "close", "master_mib", "{:.1f}", False),
    ("all", "close", "all_mib", "{:.1f}", False),
    ("short p50", "skew", "short_p50_ms", "{:.2f}", False),
    ("short p99", "skew", "short_p99_ms", "{:.1f}", False),
    ("long p99", "skew", "long_p99_ms", "{:.0f}", False),
    ("us", "skew", "server_us", "{:.0f}", False),
]


# The columns with which a group begins.
START = {0: "|", 3: "|", 6: "|", 8: "|"}


def table(stage, samples):
    lines = [f"{'':20}|{' keep-alive':26}|{' close':26}|{' MiB':17}|{' skew, ms'}",
             f"{'':20}" + "".join(START.get(at, " ") + f"{heading:>{8 if at < 8 else 9}}"
                                  for at, (heading, *_) in enumerate(COLUMNS))]
    for peer in stage.peers:
        row = f"{peer.name:20}"
        for at, (_, workload, key, form, _) in enumerate(COLUMNS):
            found = values(samples, peer.name, workload, key)
            middle = form.format(statistics.median(found.values())) if found else "-"
            row += START.get(at, " ") + f"{middle:>{8 if at < 8 else 9}}"
        lines.append(row)
    return lines


def compared(stage, samples, ours="dispatchd jbsq"):
    """Ours against each other server, as ratios within a round: ahead, behind, or neither."""
    metrics = [(heading if key.endswith("_ms") else f"{heading} MiB" if key.endswith("_mib")
                else f"{workload} {heading}", workload, key, more)
               for heading, workload, key, _, more in COLUMNS if more is not None]
    lines = []
    for peer in stage.peers:
        if peer.name == ours or not any(each.name == ours for each in stage.peers):
            continue
        groups = {"ahead": [], "BEHIND": [], "even": []}
        for heading, workload, key, more in metrics:
            mine, theirs = (values(samples, name, workload, key) for name in [ours, peer.name])
            pairs = [(mine[at], theirs[at]) for at in mine.keys() & theirs.keys()]
            if not pairs or any(theirs == 0 for _, theirs in pairs):
                continue
            ratios = [mine / theirs for mine, theirs in pairs]
            better = [ratio > 1 if more else ratio < 1 for ratio in ratios]
            middle = statistics.median(ratios)
            verdict = "ahead" if all(better) else "BEHIND" if not any(better) else "even"
            groups["even" if abs(middle - 1) < 0.01 else verdict].append(f"{heading} {middle:.2f}")
        lines.append(f"against {peer.name}")
        lines += [f"  {verdict + ':':<11}{', '.join(group)}"
                  for verdict, group in groups.items() if group]
    return lines


def faults(samples):
    """What makes samples worth nothing: a line per server, workload and kind, with the worst."""
    found = {}
    for each in samples:
        foreign = each["foreign_percent"]
        kinds = {"errors": each["errors"], "rejected": each.get("rejected"),
                 "foreign": foreign if foreign > FOREIGN_ALLOWED else None}
        for kind, value in kinds.items():
            if value and not (kind == "foreign" and each.get("rejected")):
                found.setdefault((each["server"], each["workload"], kind), []).append(value)
    lines = []
    for (server, workload, kind), bad in found.items():
        said = {"errors": lambda: f"{sum(bad)} errors", "rejected": lambda: bad[0],
                "foreign": lambda: f"up to {max(bad):.1f} % of the CPU time went to others "
                                   f"({FOREIGN_ALLOWED} % are allowed)"}[kind]()
        lines.append(f"DOES NOT COUNT: {server}, {workload}, {len(bad)} of the rounds: {said}")
    return lines


def report(stage, samples, given, missing):
    heads = [f"{peer.name} {len(fetch(peer.port))}" for peer in stage.peers if peer.serves]
    return "\n".join([
        f"dispatchd and its peers: {stage.workers} workers each, median of {given.rounds} "
        f"interleaved rounds of {given.seconds} s (skew: {given.skew_seconds} s), those that do "
        "not count left out",
        f"keep and close: wrk -t2 -c{CONNECTIONS} on /; skew: 99 % of 1 ms and 1 % of 100 ms "
        f"(sleep), Poisson at load {LOAD}, close", "",
        *table(stage, samples), "",
        "dispatchd jbsq against each: ratio of ours to theirs in the same round, median; ahead or",
        "behind where every round says so, even where they differ or it is less than 1 %",
        *compared(stage, samples), "",
        *faults(samples), *[f"- {line}" for line in notes(stage, missing)],
        f"- bytes of an answer: {', '.join(heads)}",
    ]) + "\n"


def version(*command):
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError:
        return None
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[0] if lines else None


def save(stage, samples, text, missing):
    folder = results.make_folder("peers")
    env = {**results.environment("scripts/peers.sh"),
           "dispatchd": version(stage.given.binary, "--version"), "wrk": version("wrk", "-v"),
           "nginx": version("nginx", "-v"), "haproxy": version("haproxy", "-v"),
           "node": version("node", "--version"),
           "pm2": pm2_version() if find_pm2() else None,
           "foreign_percent": max(each["foreign_percent"] for each in samples)}
    results.write_json(folder, "env.json", env)
    results.write_json(folder, "results.json", samples)
    with open(os.path.join(folder, "summary.txt"), "w") as file:
        file.write(text)
    with open(os.path.join(folder, "NOTES.md"), "w") as file:
        file.write("# What stood beside what\n\n")
        file.writelines(f"- {line}\n" for line in notes(stage, missing))
        for name, config in CONFIGS.items():
            file.write(f"\n## {name}\n\n```\n{config.strip()}\n```\n")
    print(f"saved in {os.path.relpath(folder, ROOT)}")


def pm2_version():
    package = os.path.join(os.path.dirname(os.path.realpath(find_pm2())), "..", "package.json")
    try:
        with open(package) as file:
            return json.load(file)["version"]
    except (OSError, ValueError, KeyError):
        return "unknown"


def install():
    if os.getuid() != 0:
        fail("--install runs apt-get, which needs root")
    packages = [package for program, package in
                [("nginx", "nginx"), ("haproxy", "haproxy"), ("node", "nodejs"), ("npm", "npm"),
                 ("wrk", "wrk")] if not shutil.which(program)]
    steps = [["apt-get", "install", "-y", *packages]] if packages else []
    if not find_pm2():
        steps.append(["npm", "install", "--no-audit", "--no-fund", "--prefix", PM2_PREFIX, "pm2"])
    for step in steps:
        print("+", " ".join(step), flush=True)
        if subprocess.run(step).returncode != 0:
            fail(f"`{' '.join(step)}` failed")


def number(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}': a number from 1 is wanted")
    return int(text)


def arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/peers.sh", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=number, default=5)
    parser.add_argument("--seconds", type=number, default=5, help="of one wrk run")
    parser.add_argument("--skew-seconds", type=number, default=20, help="of one run under skew")
    parser.add_argument("--workers", type=number, default=2)
    parser.add_argument("--only", help="peers beside dispatchd: nginx,haproxy,node,pm2")
    parser.add_argument("--binary", default=os.environ.get("DISPATCHD"),
                        help="default: $DISPATCHD, else builds target/release/dispatchd")
    parser.add_argument("--install", action="store_true", help="fetch what is missing first")
    parser.add_argument("--save", action="store_true",
                        help="write bench-results/DATE-COMMIT-peers/")
    given = parser.parse_args()
    known = ["nginx", "haproxy", "node", "pm2"]
    given.peers = given.only.split(",") if given.only else known
    for name in given.peers:
        if name not in known:
            fail(f"--only {name}: choose from {', '.join(known)}", 2)
    return given


def build(given):
    if not given.binary:
        if subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "--bin",
                           "dispatchd"], cwd=ROOT).returncode != 0:
            fail("the build failed")
        target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
        given.binary = os.path.join(target, "release", "dispatchd")
    if not os.access(given.binary, os.X_OK):
        fail(f"--binary {given.binary}: no such program", 2)


def main():
    given = arguments()
    if given.install:
        install()
    if not shutil.which("wrk"):
        fail("wrk is missing: scripts/peers.sh --install, or apt-get install wrk")
    build(given)
    missing = [name for name in given.peers if not installed(name)]
    with Stage(given) as stage:
        groups = contestants(stage)
        stage.peers = [peer for name, group in groups.items() for peer in group
                       if name is None or (name in given.peers and name not in missing)]
        for peer in stage.peers:
            progress(f"starting {peer.name}")
            peer.start(peer)
            if not stage.body:
                stage.body = fetch(peer.port).split(b"\r\n\r\n", 1)[1].decode()
        samples = run_rounds(stage, given)
        text = report(stage, samples, given, missing)
        print(text, end="")
        if given.save:
            save(stage, samples, text, missing)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
