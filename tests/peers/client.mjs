// Node's ws as a client: client.mjs URL [--commands | --deflate]
//
// Exchanges messages with an echo server and exits with an error at the first difference.
// With --commands the server also understands the commands of tests/peers.rs. With --deflate it
// compresses as it is asked to, which is done in as many ways as tests/peers.rs says.
// NODE_MODULES names the folder that holds ws.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';

const { WebSocket } = createRequire(`${process.env.NODE_MODULES}/`)('ws');

const TEXTS = ['', 'hello', '你好，世界', '👩‍👩‍👧‍👦🎉', 'é'.repeat(62) + 'e', 'x'.repeat(126), '字'.repeat(22000)];
const LENGTHS = [0, 1, 125, 126, 65535, 65536, 1 << 20];
const CLOSE_BY_CLIENT = [4001, 'client 再见'];
const CLOSE_BY_SERVER = [4002, 'server 再见'];
const PING_BY_SERVER = 'ping 你好';
const FRAGMENTED_BY_SERVER = 'fragments: 你好, 🎉';

const [url, flag] = process.argv.slice(2);
const commands = flag === '--commands';
const deflate = flag === '--deflate';

function fail(text) {
  console.error(text);
  process.exit(1);
}

function expect(what, found, wanted) {
  const same = Buffer.isBuffer(wanted) ? Buffer.isBuffer(found) && found.equals(wanted) : found === wanted;
  if (!same) fail(`${what}: ${String(found).slice(0, 80)} instead of ${String(wanted).slice(0, 80)}`);
}

async function open() {
  // Offers permessage-deflate, as by default: a server that lacks it declines.
  const socket = new WebSocket(url, commands ? ['unknown', 'echo'] : []);
  socket.closed = once(socket, 'close').then(([code, reason]) => [code, reason.toString()]);
  await once(socket, 'open');
  expect('subprotocol', socket.protocol, commands ? 'echo' : '');
  return socket;
}

// The next message: a string for a text, a Buffer for a binary.
async function next(socket) {
  const [data, isBinary] = await once(socket, 'message');
  return isBinary ? data : data.toString();
}

async function ask(socket, message) {
  const answer = next(socket);
  socket.send(message);
  return answer;
}

// Sends a message in the given fragments, with a ping before each but the first.
async function expectFragmentedEcho(socket, what, parts, binary) {
  const answer = next(socket);
  for (const [index, part] of parts.entries()) {
    if (index > 0) socket.ping(`between ${index}`);
    socket.send(part, { binary, compress: false, fin: index === parts.length - 1 });
  }
  const whole = Buffer.concat(parts);
  expect(what, await answer, binary ? whole : whole.toString());
}

async function main() {
  const socket = await open();
  for (const text of TEXTS) {
    expect(`text of ${Buffer.byteLength(text)} bytes`, await ask(socket, text), text);
  }
  for (const length of LENGTHS) {
    const bytes = Buffer.alloc(length).map((_, index) => index % 251);
    expect(`binary of ${length} bytes`, await ask(socket, bytes), bytes);
  }

  // Every byte its own fragment: the code points are split too.
  const text = Buffer.from('fragments: 你好 🎉');
  const bytes = Array.from(text, (_, index) => text.subarray(index, index + 1));
  await expectFragmentedEcho(socket, 'fragmented text', [Buffer.alloc(0), ...bytes, Buffer.alloc(0)], false);
  const parts = Array.from({ length: 20 }, (_, index) => Buffer.alloc(5000, index));
  await expectFragmentedEcho(socket, 'fragmented binary', parts, true);

  // The pongs for the pings between fragments have come before the echoes' ends, or never will:
  // a newer ping may replace an unsent pong.
  for (const payload of [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(125, 7)]) {
    const pong = once(socket, 'pong');
    socket.ping(payload);
    expect(`pong of ${payload.length} bytes`, (await pong)[0], payload);
  }

  if (commands) {
    expect("a ping's pong", await ask(socket, `!ping ${PING_BY_SERVER}`), `!pong ${PING_BY_SERVER}`);
    expect('fragments by the server', await ask(socket, '!fragments'), FRAGMENTED_BY_SERVER);
  }

  socket.close(...CLOSE_BY_CLIENT);
  expect('echoed close code', (await socket.closed)[0], CLOSE_BY_CLIENT[0]);

  if (commands) {
    const socket = await open();
    const wanted = CLOSE_BY_CLIENT.join(' ');
    let found;
    for (let tries = 0; tries < 100; tries += 1) {
      found = await ask(socket, '!last-close');
      if (found === wanted) break;
      await sleep(20);
    }
    expect('close as the server saw it', found, wanted);
    socket.send('!close');
    expect('close by the server', (await socket.closed).join(' '), CLOSE_BY_SERVER.join(' '));
  }
}

// What the server answers to an offer of these parameters, which it can all accept.
function extension(alone, bits) {
  const parts = ['permessage-deflate'];
  if (alone) parts.push('server_no_context_takeover', 'client_no_context_takeover');
  if (bits) parts.push(`server_max_window_bits=${bits}`);
  // A client that may use all of the window need not be told so.
  if (bits && bits < 15) parts.push(`client_max_window_bits=${bits}`);
  return parts.join('; ');
}

async function compressed() {
  for (const bits of [undefined, 8, 9, 10, 11, 12, 13, 14, 15]) {
    for (const alone of [false, true]) {
      const socket = new WebSocket(url, {
        perMessageDeflate: {
          threshold: 0,
          serverNoContextTakeover: alone,
          clientNoContextTakeover: alone,
          ...(bits && { serverMaxWindowBits: bits, clientMaxWindowBits: bits }),
        },
      });
      const closed = once(socket, 'close');
      const [[response]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')]);
      expect('extension', response.headers['sec-websocket-extensions'], extension(alone, bits));
      for (const text of TEXTS) {
        expect(`text of ${Buffer.byteLength(text)} bytes`, await ask(socket, text), text);
      }
      for (const length of bits ? LENGTHS.slice(0, -1) : LENGTHS) {
        const telemetry = Array.from({ length: length / 8 + 1 }, (_, index) => `{"v":${index % 997}},`);
        const text = telemetry.join('').slice(0, length);
        expect(`text of ${length} bytes`, await ask(socket, text), text);
        const bytes = Buffer.alloc(length).map((_, index) => index % 251);
        expect(`binary of ${length} bytes`, await ask(socket, bytes), bytes);
      }
      const noise = randomBytes(200);
      for (let n = 0; n < 20; n += 1) expect('noise', await ask(socket, noise), noise);
      socket.close(1000);
      expect('close code', (await closed)[0], 1000);
    }
  }
}

setTimeout(() => fail('no end after 60 seconds'), 60_000).unref();
(deflate ? compressed() : main()).then(() => process.exit(0), (error) => fail(error.stack));
