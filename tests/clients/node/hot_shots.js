// Sends with hot-shots: hot_shots.js MODE PREFIX WAY PLACE...
//
// MODE is plain (a datagram for each call), buffered, aggregated, telegraf (tags in Telegraf's
// form) or telemetry. WAY PLACE is one of: udp HOST PORT, tcp HOST PORT, unix PATH.

'use strict';

const net = require('net');
const StatsD = require('hot-shots');

const [mode, prefix, way, ...place] = process.argv.slice(2);

// Deterministic sampling: of ten calls in a row, a rate of 0.1 selects one and 0.2 two.
let drawn = 0;
Math.random = () => (drawn++ % 10) / 10 + 0.05;

const client = new StatsD({
  ...(way === 'unix'
    ? { protocol: 'stream', stream: net.connect(place[0]) }
    : { protocol: way, host: place[0], port: Number(place[1]) }),
  prefix,
  globalTags: { env: 'stage' },
  telegraf: mode === 'telegraf',
  maxBufferSize: mode === 'buffered' ? 1432 : 0,
  // Only the flush at the end sends.
  bufferFlushInterval: 3600000,
  aggregation: mode === 'aggregated' && { flushInterval: 3600000 },
  // Each line carries these two values, as in a container.
  datadog: mode !== 'telegraf',
  containerID: 'ci-4a1b',
  cardinality: 'low',
  includeDatadogTelemetry: mode === 'telemetry',
  errorHandler: (error) => {
    console.error(error);
    process.exitCode = 1;
  },
});

function sendAll() {
  client.increment('hits');
  // In Telegraf's format a tag cannot contain a colon.
  const url = mode === 'telegraf' ? '/a' : 'http://example.net/a';
  client.increment('hits', 4, { stage: 'login', url });
  client.decrement('hits', 2);
  client.increment(['left', 'right'], 1.5);
  for (let call = 0; call < 100; call++) {
    client.increment('sampled', 1, 0.1);
  }

  client.gauge('depth', 17);
  client.gaugeDelta('depth', 3);
  client.gaugeDelta('depth', -8);

  for (const member of ['anna', 'bert', 'anna']) {
    client.set('users', member);
  }
  client.unique('users', 'carl');

  client.timing('query', 320);
  client.timing('query', 0.5);
  for (let call = 0; call < 20; call++) {
    client.timing('sampled_query', 10, 0.2);
  }
  for (let value = 1; value <= 10; value++) {
    client.histogram('size', value);
    client.distribution('spread', value * 0.5);
  }
  client.timer(() => {}, 'block')();

  if (mode !== 'telegraf') {
    client.increment('late', 3, { timestamp: 1490114074, tags: ['stage:login'] });
    client.event('deployed', 'first line\nsecond line', { alert_type: 'info' });
    client.check('db', client.CHECKS.WARNING, { hostname: 'a', message: 'slow' });
  }
}

if (mode === 'telemetry') {
  client.increment('hits');
} else {
  sendAll();
}
client.close((error) => {
  if (error) {
    console.error(error);
    process.exitCode = 1;
  }
});
