// A WebSocket that comes back. What the pages share.
//
// A connection that is lost is opened again after a time that grows from half a second to 15, and
// of which a random half is taken, so that the pages of a server that restarts do not all come at
// once (RFC 6455, section 7.2.3). The page's own close, and a close that says that the same would
// happen again, are final.
"use strict";

const FIRST_WAIT = 500;        // milliseconds
const LONGEST_WAIT = 15000;
const STABLE = 5000;           // a connection that has stood so long was a good one

// RFC 6455, section 7.4.1, and the registry it founded.
const CLOSE_MEANING = {
  1000: "normal closure", 1001: "going away", 1002: "protocol error", 1003: "unsupported data",
  1005: "no code was sent", 1006: "abnormal: no Close frame came", 1007: "invalid payload",
  1008: "policy violation", 1009: "message too big", 1010: "extension missing",
  1011: "internal error", 1012: "service restart", 1013: "try again later",
  1014: "bad gateway", 1015: "TLS failed",
};
const closeMeaning = (code) => CLOSE_MEANING[code]
  ?? (code >= 4000 ? "private use" : code >= 3000 ? "registered use" : "reserved");

// The peer would close for the same reason again. A page that wants to knows better, and opens.
const isFinal = (code) => [1000, 1002, 1003, 1005, 1007, 1008, 1009, 1010].includes(code) || code >= 3000;

class Link {
  // on: { open(socket), message(data), close(event, opened), state(state) }, each of them optional.
  // The states: connecting, open, waiting (to connect again), closed. They stand in #status and
  // in the body's data-state; the button #reconnect does not wait.
  constructor(path, on) {
    this.url = new URL(path, `${location.protocol === "https:" ? "wss" : "ws"}://${location.host || "127.0.0.1:9001"}/`).href;
    this.on = on;
    this.socket = null;
    this.failures = 0;
    this.timer = this.stable = 0;
    this.retryAt = 0;
    // A page that is put away must not hold its place on the server; one that is brought back
    // from the browser's cache finds its place again.
    addEventListener("pagehide", () => this.pause());
    addEventListener("pageshow", (event) => { if (event.persisted) this.open(); });
    // The network is back, or someone looks again: no reason to wait.
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.hurry(); });
    document.getElementById("reconnect").onclick = () => this.open();
  }

  get isOpen() { return this.socket?.readyState === WebSocket.OPEN; }

  // Connects now, whatever was.
  open() {
    clearTimeout(this.timer);
    this.drop();
    this.opened = false;
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.show("connecting");
    socket.onopen = () => {
      this.opened = true;
      this.stable = setTimeout(() => { this.failures = 0; }, STABLE);
      this.show("open");
      this.on.open?.(socket);
    };
    socket.onmessage = (event) => this.on.message?.(event.data);
    socket.onclose = (event) => {
      clearTimeout(this.stable);
      this.socket = null;
      if (this.opened && isFinal(event.code)) this.show("closed");
      else this.wait();
      this.on.close?.(event, this.opened);
    };
  }

  // Whether it was handed to the browser to send.
  send(data) {
    if (!this.isOpen) return false;
    this.socket.send(typeof data === "string" ? data : JSON.stringify(data));
    return true;
  }

  // Closes as the page wishes. It throws what the browser throws.
  close(code, reason) {
    if (code === undefined) this.socket?.close();
    else this.socket?.close(code, reason);
  }

  // Lets go of the connection without a word to the page.
  pause() {
    clearTimeout(this.timer);
    this.drop();
    this.show("closed");
  }

  // Gives this connection up, and waits to open another.
  restart() {
    this.drop();
    this.wait();
  }

  hurry() { if (document.body.dataset.state === "waiting") this.open(); }

  drop() {
    clearTimeout(this.stable);
    if (this.socket === null) return;
    const socket = this.socket;
    this.socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  wait() {
    const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.failures);
    this.failures += 1;
    this.retryAt = Date.now() + most * (.5 + Math.random() / 2);
    const tick = () => {
      const left = this.retryAt - Date.now();
      if (left <= 0) return this.open();
      this.show("waiting", left);
      this.timer = setTimeout(tick, Math.min(left, 250));
    };
    tick();
  }

  show(state, left = 0) {
    // The seconds stand on the button, and not where a screen reader would read each of them out.
    const text = state === "waiting" ? "reconnecting" : state;
    const status = document.getElementById("status");
    if (status.textContent !== text) status.textContent = text;
    const button = document.getElementById("reconnect");
    button.hidden = state !== "waiting" && state !== "closed";
    button.textContent = state === "waiting" ? `Now (${Math.ceil(left / 1000)} s)` : "Reconnect";
    if (document.body.dataset.state === state) return;
    document.body.dataset.state = state;
    this.on.state?.(state);
  }
}

// ---- what compression saves ----

// What was agreed upon, in #extension, and what it has saved, in #saved. A browser tells a page the
// first, but not how long messages were on the wire: `ask` asks the server for that, and `show` is
// to be called with the answer.
class Savings {
  constructor(ask, pause) {
    this.ask = ask;
    this.pause = pause;        // milliseconds: not to ask after each message
    this.timer = 0;
  }

  // A connection has opened.
  open({ extensions }) {
    clearTimeout(this.timer);
    this.timer = 0;
    this.on = extensions !== "";
    $("extension").textContent = extensions || "no compression";
    this.show({ messages: 0, payloads: 0 }, { messages: 0, payloads: 0 });
  }

  // A message was sent or has come; another may follow at once.
  changed() {
    if (this.on) this.timer ||= setTimeout(() => { this.timer = 0; this.ask(); }, this.pause);
  }

  show(sent, received) {
    const bytes = (n) => n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
    const told = ({ messages, payloads }) => `${bytes(messages)} as ${bytes(payloads)}`;
    const messages = sent.messages + received.messages;
    const percent = Math.floor(Math.max(0, messages - sent.payloads - received.payloads) * 100 / messages);
    $("saved").textContent = !this.on ? "" : messages === 0 ? "nothing sent yet"
      : `sent ${told(sent)}, received ${told(received)}: ${percent > 0 ? `${percent} %` : "nothing"} saved`;
  }
}

// ---- small things that each page needs ----

const $ = (id) => document.getElementById(id);
const milliseconds = (time) => `${time < 100 ? time.toFixed(1) : Math.round(time)} ms`;

// Enough random digits that nobody guesses them.
const randomName = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

// Once per picture, however often it is asked for.
const planned = new Set();
function soon(action) {
  if (planned.has(action)) return;
  planned.add(action);
  requestAnimationFrame(() => { planned.delete(action); action(); });
}

// The tag called `name`, with a class, and children that are texts or tags.
function tag(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}
