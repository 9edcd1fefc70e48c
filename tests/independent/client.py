"""A client on the library `websockets`, for the simulated PBX.

It obeys orders (see `orders.py`): the methods of `Client` that do not begin with an
underscore.
"""

import asyncio
import json
import ssl

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from orders import obey, say


class Client:
    def __init__(self):
        self._ws = None

    async def connect(self, url, ca=None):
        context = ca and ssl.create_default_context(cadata=ca)
        self._ws = await connect(url, ssl=context)
        return {"extensions": [extension.name for extension in self._ws.protocol.extensions]}

    async def ask(self, command):
        """Sends a command; answers with the PBX's answer."""
        await self._ws.send(json.dumps(command))
        return json.loads(await self._ws.recv())

    async def receive(self, count):
        """So many messages, each of which must be a JSON object in a text frame."""
        messages = [await self._ws.recv() for _ in range(count)]
        for message in messages:
            if not isinstance(message, str) or not isinstance(json.loads(message), dict):
                raise ValueError(f"no JSON object in a text frame: {message!r}")
        return {"messages": messages}

    async def ping(self, data):
        """Waits for the pong, which the library matches by its payload."""
        await (await self._ws.ping(data))

    async def close(self, code, reason):
        await self._ws.close(code, reason)
        return self._closed()

    async def closed(self):
        """Waits until the other side has closed."""
        try:
            while True:
                await self._ws.recv()
        except ConnectionClosed:
            await self._ws.wait_closed()
            return self._closed()

    def _closed(self):
        protocol = self._ws.protocol
        frame = lambda close: close and [close.code, close.reason]
        received, sent = frame(protocol.close_rcvd), frame(protocol.close_sent)
        return {"received": received, "sent": sent}


async def main():
    client = Client()
    say({})
    names = [name for name in dir(client) if not name.startswith("_")]
    await obey({name: getattr(client, name) for name in names})


asyncio.run(main())
