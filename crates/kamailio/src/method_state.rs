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
    /// Whether Kamailio failed on the method, instead of refusing it.
    has_failed: bool,
    /// Whether the log reported the refusal.
    is_reported: bool,
}

impl MethodState {
    /// A method that is due.
    pub(crate) fn new(call: MethodCall) -> Self {
        let request = call.request();
        Self { call, request, retry_at: None, has_failed: false, is_reported: false }
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

    /// Whether a poll lacks readings of the method: Kamailio refuses it although the configuration
    /// lists it by its name, or has it and fails on it.
    pub(crate) fn is_missed(&self) -> bool {
        self.retry_at.is_some() && (self.call.is_listed() || self.has_failed)
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

    /// Notes a refusal, or a failure. Returns whether to report it: only the first one is reported.
    pub(crate) fn note_refusal(&mut self, retry_at: Instant, has_failed: bool) -> bool {
        self.retry_at = Some(retry_at);
        self.has_failed = has_failed;
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
        assert!(method.note_refusal(later, false));
        assert!(!method.is_due(now) && method.is_due(later) && method.is_missed());
        // A restart of Kamailio may have loaded the module, or not.
        method.end_pause();
        assert!(method.is_due(now) && !method.is_missed());
        assert!(!method.note_refusal(later, false), "already reported");
        assert!(method.note_reply());
        assert!(!method.note_reply(), "already reported");
    }

    #[test]
    fn a_refused_default_method_is_not_missed() {
        let mut method = MethodState::new(MethodCall::unlisted("tls.info", vec![]));
        method.note_refusal(Instant::now(), false);
        assert!(!method.is_missed());
    }

    #[test]
    fn a_default_method_on_which_kamailio_fails_is_missed() {
        let mut method = MethodState::new(MethodCall::unlisted("stats.fetch", vec![]));
        method.note_refusal(Instant::now(), true);
        assert!(method.is_missed());
        method.note_reply();
        assert!(!method.is_missed());
    }
}
