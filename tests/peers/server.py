"""Python's websockets as an echo server: prints its address, understands the commands of tests/peers.rs."""

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

CLOSE_BY_SERVER = (4002, "server 再见")
FRAGMENTED_BY_SERVER = ["fragments: ", "", "你", "好, 🎉", ""]

last_close = "none"


def handle(connection):
    global last_close
    try:
        while True:
            message = connection.recv()
            if not isinstance(message, str) or not message.startswith("!"):
                connection.send(message)
            elif message.startswith("!ping "):
                payload = message.removeprefix("!ping ")
                pong = "pong" if connection.ping(payload).wait(20) else "no pong"
                connection.send(f"!{pong} {payload}")
            elif message == "!fragments":
                connection.send(FRAGMENTED_BY_SERVER)
            elif message == "!last-close":
                connection.send(last_close)
            elif message == "!close":
                connection.close(*CLOSE_BY_SERVER)
    except ConnectionClosed as closed:
        if closed.rcvd is not None and not closed.rcvd_then_sent:
            return
        last_close = f"{closed.rcvd.code} {closed.rcvd.reason}" if closed.rcvd else "1006 "


with serve(handle, "127.0.0.1", 0, subprotocols=["echo"], max_size=None) as server:
    host, port = server.socket.getsockname()[:2]
    print(f"ws://{host}:{port}/", flush=True)
    server.serve_forever()
