"""hypercorn as an echo of WebSockets over HTTP/2: CERTIFICATE KEY. Prints its address, and sends
the version of HTTP first."""

import asyncio
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config


async def echo(scope, receive, send):
    if scope["type"] != "websocket":
        return
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": "echo"})
    await send({"type": "websocket.send", "text": scope["http_version"]})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "!close":
            await send({"type": "websocket.close", "code": 4002, "reason": "server 再见"})
        elif event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})


listener = socket.create_server(("127.0.0.1", 0))
config = Config()
config.bind = [f"fd://{listener.fileno()}"]
config.certfile, config.keyfile = sys.argv[1:]
config.websocket_max_message_size = 1 << 24
print("{}:{}".format(*listener.getsockname()), flush=True)
asyncio.run(serve(echo, config))
