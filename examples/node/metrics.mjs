// Metrics for Node.js using only its built-in modules: copy this file into your program.

import dgram from 'node:dgram';
import dns from 'node:dns';
import net from 'node:net';

// The payload of an Ethernet frame. A longer datagram is fragmented, and is lost if any fragment is
// lost.
const MAX_DATAGRAM = 1432;
const LOOK_UP_AGAIN_MS = 30_000;

/** Sends messages to tallyd. Never blocks and never throws. */
export class Metrics {
  #host;
  #port;
  #socket;
  #dropped = 0;

  /** @param {string} address `HOST:PORT` or `[IPV6]:PORT` */
  constructor(address = '127.0.0.1:5090') {
    const colon = address.lastIndexOf(':');
    this.#host = address.slice(0, colon).replace(/^\[|\]$/g, '');
    this.#port = Number(address.slice(colon + 1));
    this.#socket = dgram.createSocket({
      type: net.isIPv6(this.#host) ? 'udp6' : 'udp4',
      lookup: lookupOnce(),
    });
    this.#socket.on('error', () => {}); // without a listener, an error would end the process
    this.#socket.unref(); // and the socket does not keep the process alive
  }

  /** The number of messages without a JSON representation, plus the number of datagrams not sent. */
  get dropped() {
    return this.#dropped;
  }

  counter(name, count = 1, tags = {}) {
    this.send([message(name, 'counter', tags, { count })]);
  }

  /** Sets a level; text with a sign, '+4' or '-4', changes it. */
  gauge(name, value, tags = {}) {
    this.send([message(name, 'gauge', tags, { value })]);
  }

  timer(name, value, tags = {}) {
    this.send([message(name, 'timer', tags, { value })]);
  }

  set(name, member, tags = {}) {
    this.send([message(name, 'set', tags, { value: member })]);
  }

  trace(name, tags = {}) {
    this.send([message(name, 'trace', tags)]);
  }

  /** Measures a function, in milliseconds; if it returns a promise, until the promise is settled. */
  async timed(name, tags, work) {
    const began = performance.now();
    try {
      return await work();
    } finally {
      this.timer(name, performance.now() - began, tags);
    }
  }

  /** Sends messages, as many to a datagram as fit. */
  send(messages) {
    let lines = [];
    let bytes = 0;
    for (const one of messages) {
      let line;
      try {
        line = Buffer.from(`${JSON.stringify(one)}\n`); // contains no other line break
      } catch {
        this.#dropped += 1; // a value without a JSON representation
        continue;
      }
      if (lines.length > 0 && bytes + line.length > MAX_DATAGRAM) {
        this.#out(lines);
        [lines, bytes] = [[], 0];
      }
      lines.push(line);
      bytes += line.length;
    }
    this.#out(lines);
  }

  #out(lines) {
    if (lines.length === 0) return;
    // With a callback, errors are passed to it and not thrown: metrics are not worth a failure.
    this.#socket.send(lines, this.#port, this.#host, (error) => {
      if (error) this.#dropped += 1;
    });
  }
}

/** A message. Tags go into `tags`, where they may be called like a key of the message. */
export function message(name, type, tags = {}, fields = {}) {
  return { metric_name: name, metric_type: type, tags, ...fields };
}

/** Caches the address: dgram resolves the name with every datagram. */
function lookupOnce() {
  let known;
  let askAt = 0;
  return (host, options, done) => {
    // Also called for the address to bind to.
    if (net.isIP(host)) return done(null, host, net.isIP(host));
    if (known) return done(null, known.address, known.family);
    if (Date.now() < askAt) return done(new Error(`${host} could not be resolved`));
    dns.lookup(host, options, (error, address, family) => {
      if (error) askAt = Date.now() + LOOK_UP_AGAIN_MS;
      else known = { address, family };
      done(error, address, family);
    });
  };
}
