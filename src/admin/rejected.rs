//! The reply of `/api/v1/rejected`.

use api::rejected::{RejectedEntry, RejectedList};
use basics::time::rfc3339;
use engine::listener::rejected::RejectedMessage;

use crate::runtime::RuntimeState;

/// The latest rejected messages, newest first.
pub(super) fn latest(runtime: &RuntimeState) -> RejectedList {
    RejectedList { rejected: runtime.rejected.latest().into_iter().map(entry).collect() }
}

fn entry(message: RejectedMessage) -> RejectedEntry<'static> {
    RejectedEntry {
        time: rfc3339(message.time).into(),
        listener: message.listener.into(),
        sender: message.sender.into(),
        reason: message.reason.as_str().into(),
        offset: message.offset as u64,
        expected: message.expected.into(),
        advice: message.advice.map(Into::into),
        excerpt: message.excerpt.into(),
    }
}
