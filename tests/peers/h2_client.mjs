// undici as a client over HTTP/2 (RFC 8441): h2_client.mjs URL
//
// Exchanges messages with the server of tests/http2.rs and exits with an error at the first
// difference. If the server does not offer extended CONNECT, it says so, and opens its WebSocket over
// HTTP/1.1. undici always offers permessage-deflate, and always sends a key.
// NODE_MODULES names the folder that holds undici.

import { once } from 'node:events';
import { createRequire } from 'node:module';

const { Agent, WebSocket } = createRequire(`${process.env.NODE_MODULES}/`)('undici');

const TEXTS = ['', 'hello', '你好，世界', '👩‍👩‍👧‍👦🎉', 'é'.repeat(62) + 'e', 'x'.repeat(126), '字'.repeat(22000)];
const LENGTHS = [0, 1, 125, 126, 65535, 65536, 1 << 20];
const CLOSE_BY_CLIENT = [4001, 'client 再见'];
const CLOSE_BY_SERVER = [4002, 'server 再见'];

const [url] = process.argv.slice(2);
let allowH2 = true;

function fail(text) {
  console.error(text);
  process.exit(1);
}

function expect(what, found, wanted) {
  const same = Buffer.isBuffer(wanted) ? Buffer.isBuffer(found) && found.equals(wanted) : found === wanted;
  if (!same) fail(`${what}: ${String(found).slice(0, 80)} instead of ${String(wanted).slice(0, 80)}`);
}

async function open() {
  const dispatcher = new Agent({ allowH2, connect: { rejectUnauthorized: false } });
  const socket = new WebSocket(url, { protocols: ['unknown', 'echo'], dispatcher });
  socket.binaryType = 'arraybuffer';
  socket.closed = once(socket, 'close').then(([event]) => event);
  const opened = once(socket, 'open').then(() => true);
  if (!await Promise.race([opened, once(socket, 'error').then(([event]) => {
    socket.failure = String(event.error?.cause?.message ?? event.error ?? event.message);
    return false;
  })])) return socket;
  expect('subprotocol', socket.protocol, 'echo');
  return socket;
}

async function ask(socket, message) {
  const answer = once(socket, 'message');
  socket.send(message);
  const [{ data }] = await answer;
  return typeof data === 'string' ? data : Buffer.from(data);
}

async function main() {
  let socket = await open();
  if (socket.failure) {
    console.log(socket.failure);
    allowH2 = false;
    socket = await open();
    if (socket.failure) fail(socket.failure);
  }
  for (const text of TEXTS) {
    expect(`text of ${Buffer.byteLength(text)} bytes`, await ask(socket, text), text);
  }
  for (const length of LENGTHS) {
    const text = '{"v":42},'.repeat(length / 9 + 1).slice(0, length);
    expect(`text of ${length} bytes`, await ask(socket, text), text);
    const bytes = Buffer.alloc(length).map((_, index) => index % 251);
    expect(`binary of ${length} bytes`, await ask(socket, bytes), bytes);
  }
  expect('extensions', socket.extensions, 'permessage-deflate');
  socket.close(...CLOSE_BY_CLIENT);
  expect('echoed close code', (await socket.closed).code, CLOSE_BY_CLIENT[0]);

  socket = await open();
  socket.send('!close');
  const { code, reason } = await socket.closed;
  expect('close by the server', `${code} ${reason}`, CLOSE_BY_SERVER.join(' '));
}

setTimeout(() => fail('no end after 60 seconds'), 60_000).unref();
main().then(() => process.exit(0), (error) => fail(error.stack));
