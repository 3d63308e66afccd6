// TALLYD_ADDRESS=127.0.0.1:5090 node shop.mjs

import { Metrics, message } from './metrics.mjs';

const metrics = new Metrics(process.env.TALLYD_ADDRESS);

metrics.counter('shop.orders', 1, { payment: 'card' });
metrics.counter('shop.orders', 2, { payment: 'card' });
metrics.gauge('shop.carts', 17);
metrics.gauge('shop.carts', '-2');
for (const customer of ['anna', 'bert', 'anna']) metrics.set('shop.customers', customer);
metrics.trace('shop.signup', { step: 'confirm', browser: 'firefox' });

await metrics.timed('shop.checkout', { payment: 'card' }, async () => {
  // … the measured code …
});

// Many at once: a few datagrams instead of a hundred.
const tags = { product: 'Käse "alt"' };
metrics.send(Array.from({ length: 100 }, (_, count) => message('shop.items', 'counter', tags, { count })));
