"""Orders from a test: one JSON object a line on standard input, each answered by
one line on standard output once it is carried out. `do` names the order, all other
members are its arguments. The program ends with its standard input."""

import asyncio
import json
import sys

# An order may hold a whole event, and events may be large.
LONGEST_ORDER = 64 << 20


def say(answer):
    print(json.dumps(answer), flush=True)


async def obey(orders):
    """`orders` maps names to coroutine functions that return an answer or None."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LONGEST_ORDER)
    protocol = asyncio.StreamReaderProtocol(lines)
    await loop.connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        try:
            answer = await orders[order.pop("do")](**order)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        say(answer or {})
