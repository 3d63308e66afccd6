//! The sketch of a timer or set as text: base64 of the bytes that sketch libraries read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ddsketch;
use model::Value;

/// Returns the sketch of a timer as [`ddsketch`], or of a set as HLL of Apache DataSketches. Other
/// values have none, and neither has a timer without samples, which has no minimum.
#[must_use]
pub fn encoded(value: &Value) -> Option<String> {
    match value {
        Value::Timer(timer) if timer.is_idle() => None,
        Value::Timer(timer) => {
            let mut bytes = Vec::new();
            ddsketch::write_timer(&mut bytes, timer);
            Some(STANDARD.encode(bytes))
        }
        Value::Set(set) => Some(STANDARD.encode(set.set.to_datasketches())),
        Value::Counter(_) | Value::Total(_) | Value::Gauge { .. } | Value::Trace(_) => None,
    }
}
