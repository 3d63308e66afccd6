//! Interprets the reply to a remote write request for its series.

use crate::http::{HttpReply, RequestOutcome, StatusClass, StatusCode, dropped, is_about_content};

/// Returns the outcome of a request with this number of payloads.
pub(super) fn of(reply: &HttpReply, payloads: usize) -> RequestOutcome {
    let reason = reply.reason();
    match reply.class() {
        StatusClass::Transient | StatusClass::Operator
            if is_refusal(reply.status, &reason) && !reply.is_temporary() =>
        {
            reply.refusal_by_words(of_refusal(&reason, payloads))
        }
        class => class.into(),
    }
}

/// Returns whether a server refuses content although its status says something else.
fn is_refusal(status: StatusCode, reason: &str) -> bool {
    match status.as_u16() {
        // Thanos's answer to samples that are out of order or in conflict with others, sometimes
        // with no other text than "conflict".
        409 => true,
        300..=399 | 401 | 403..=405 | 407 | 408 | 425 | 429 => false,
        _ => is_about_content(reason),
    }
}

fn of_refusal(reason: &str, payloads: usize) -> RequestOutcome {
    match dropped(reason) {
        // The server has accepted the other samples.
        Some(count) if count > 0 && reason.contains("partial write") => {
            RequestOutcome::Partial { refused: count.min(payloads), named: Vec::new() }
        }
        _ => RequestOutcome::Unnamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_samples_are_a_refusal_with_any_status_that_is_not_about_access() {
        let order = "store locally for endpoint a: add 1 samples: out of order sample";
        let partial = "partial write: points beyond retention policy dropped=2";
        let some = RequestOutcome::Partial { refused: 2, named: Vec::new() };
        for (status, body, expected) in [
            (200, "", RequestOutcome::Delivered),
            (202, "", RequestOutcome::Delivered),
            (204, "", RequestOutcome::Delivered),
            (200, "<html>Log in</html>", RequestOutcome::Operator),
            (200, r#"{"status":"error","error":"no tenant"}"#, RequestOutcome::Operator),
            (400, order, RequestOutcome::Unnamed),
            (400, "<html>Bad Request</html>", RequestOutcome::Operator),
            (409, "conflict", RequestOutcome::Unnamed),
            (409, "rpc error: code = Unavailable", RequestOutcome::Operator),
            (400, "the tenant's ingestion rate limit was exceeded", RequestOutcome::Transient),
            (400, "cannot handle more than 8 concurrent inserts", RequestOutcome::Transient),
            (422, "context deadline exceeded", RequestOutcome::Transient),
            (503, order, RequestOutcome::Transient),
            (503, partial, some.clone()),
            (409, order, RequestOutcome::Unnamed),
            (500, order, RequestOutcome::Unnamed),
            (500, "field type conflict", RequestOutcome::Unnamed),
            (500, partial, some.clone()),
            (200, r#"{"error":"partial write: dropped=2"}"#, some),
            (500, "at least 2 live replicas required", RequestOutcome::Transient),
            (500, "no space left on device", RequestOutcome::Transient),
            (403, order, RequestOutcome::Operator),
            (429, order, RequestOutcome::Transient),
        ] {
            let mut reply = HttpReply::of(StatusCode::from_u16(status).unwrap());
            reply.body = body.into();
            assert_eq!(of(&reply, 4), expected, "{status} {body}");
        }
    }
}
