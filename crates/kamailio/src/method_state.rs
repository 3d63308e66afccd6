//! A configured method, and whether Kamailio refused it.

use std::time::Instant;

use binrpc::CallRequest;

use crate::call::MethodCall;

/// A method to poll.
#[derive(Debug)]
pub(crate) struct MethodState {
    call: MethodCall,
    request: CallRequest,
    /// The end of the pause after a refusal.
    retry_at: Option<Instant>,
    /// Whether the log reported the refusal.
    is_reported: bool,
}

impl MethodState {
    /// A method that is due.
    pub(crate) fn new(call: MethodCall) -> Self {
        let request = call.request();
        Self { call, request, retry_at: None, is_reported: false }
    }

    /// The method and its arguments.
    pub(crate) fn call(&self) -> &MethodCall {
        &self.call
    }

    /// The request to send.
    pub(crate) fn request(&self) -> &CallRequest {
        &self.request
    }

    /// Whether to call the method: not during the pause after a refusal.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|retry_at| retry_at <= now)
    }

    /// Whether Kamailio refuses a method that the configuration lists by its name.
    pub(crate) fn is_missed(&self) -> bool {
        self.call.is_listed() && self.retry_at.is_some()
    }

    /// Ends the pause, without forgetting that the refusal was reported.
    pub(crate) fn end_pause(&mut self) {
        self.retry_at = None;
    }

    /// Notes a reply. Returns whether Kamailio refused the method before.
    pub(crate) fn note_reply(&mut self) -> bool {
        let was_paused = self.retry_at.take().is_some();
        std::mem::take(&mut self.is_reported) || was_paused
    }

    /// Notes a refusal. Returns whether to report it: only the first one is reported.
    pub(crate) fn note_refusal(&mut self, retry_at: Instant) -> bool {
        self.retry_at = Some(retry_at);
        !std::mem::replace(&mut self.is_reported, true)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refused_method_pauses_and_is_reported_once() {
        let now = Instant::now();
        let later = now + Duration::from_secs(600);
        let mut method = MethodState::new(MethodCall::listed("tls.info", vec![]));
        assert!(method.is_due(now) && !method.is_missed());
        assert!(method.note_refusal(later));
        assert!(!method.is_due(now) && method.is_due(later) && method.is_missed());
        // A restart of Kamailio may have loaded the module, or not.
        method.end_pause();
        assert!(method.is_due(now) && !method.is_missed());
        assert!(!method.note_refusal(later), "already reported");
        assert!(method.note_reply());
        assert!(!method.note_reply(), "already reported");
    }

    #[test]
    fn a_refused_default_method_is_not_missed() {
        let mut method = MethodState::new(MethodCall::unlisted("tls.info", vec![]));
        method.note_refusal(Instant::now());
        assert!(!method.is_missed());
    }
}
