//! The open connections of a server.

use std::collections::HashMap;
use std::sync::Arc;

use tlsserver::HandshakeFailure;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::activity::Activity;
use crate::stats::{HttpServerStats, add_one};

/// The open connections. Dropping it closes all of them.
#[derive(Debug)]
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    open: HashMap<Id, (Arc<Activity>, AbortHandle)>,
    stats: Arc<HttpServerStats>,
}

impl Connections {
    pub(crate) fn new(stats: Arc<HttpServerStats>) -> Self {
        Self { tasks: JoinSet::new(), open: HashMap::new(), stats }
    }

    /// Runs a connection. While there are `max` of them already, first closes the one that has made
    /// no progress for longest. Returns whether it has closed one.
    pub(crate) fn add(
        &mut self,
        max: usize,
        activity: Arc<Activity>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) -> bool {
        let mut has_cut = false;
        while self.open.len() >= max && self.cut_longest_silent() {
            has_cut = true;
        }
        add_one(&self.stats.accepted);
        let handle = self.tasks.spawn(connection);
        self.open.insert(handle.id(), (activity, handle));
        has_cut
    }

    /// While `max` TLS handshakes are incomplete, closes the connection whose handshake has lasted
    /// longest. Clients that complete none therefore delay no other client. Returns whether it has
    /// closed one.
    pub(crate) fn make_room_for_handshake(&mut self, max: usize) -> bool {
        let mut has_cut = false;
        while self.open.values().filter(|(activity, _)| activity.is_handshaking()).count() >= max {
            let waiting = self.open.iter().filter(|(_, (activity, _))| activity.is_handshaking());
            let longest = waiting.max_by_key(|(_, (activity, _))| activity.age());
            let Some(id) = longest.map(|(id, _)| *id) else { break };
            self.stats.access.count_handshake(HandshakeFailure::TooMany);
            self.cut(id);
            has_cut = true;
        }
        has_cut
    }

    /// Closes the connection that has made no progress for longest, of several the oldest. Returns
    /// whether there was one.
    pub(crate) fn cut_longest_silent(&mut self) -> bool {
        let longest =
            self.open.iter().max_by_key(|(_, (activity, _))| (activity.silence(), activity.age()));
        let Some(id) = longest.map(|(id, _)| *id) else { return false };
        add_one(&self.stats.cut_full);
        self.cut(id);
        true
    }

    fn cut(&mut self, id: Id) {
        if let Some((_, task)) = self.open.remove(&id) {
            // Counted first: a client that notices the end finds it in the counts.
            add_one(&self.stats.closed);
            task.abort();
        }
    }

    /// Waits until every connection has ended.
    pub(crate) async fn all_ended(&mut self) {
        while !self.tasks.is_empty() {
            self.ended().await;
        }
    }

    /// Waits until a connection ends; forever if no connection is open.
    pub(crate) async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return std::future::pending().await,
        };
        // One that was cut has been counted.
        if self.open.remove(&id).is_some() {
            add_one(&self.stats.closed);
        }
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.open.keys().for_each(|_| add_one(&self.stats.closed));
    }
}
