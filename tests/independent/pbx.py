"""The WSI of a PBX on the library `websockets`: nothing of cdrd is in it.

It is written from the vendor's documentation of the commands and is pedantic about
them: a key too many, a selector that belongs to another topic or two topics in one
command are complaints, which the report lists.

    python pbx.py DIALECT PASSWORD

prints its port, and then obeys orders (see `orders.py`): the methods of `Pbx` that
do not begin with an underscore.
"""

import asyncio
import json
import socket
import struct
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from orders import obey, say

PATHS = {"22": "/wsi", "16": "/", "12": "/"}

# Who may log in, by the keys besides "command" and "password".
LOGINS = {
    "22": [{"username"}, {"username", "domain"}, {"extension_number", "domain"}],
    "16": [{"username", "domain"}],
    "12": [{"extension", "domain"}, {"name"}],
}

# The selector that each topic takes.
SELECTORS = {
    "cdr_events": None,
    "global_cdr_events": "tenants",
    "extension_events": "extensions",
    "global_extension_events": "tenants",
    "extension_management_events": None,
    "global_extension_management_events": "tenants",
    "queue_events": "queues",
    "global_queue_events": "tenants",
    "queue_management_events": None,
    "global_queue_management_events": "tenants",
    "trunk_events": None,
}
GLOBAL_AND_MANAGEMENT = {t for t in SELECTORS if "global_" in t or "_management_" in t}
TOPICS = {
    "22": SELECTORS.keys() - {"trunk_events"},
    "16": SELECTORS.keys() - {"trunk_events"} - GLOBAL_AND_MANAGEMENT,
    "12": SELECTORS.keys() - GLOBAL_AND_MANAGEMENT,
}


class Wrong(Exception):
    """The client did what the documentation does not allow."""


class Connection(ServerConnection):
    """Counts the client's pings, which the library answers by itself."""

    pings = 0
    changed = None

    def process_event(self, event):
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode is Opcode.PING:
            self.pings += 1
            if self.changed:
                self.changed.set()


class Session:
    """One connection, and what was said on it."""

    def __init__(self, ws):
        self.ws = ws
        self.commands = []
        self.logged_in = False
        self.topics = []
        self.ended = False

    def report(self):
        protocol = self.ws.protocol
        frame = lambda close: close and [close.code, close.reason]
        return {
            "commands": self.commands,
            "pings": self.ws.pings,
            "offered": self.ws.request.headers.get("Sec-WebSocket-Extensions"),
            "extensions": [extension.name for extension in protocol.extensions],
            "ended": self.ended,
            "received": frame(protocol.close_rcvd),
            "sent": frame(protocol.close_sent),
            "client_first": protocol.close_rcvd_then_sent,
        }


class Pbx:
    def __init__(self, dialect, password):
        self._dialect = dialect
        self._password = password
        self._sessions = []
        self._complaints = []
        self._refused_topics = {}
        self._answers = 0
        self._changed = asyncio.Event()

    # The server.

    async def _serve(self, ws):
        session = Session(ws)
        self._sessions.append(session)
        ws.changed = self._changed
        if ws.request.path != PATHS[self._dialect]:
            self._complaints.append(f"path {ws.request.path}")
        try:
            async for message in ws:
                await self._command(session, message)
        except ConnectionClosed:
            pass
        except Wrong as wrong:
            self._complaints.append(str(wrong))
            await ws.close(1002, str(wrong))
        await ws.wait_closed()
        session.ended = True
        self._changed.set()

    async def _command(self, session, message):
        if not isinstance(message, str):
            raise Wrong("a command in a binary frame")
        command = json.loads(message, object_pairs_hook=no_key_twice)
        session.commands.append(command)
        kind = command.get("command")
        if not session.logged_in:
            if kind != "auth":
                raise Wrong(f"{kind} before auth")
            error = self._auth(command)
            session.logged_in = error is None
        elif kind == "subscribe":
            topic, error = self._subscribe(command)
            if error is None and topic in session.topics:
                raise Wrong(f"{topic} subscribed twice")
            if error is None:
                session.topics.append(topic)
        else:
            raise Wrong(f"{kind} after auth")
        await session.ws.send(self._answer(kind, error))
        self._changed.set()

    def _auth(self, command):
        who = command.keys() - {"command", "password"}
        if who not in LOGINS[self._dialect] or "password" not in command:
            raise Wrong(f"auth with {sorted(command)} in dialect {self._dialect}")
        if not all(isinstance(value, str) for value in command.values()):
            raise Wrong("auth with values that are no strings")
        return None if command["password"] == self._password else "Invalid user or password"

    def _subscribe(self, command):
        topics = command.get("topics")
        if not isinstance(topics, list) or len(topics) != 1:
            raise Wrong(f"not one topic: {topics}")
        topic = topics[0]
        if self._dialect == "12":
            if topic.keys() != {"topic", "keys"} or not topic["keys"]:
                raise Wrong(f"topic {topic} in dialect 12")
            topic = topic["topic"]
        if topic not in TOPICS[self._dialect]:
            raise Wrong(f"topic {topic} in dialect {self._dialect}")
        selector = SELECTORS[topic]
        if command.keys() != {"command", "topics"} | ({selector} if selector else set()):
            raise Wrong(f"{topic} with {sorted(command)}")
        if selector and not all(isinstance(value, str) for value in command[selector]):
            raise Wrong(f"{selector} that are no strings")
        return topic, self._refused_topics.get(topic)

    def _answer(self, kind, error):
        self._answers += 1
        answer = {"status": 0} if error is None else {"status": -1, "error": error}
        if self._dialect == "22":
            answer = {"command": kind, "id": str(self._answers), **answer}
        return json.dumps(answer)

    # Orders.

    @property
    def _ws(self):
        return self._sessions[-1].ws

    async def _until(self, is_so):
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    def _nth(self, connection):
        """Connections are counted from 1."""
        found = len(self._sessions) >= connection
        return self._sessions[connection - 1] if found else None

    async def subscribed(self, connection, topics):
        """Waits until so many topics are accepted on a connection."""
        await self._until(lambda: (s := self._nth(connection)) and len(s.topics) >= topics)

    async def asked(self, connection, commands):
        """Waits until so many commands have come on a connection."""
        await self._until(lambda: (s := self._nth(connection)) and len(s.commands) >= commands)

    async def ended(self, connection):
        """Waits for the end of a connection."""
        await self._until(lambda: (s := self._nth(connection)) and s.ended)
        return self._nth(connection).report()

    async def pinged(self, times):
        """Waits until the client has pinged so often on the last connection."""
        await self._until(lambda: self._ws.pings >= times)

    async def refuse_topic(self, topic, words):
        self._refused_topics[topic] = words

    async def send(self, text, binary=False):
        await self._ws.send(text.encode() if binary else text)

    async def send_hex(self, data):
        """Any bytes, as a text frame."""
        await self._ws.send(bytes.fromhex(data), text=True)

    async def fragment(self, text, size, binary=False):
        """A message in frames of `size` bytes, which may end within a character; a
        ping after each, and its pong awaited before the next goes out."""
        data = text.encode()

        async def pieces():
            for at in range(0, len(data), size):
                yield data[at : at + size]
                await (await self._ws.ping())

        await self._ws.send(pieces(), text=not binary)

    async def ping(self, data):
        """Waits for the pong, which the library matches by its payload."""
        await (await self._ws.ping(data))

    async def close(self, code, reason):
        await self._ws.close(code, reason)

    async def abort(self):
        """A reset: no close frame, no orderly end of TCP."""
        transport = self._ws.transport
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()

    async def report(self):
        connections = [session.report() for session in self._sessions]
        return {"connections": connections, "complaints": self._complaints}


def no_key_twice(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise Wrong(f"a key twice: {keys}")
    return dict(pairs)


async def main(dialect, password):
    pbx = Pbx(dialect, password)
    names = [name for name in dir(pbx) if not name.startswith("_")]
    # Everything else is the library's default: compression is offered, and pings too.
    async with serve(pbx._serve, "127.0.0.1", 0, create_connection=Connection) as server:
        say({"port": server.sockets[0].getsockname()[1]})
        await obey({name: getattr(pbx, name) for name in names})


asyncio.run(main(*sys.argv[1:]))
