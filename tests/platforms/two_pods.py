"""Run by pid 1 of a mesh in test_launcher: two processes in two namespaces talk over the bridge.

Writes ``facts.json`` (what the client heard, inodes of the namespaces) and then waits.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from argosy.platforms.local import netns, network

SERVER = """
import socket
server = socket.create_server(("", 80))
while True:
    connection, peer = server.accept()
    connection.sendall(f"hello {peer[0]}".encode())
    connection.close()
"""
CLIENT = """
import socket, sys, time
for _ in range(100):
    try:
        connection = socket.create_connection((sys.argv[1], 80), 5)
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
print(connection.recv(100).decode(), end="")
time.sleep(0 if sys.argv[2] == "end" else 1000)
"""


def main() -> None:
    target = Path(sys.argv[1])
    pool = network.AddressPool()
    inodes = []
    seconds = []
    pods = []
    for number in range(2):
        start = time.perf_counter()
        fd = netns.create()
        address = pool.take()
        network.attach(fd, f"pod{number}", address)
        seconds.append(time.perf_counter() - start)
        inodes.append(os.fstat(fd).st_ino)
        pods.append((fd, address))
    (server_fd, server_address), (client_fd, _) = pods
    python = sys.executable
    netns.run_in(server_fd, lambda: subprocess.Popen([python, "-c", SERVER]))
    argv = [python, "-c", CLIENT, server_address, "end"]
    heard = netns.run_in(client_fd, lambda: subprocess.check_output(argv, text=True, timeout=30))
    argv[-1] = "stay"
    netns.run_in(client_fd, lambda: subprocess.Popen(argv, stdout=subprocess.DEVNULL))
    outside_fd = netns.current()
    inodes.append(os.fstat(outside_fd).st_ino)
    facts = {"heard": heard, "inodes": inodes, "seconds": seconds, "uid": os.getuid()}
    temporary = target.with_suffix(".new")
    temporary.write_text(json.dumps(facts))
    temporary.rename(target)
    ready = socket.socket(socket.AF_UNIX)
    ready.bind(sys.argv[2])
    ready.listen()
    time.sleep(1000)


if __name__ == "__main__":
    main()
