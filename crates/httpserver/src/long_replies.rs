//! The number of connections with a long reply.

use tokio::sync::watch;

/// Counts the open connections with a [`LongReply`](crate::LongReply).
#[derive(Debug, Default)]
pub(crate) struct LongReplies(watch::Sender<usize>);

/// One of these connections, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenLongReply(watch::Sender<usize>);

impl LongReplies {
    /// Counts a connection.
    pub(crate) fn begin(&self) -> OpenLongReply {
        self.0.send_modify(|open| *open += 1);
        OpenLongReply(self.0.clone())
    }

    /// Waits until none is open.
    pub(crate) async fn ended(&self) {
        let mut open = self.0.subscribe();
        // Fails only without a sender, and `self` has one.
        let _ended = open.wait_for(|open| *open == 0).await;
    }
}

impl Drop for OpenLongReply {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
