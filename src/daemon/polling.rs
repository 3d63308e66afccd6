//! The pollers of Kamailio servers: a task each, so that a server that hangs does not delay the others.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use engine::listener::stats::ListenerStats;
use kamailio::KamailioSection;
use kamailio::intake::{IntakeSender, PolledServer};
use kamailio::poller::Poller;
use kamailio::stats::PollerStats;

/// All pollers, in the order of the configuration.
#[derive(Default)]
pub(super) struct Polling(Vec<PollerTask>);

/// A running poller.
struct PollerTask {
    config: watch::Sender<KamailioSection>,
    /// The state of its polls.
    polls: Arc<PollerStats>,
    /// Its counters in the ledger.
    ledger: Arc<ListenerStats>,
    task: JoinHandle<()>,
}

impl Polling {
    /// Polls exactly these servers from now on. A poller whose server and tags stay the same keeps
    /// running with its totals. Returns the counters of the pollers that stopped.
    pub(super) async fn apply(
        &mut self,
        sections: &[KamailioSection],
        intake: Option<IntakeSender>,
    ) -> Vec<Arc<ListenerStats>> {
        let mut before = std::mem::take(&mut self.0);
        for section in sections {
            let is_same = |poller: &PollerTask| {
                let known = poller.config.borrow();
                (&known.endpoint, &known.tags) == (&section.endpoint, &section.tags)
            };
            if let Some(place) = before.iter().position(is_same) {
                let poller = before.remove(place);
                poller.config.send_if_modified(|known| {
                    let is_other = known != section;
                    known.clone_from(section);
                    is_other
                });
                self.0.push(poller);
            } else if let Some(intake) = &intake {
                self.0.push(PollerTask::start(section, intake.clone()));
            }
        }
        let mut stopped = Vec::new();
        for poller in before {
            info!(
                endpoint = poller.polls.endpoint(),
                "removed from the configuration; polling stopped"
            );
            stopped.push(poller.stop().await);
        }
        stopped
    }

    /// The counters of all pollers.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = Arc<ListenerStats>> {
        self.0.iter().map(|poller| Arc::clone(&poller.ledger))
    }

    /// The states of all pollers.
    pub(super) fn polls(&self) -> Vec<Arc<PollerStats>> {
        self.0.iter().map(|poller| Arc::clone(&poller.polls)).collect()
    }

    /// Stops all pollers.
    pub(super) async fn stop(self) {
        for poller in self.0 {
            poller.stop().await;
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

    /// Stops the task at its next await. The intake receives the readings of a poll completely or not at
    /// all.
    async fn stop(self) -> Arc<ListenerStats> {
        self.task.abort();
        let _aborted = self.task.await;
        self.ledger
    }
}
