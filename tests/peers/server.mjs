// Node's ws as an echo server: prints its address, understands the commands of tests/peers.rs.
// NODE_MODULES names the folder that holds ws.

import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(`${process.env.NODE_MODULES}/`)('ws');

const CLOSE_BY_SERVER = [4002, 'server 再见'];
const FRAGMENTED_BY_SERVER = Buffer.from('fragments: 你好, 🎉');

let lastClose = 'none';

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has('echo') ? 'echo' : false),
});
server.on('listening', () => console.log(`ws://127.0.0.1:${server.address().port}/`));
server.on('connection', (socket) => {
  let closing = false;
  socket.on('error', (error) => console.error(error));
  socket.on('close', (code, reason) => {
    if (!closing) lastClose = `${code} ${reason}`;
  });
  socket.on('message', (data, isBinary) => {
    const text = isBinary ? '' : data.toString();
    if (!text.startsWith('!')) {
      socket.send(data, { binary: isBinary });
    } else if (text.startsWith('!ping ')) {
      socket.once('pong', (payload) => socket.send(`!pong ${payload}`));
      socket.ping(text.slice('!ping '.length));
    } else if (text === '!fragments') {
      for (const byte of FRAGMENTED_BY_SERVER) {
        socket.send(Buffer.of(byte), { binary: false, compress: false, fin: false });
      }
      socket.send(Buffer.alloc(0), { binary: false, compress: false, fin: true });
    } else if (text === '!last-close') {
      socket.send(lastClose);
    } else if (text === '!close') {
      closing = true;
      socket.close(...CLOSE_BY_SERVER);
    }
  });
});
