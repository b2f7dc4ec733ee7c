"""Python's websockets as a client: client.py URL [--commands | --deflate]

Exchanges messages with an echo server and exits with an error at the first difference.
With --commands the server also understands the commands of tests/peers.rs. With --deflate it
compresses as it is asked to, which is done in as many ways as tests/peers.rs says.
"""

import random
import sys
import time

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

TEXTS = ["", "hello", "你好，世界", "👩‍👩‍👧‍👦🎉", "é" * 62 + "e", "x" * 126, "字" * 22000]
LENGTHS = [0, 1, 125, 126, 65535, 65536, 1 << 20]
CLOSE_BY_CLIENT = (4001, "client 再见")
CLOSE_BY_SERVER = (4002, "server 再见")
PING_BY_SERVER = "ping 你好"
FRAGMENTED_BY_SERVER = "fragments: 你好, 🎉"


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {str(found)[:80]!r} instead of {str(wanted)[:80]!r}")


def open_connection(url, commands):
    # Offers permessage-deflate, as by default: a server that lacks it declines.
    connection = connect(url, subprotocols=["unknown", "echo"] if commands else None, max_size=None)
    expect("subprotocol", connection.subprotocol, "echo" if commands else None)
    return connection


def expect_echo(connection, what, message, fragments=None):
    connection.send(message if fragments is None else fragments)
    expect(what, connection.recv(timeout=20), message)


def command(connection, text):
    connection.send(text)
    return connection.recv(timeout=20)


def fragments(connection, parts):
    """The parts, with a ping before each but the first."""
    for index, part in enumerate(parts):
        if index:
            connection.ping(f"between {index}")
        yield part


def main(url, commands):
    with open_connection(url, commands) as connection:
        for text in TEXTS:
            expect_echo(connection, f"text of {len(text.encode())} bytes", text)
        for length in LENGTHS:
            expect_echo(connection, f"binary of {length} bytes", (bytes(range(251)) * 4200)[:length])

        parts = ["frag", "", "ments: 你", "好", " 🎉", ""]
        expect_echo(connection, "fragmented text", "".join(parts), fragments(connection, parts))
        parts = [bytes([index]) * 5000 for index in range(20)]
        expect_echo(connection, "fragmented binary", b"".join(parts), fragments(connection, parts))

        for payload in [b"", b"hello", bytes(range(125))]:
            answered = connection.ping(payload)
            expect(f"pong of {len(payload)} bytes", answered.wait(20), True)

        if commands:
            expect("a ping's pong", command(connection, f"!ping {PING_BY_SERVER}"), f"!pong {PING_BY_SERVER}")
            expect("fragments by the server", command(connection, "!fragments"), FRAGMENTED_BY_SERVER)

        connection.close(*CLOSE_BY_CLIENT)
        expect("echoed close code", connection.close_code, CLOSE_BY_CLIENT[0])

    if commands:
        with open_connection(url, commands) as connection:
            wanted = f"{CLOSE_BY_CLIENT[0]} {CLOSE_BY_CLIENT[1]}"
            for _ in range(100):
                found = command(connection, "!last-close")
                if found == wanted:
                    break
                time.sleep(0.02)
            expect("close as the server saw it", found, wanted)
            try:
                expect("a close by the server", command(connection, "!close"), None)
            except ConnectionClosed:
                expect("close by the server", (connection.close_code, connection.close_reason), CLOSE_BY_SERVER)


def compressed(url):
    for bits in [None, 8, 9, 10, 11, 12, 13, 14, 15]:
        for alone in [False, True]:
            # It inflates with 8 bits, and does not compress with less than 9.
            own = bits and max(bits, 9)
            offer = ClientPerMessageDeflateFactory(
                server_no_context_takeover=alone,
                client_no_context_takeover=alone,
                server_max_window_bits=bits,
                client_max_window_bits=own or True,
            )
            with connect(url, compression=None, extensions=[offer], max_size=None) as connection:
                (agreed,) = connection.protocol.extensions
                found = (agreed.remote_no_context_takeover, agreed.local_no_context_takeover)
                expect("no takeover", found, (alone, alone))
                found = (agreed.remote_max_window_bits, agreed.local_max_window_bits)
                expect("window bits", found, (bits or 15, own or 15))
                for text in TEXTS:
                    expect_echo(connection, f"text of {len(text.encode())} bytes", text)
                for length in LENGTHS[:-1] if bits else LENGTHS:
                    telemetry = "".join(f'{{"v":{n % 997}}},' for n in range(length // 8 + 1))
                    expect_echo(connection, f"text of {length} bytes", telemetry[:length])
                    expect_echo(connection, f"binary of {length} bytes", (bytes(range(251)) * 4200)[:length])
                noise = random.randbytes(200)
                for _ in range(20):
                    expect_echo(connection, "noise", noise)


if "--deflate" in sys.argv:
    compressed(sys.argv[1])
else:
    main(sys.argv[1], "--commands" in sys.argv)
