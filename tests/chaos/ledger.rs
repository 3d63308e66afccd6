//! The equations of the ledger in the daemon's status.

use serde_json::Value;

/// The equations of the ledger that do not hold.
pub(crate) fn ledger_faults(status: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, what: &Value| {
        if !holds {
            faults.push(what.to_string());
        }
    };
    let is_balanced = |ledger: &Value| {
        number(&ledger["received"]) == number(&ledger["aggregated"]) + sum(&ledger["rejected"])
    };
    let ledger = &status["ledger"];
    check(is_balanced(ledger), ledger);
    for listener in status["listeners"].as_array().unwrap() {
        check(is_balanced(listener), listener);
        if let Some(connections) = listener.get("connections") {
            let ended = sum(&connections["closed"]) + number(&connections["open"]);
            check(number(&connections["accepted"]) == ended, listener);
        }
    }
    for (name, one) in status["forwarders"].as_object().unwrap() {
        let counts = ["delivered", "queued", "spooled"].map(|key| number(&one[key]));
        let out = counts.iter().sum::<u64>() + sum(&one["dropped"]);
        let is_balanced = number(&one["flushed"]) + number(&one["recovered"]) == out;
        check(is_balanced, &serde_json::json!({ name.as_str(): one }));
    }
    faults
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn sum(value: &Value) -> u64 {
    value.as_object().unwrap().values().map(number).sum()
}
