//! The pollers of Kamailio servers: one task for each, so that a server that hangs delays no other.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use engine::listener::stats::ListenerStats;
use kamailio::KamailioSection;
use kamailio::intake::{IntakeSender, PolledServer};
use kamailio::poller::Poller;
use kamailio::stats::PollerStats;

/// All running pollers, in the order of the configuration.
#[derive(Default)]
pub(super) struct Polling(Vec<PollerTask>);

/// A running poller and the controls of its task.
struct PollerTask {
    config: watch::Sender<KamailioSection>,
    /// The counters of its polls.
    polls: Arc<PollerStats>,
    /// The ledger of its samples.
    ledger: Arc<ListenerStats>,
    task: JoinHandle<()>,
}

impl Polling {
    /// Replaces the polled servers. A server with the same endpoint and tags produces the same series,
    /// so its poller continues with its totals. Returns the ledgers of the removed pollers.
    pub(super) async fn apply(
        &mut self,
        sections: &[KamailioSection],
        intake: Option<IntakeSender>,
    ) -> Vec<Arc<ListenerStats>> {
        let mut previous = std::mem::take(&mut self.0);
        for section in sections {
            let is_same = |poller: &PollerTask| {
                let current = poller.config.borrow();
                (&current.endpoint, &current.tags) == (&section.endpoint, &section.tags)
            };
            if let Some(index) = previous.iter().position(is_same) {
                let poller = previous.remove(index);
                poller.config.send_if_modified(|current| {
                    let is_modified = current != section;
                    current.clone_from(section);
                    is_modified
                });
                self.0.push(poller);
            } else if let Some(intake) = &intake {
                self.0.push(PollerTask::start(section, intake.clone()));
            }
        }
        let mut removed = Vec::new();
        for poller in previous {
            info!(endpoint = poller.polls.endpoint(), "Kamailio removed; polling stopped");
            removed.push(poller.end().await);
        }
        removed
    }

    /// Returns the ledgers of the polled samples.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = Arc<ListenerStats>> {
        self.0.iter().map(|poller| Arc::clone(&poller.ledger))
    }

    /// Returns the counters of the polls.
    pub(super) fn polls(&self) -> Vec<Arc<PollerStats>> {
        self.0.iter().map(|poller| Arc::clone(&poller.polls)).collect()
    }

    /// Ends all pollers.
    pub(super) async fn stop(self) {
        for poller in self.0 {
            poller.end().await;
        }
    }
}

impl PollerTask {
    fn start(section: &KamailioSection, intake: IntakeSender) -> Self {
        let endpoint = section.endpoint.to_string();
        info!(endpoint, interval = %section.interval, "polling Kamailio");
        let ledger = Arc::new(ListenerStats::without_drops(format!("kamailio {endpoint}")));
        let polls = Arc::new(PollerStats::new(endpoint, section.tags.clone()));
        let tags = section.tags.clone().into_iter().collect();
        let server = PolledServer { tags, stats: Arc::clone(&ledger) };
        let (config, changes) = watch::channel(section.clone());
        let poller = Poller::new(changes, Arc::new(server), Arc::clone(&polls), intake);
        Self { config, polls, ledger, task: tokio::spawn(poller.run()) }
    }

    /// Ends the task and returns its ledger. An abort takes effect only at an `await`, so a batch is
    /// either handed over completely or not at all.
    async fn end(self) -> Arc<ListenerStats> {
        self.task.abort();
        let _aborted = self.task.await;
        self.ledger
    }
}
