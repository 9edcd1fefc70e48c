"""A bad cable: carries packets between two TUN devices, each in a network namespace of its
own, and loses some.

    cable.py NAMESPACE NAMESPACE SETTING DELAY_MS

SETTING is a file with the share that is lost, in percent; it may change at any time.
Says "ready" once the devices are there, or why they cannot be. Ends with its standard
input.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# Packets that are under way at once; more are lost, as in any cable.
MOST = 1000


def device(namespace, name):
    """A TUN device, moved into the namespace; packets still come and go here."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    link = ["ip", "link", "set", name, "netns", namespace, "name", "cable0"]
    subprocess.run(link, check=True, capture_output=True)
    return end


def carry(ends, setting, delay):
    under_way, count, seen, loss = [], 0, 0, 0.0
    while True:
        wait = max(0, under_way[0][0] - time.monotonic()) if under_way else 1
        ready, _, _ = select.select([*ends, sys.stdin], [], [], min(wait, 1))
        if sys.stdin in ready and not sys.stdin.buffer.read1(1):
            return
        now = time.monotonic()
        if now - seen > 0.01:
            seen, loss = now, float(open(setting).read())
        for end in ends:
            if end not in ready:
                continue
            packet = os.read(end, 65536)
            if random.uniform(0, 100) >= loss and len(under_way) < MOST:
                count += 1
                other = ends[1] if end == ends[0] else ends[0]
                heapq.heappush(under_way, (now + delay, count, other, packet))
        while under_way and under_way[0][0] <= now:
            _, _, other, packet = heapq.heappop(under_way)
            try:
                os.write(other, packet)
            except OSError:
                # The device is down: the packet is lost.
                pass


def main():
    first, second, setting, delay = sys.argv[1:]
    with open(setting, "w") as file:
        file.write("0")
    try:
        ends = [device(first, f"c{os.getpid()}a"), device(second, f"c{os.getpid()}b")]
    except (OSError, subprocess.CalledProcessError) as error:
        print(getattr(error, "stderr", None) or error, flush=True)
        return
    print("ready", flush=True)
    carry(ends, setting, int(delay) / 1000)


main()
