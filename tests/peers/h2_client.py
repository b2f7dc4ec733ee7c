"""Python's h2 and websockets' protocol without I/O as a client over HTTP/2 (RFC 8441): h2_client.py URL [--deflate]

Exchanges messages with the server of tests/http2.rs and exits with an error at the first difference.
If the server does not offer extended CONNECT, it opens its WebSockets over HTTP/1.1.
"""

import socket
import ssl
import sys
from urllib.parse import urlsplit

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.headers import build_extension, parse_extension
from websockets.protocol import Protocol, Side
from websockets.sync.client import connect

TEXTS = ["", "hello", "你好，世界", "👩‍👩‍👧‍👦🎉", "é" * 62 + "e", "x" * 126, "字" * 22000]
LENGTHS = [0, 1, 125, 126, 65535, 65536, 1 << 20]
CLOSE_BY_CLIENT = (4001, "client 再见")
CLOSE_BY_SERVER = (4002, "server 再见")


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: {str(found)[:80]!r} instead of {str(wanted)[:80]!r}")


def tls(protocol):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


class NoExtendedConnect(Exception):
    pass


class WebSocket:
    """One WebSocket on a HTTP/2 connection of its own."""

    def __init__(self, url, deflate):
        url = urlsplit(url)
        tcp = socket.create_connection((url.hostname, url.port), timeout=20)
        self.socket = tls("h2").wrap_socket(tcp, server_hostname="localhost")
        expect("ALPN", self.socket.selected_alpn_protocol(), "h2")
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.to_send, self.ended = b"", False
        # RFC 8441 section 3: not before the server's settings.
        self.wait(RemoteSettingsChanged)
        if not self.h2.remote_settings.enable_connect_protocol:
            raise NoExtendedConnect
        offer = ClientPerMessageDeflateFactory(client_max_window_bits=True)
        headers = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/chat"),
            (":authority", url.netloc),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "unknown, echo"),
        ]
        if deflate:
            headers.append(("sec-websocket-extensions", build_extension([(offer.name, offer.get_request_params())])))
        self.stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(self.stream, headers)
        response = dict(self.wait(ResponseReceived).headers)
        expect("status", response[":status"], "200")
        expect("subprotocol", response.get("sec-websocket-protocol"), "echo")
        # Nothing of HTTP/1.1 is left, and no key was sent.
        for name in ["upgrade", "connection", "sec-websocket-accept"]:
            expect(name, response.get(name), None)
        self.ws = Protocol(Side.CLIENT, max_size=None)
        agreed = response.get("sec-websocket-extensions")
        expect("compression", agreed is not None, deflate)
        if agreed:
            ((_, params),) = parse_extension(agreed)
            self.ws.extensions = [offer.process_response_params(params, [])]

    def flush(self):
        for data in self.ws.data_to_send():
            self.to_send += data
        while self.to_send:
            room = min(self.h2.local_flow_control_window(self.stream), self.h2.max_outbound_frame_size)
            if room == 0:
                break
            self.h2.send_data(self.stream, self.to_send[:room])
            self.to_send = self.to_send[room:]

    def wait(self, wanted=None):
        """Goes on until an event of this kind, or until some data was read."""
        self.socket.sendall(self.h2.data_to_send())
        data = self.socket.recv(65536)
        found = None
        for event in self.h2.receive_data(data) if data else []:
            if isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.ws.receive_data(event.data)
            elif isinstance(event, StreamEnded):
                self.ended = True
                self.ws.receive_eof()
            elif isinstance(event, StreamReset):
                sys.exit(f"the stream was reset: {event.error_code}")
            if wanted and isinstance(event, wanted):
                found = event
        self.socket.sendall(self.h2.data_to_send())
        if not data:
            sys.exit("the connection has ended")
        return found or (wanted and self.wait(wanted))

    def recv(self):
        """The next message; `None` after the end of the stream."""
        while True:
            self.flush()
            frames = [frame for frame in self.ws.events_received() if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)]
            self.flush()
            if frames:
                assert len(frames) == 1 and frames[0].fin, "whole messages, one at a time"
                data = bytes(frames[0].data)
                return data.decode() if frames[0].opcode == Opcode.TEXT else data
            if self.ended:
                self.socket.sendall(self.h2.data_to_send())
                return None
            self.wait()

    def send(self, message):
        if isinstance(message, str):
            self.ws.send_text(message.encode())
        else:
            self.ws.send_binary(message)

    def close(self, code, reason):
        """Closes, and returns the peer's code and reason."""
        self.ws.send_close(code, reason)
        return self.closed()

    def closed(self):
        expect("the end", self.recv(), None)
        return self.ws.close_rcvd.code, self.ws.close_rcvd.reason


class FallBack:
    """The same over HTTP/1.1."""

    def __init__(self, url, deflate):
        self.ws = connect(
            url,
            ssl=tls("http/1.1"),
            server_hostname="localhost",
            subprotocols=["unknown", "echo"],
            compression="deflate" if deflate else None,
            max_size=None,
        )
        expect("subprotocol", self.ws.subprotocol, "echo")
        self.send, self.recv = self.ws.send, self.ws.recv

    def close(self, code, reason):
        self.ws.close(code, reason)
        return self.ws.close_code, self.ws.close_reason

    def closed(self):
        try:
            expect("the end", self.recv(), None)
        except ConnectionClosed:
            return self.ws.close_code, self.ws.close_reason


def main(url, deflate):
    try:
        ws = WebSocket(url, deflate)
    except NoExtendedConnect:
        ws = FallBack(url, deflate)

    def expect_echo(what, message):
        ws.send(message)
        expect(what, ws.recv(), message)

    for text in TEXTS:
        expect_echo(f"text of {len(text.encode())} bytes", text)
    for length in LENGTHS:
        expect_echo(f"text of {length} bytes", ('{"v":42},' * (length // 9 + 1))[:length])
        expect_echo(f"binary of {length} bytes", (bytes(range(251)) * 4200)[:length])
    expect("echoed close", ws.close(*CLOSE_BY_CLIENT)[0], CLOSE_BY_CLIENT[0])

    ws = type(ws)(url, deflate)
    ws.send("!close")
    expect("close by the server", ws.closed(), CLOSE_BY_SERVER)


main(sys.argv[1], "--deflate" in sys.argv)
