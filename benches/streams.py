"""The same loop as in streams.c over redis-py: microseconds a message."""

import sys
import time

import redis

socket, count = sys.argv[1], int(sys.argv[2])
client = redis.Redis(unix_socket_path=socket)
begun = time.perf_counter()
left = count
while left > 0:
    reply = client.xreadgroup("bench:l:cg", "peer", {"bench": ">"}, count=128, block=1000)
    streams = reply.values() if isinstance(reply, dict) else [entries for _, entries in reply]
    for entries in streams:
        if entries and isinstance(entries[0], list):
            entries = entries[0]
        client.xack("bench", "bench:l:cg", *[entry[0] for entry in entries])
        left -= len(entries)
print(f"{(time.perf_counter() - begun) * 1e6 / count:.4f}")
