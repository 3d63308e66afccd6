//! Sends some metrics of each type: `TALLYD_ADDRESS=127.0.0.1:5090 cargo run`.

mod metrics;

use std::env;
use std::time::Instant;

use metrics::{message, Metrics};
use serde_json::json;

fn main() -> std::io::Result<()> {
    let address = env::var("TALLYD_ADDRESS").unwrap_or_else(|_| "127.0.0.1:5090".to_owned());
    let metrics = Metrics::new(&address)?;

    metrics.counter("shop.orders", 1.0, &[("payment", "card")]);
    metrics.counter("shop.orders", 2.0, &[("payment", "card")]);
    metrics.gauge("shop.carts", 17.0, &[]);
    metrics.gauge_delta("shop.carts", -2.0, &[]);
    for customer in ["anna", "bert", "anna"] {
        metrics.set("shop.customers", customer, &[]);
    }
    metrics.trace("shop.signup", &[("step", "confirm"), ("browser", "firefox")]);

    let began = Instant::now();
    // … the measured code …
    metrics.timer("shop.checkout", began.elapsed(), &[("payment", "card")]);

    // Many at once: a few datagrams instead of a hundred.
    let item = |count| {
        message("shop.items", "counter", &[("product", "Käse \"alt\"")], json!({ "count": count }))
    };
    metrics.send(&(0..100).map(item).collect::<Vec<_>>());
    Ok(())
}
