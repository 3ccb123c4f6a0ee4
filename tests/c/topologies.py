"""A cluster of three primaries with a replica each, and three sentinels over a primary with a replica, for the C tests.
Says where they are, and lasts until its standard input ends."""
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

program, folder = sys.argv[1], tempfile.mkdtemp(prefix="redkeep-t.")
running = []


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def ask(port, *words):
    with socket.create_connection(("127.0.0.1", port), 5) as link:
        text = f"*{len(words)}\r\n" + "".join(f"${len(str(w))}\r\n{w}\r\n" for w in words)
        link.sendall(text.encode())
        link.settimeout(0.5)
        answer = b""
        try:
            # The answers are short, and the first piece holds what is looked for.
            while not answer.endswith(b"\r\n"):
                answer += link.recv(65536) or b"\r\n"
        except TimeoutError:
            pass
        return answer.decode()


def start(*options, config=None):
    for _ in range(20):
        port = free_port()
        home = os.path.join(folder, str(port))
        os.mkdir(home)
        command = [program]
        if config:
            path = os.path.join(home, "sentinel.conf")
            with open(path, "w", encoding="ascii") as file:
                file.write(config)
            command += [path, "--sentinel"]
        command += ["--port", str(port), "--bind", "127.0.0.1", "--protected-mode", "no", "--save", "", "--dir", home]
        if "--cluster-enabled" in options:
            command += ["--cluster-port", str(free_port())]
        with open(os.path.join(home, "log"), "wb") as log:
            child = subprocess.Popen(command + list(options), stdout=log, stderr=log)
        while child.poll() is None:
            try:
                if "PONG" in ask(port, "PING"):
                    running.append(child)
                    return port
            except OSError:
                time.sleep(0.02)
    raise SystemExit("no server would start")


def wait(what):
    limit = time.monotonic() + 60
    while not what():
        if time.monotonic() > limit:
            raise SystemExit("the servers do not agree")
        time.sleep(0.05)


def cluster():
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"]
    nodes = [start(*options) for _ in range(6)]
    for i, port in enumerate(nodes):
        ask(port, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
    for i, port in enumerate(nodes[:3]):
        ask(port, "CLUSTER", "ADDSLOTSRANGE", i * 16384 // 3, (i + 1) * 16384 // 3 - 1)
    bus = ask(nodes[0], "CONFIG", "GET", "cluster-port").split("\r\n")[4]
    for port in nodes[1:]:
        ask(port, "CLUSTER", "MEET", "127.0.0.1", nodes[0], bus)
    wait(lambda: all(ask(p, "CLUSTER", "NODES").count(" connected") == 6 for p in nodes))
    for primary, replica in zip(nodes, nodes[3:]):
        name = ask(primary, "CLUSTER", "MYID").split("\r\n")[1]
        wait(lambda: ask(replica, "CLUSTER", "REPLICATE", name).startswith("+OK"))
    wait(lambda: all("cluster_state:ok" in ask(p, "CLUSTER", "INFO") for p in nodes))
    wait(lambda: all(all(f":{other}\r" in ask(p, "CLUSTER", "SLOTS") for other in nodes) for p in nodes))
    return nodes


def sentinels():
    primary = start()
    replica = start("--replicaof", "127.0.0.1 %d" % primary)
    wait(lambda: "master_link_status:up" in ask(replica, "INFO", "replication"))
    config = (
        f"sentinel monitor mymaster 127.0.0.1 {primary} 2\n"
        "sentinel down-after-milliseconds mymaster 3000\n"
    )
    return [start(config=config) for _ in range(3)]


try:
    for name, ports in [("CLUSTER", cluster()), ("SENTINELS", sentinels())]:
        print(name, ",".join(f"127.0.0.1:{port}" for port in ports), flush=True)
    sys.stdin.read()
finally:
    for child in running:
        child.kill()
        child.wait()
    shutil.rmtree(folder, ignore_errors=True)
