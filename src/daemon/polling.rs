//! The Kamailio servers that are polled: a task each, so that one that hangs delays no other.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use engine::listener::stats::ListenerStats;
use kamailio::KamailioSection;
use kamailio::intake::{IntakeSender, Source};
use kamailio::poller::Poller;
use kamailio::stats::PollerStats;

/// All of them, in the order of the configuration.
#[derive(Default)]
pub(super) struct Polling(Vec<Polled>);

/// One that is polled.
struct Polled {
    config: watch::Sender<KamailioSection>,
    /// How its polls go.
    polls: Arc<PollerStats>,
    /// Its place in the ledger.
    ledger: Arc<ListenerStats>,
    task: JoinHandle<()>,
}

impl Polling {
    /// Polls these from now on. One whose series are the same goes on with its totals. Returns the
    /// ledgers of those that are not polled any more.
    pub(super) async fn apply(
        &mut self,
        sections: &[KamailioSection],
        intake: Option<IntakeSender>,
    ) -> Vec<Arc<ListenerStats>> {
        let mut before = std::mem::take(&mut self.0);
        for section in sections {
            let is_same = |polled: &Polled| {
                let known = polled.config.borrow();
                (&known.endpoint, &known.tags) == (&section.endpoint, &section.tags)
            };
            if let Some(place) = before.iter().position(is_same) {
                let polled = before.remove(place);
                polled.config.send_if_modified(|known| {
                    let is_other = known != section;
                    known.clone_from(section);
                    is_other
                });
                self.0.push(polled);
            } else if let Some(intake) = &intake {
                self.0.push(Polled::start(section, intake.clone()));
            }
        }
        let mut gone = Vec::new();
        for polled in before {
            info!(endpoint = polled.polls.endpoint(), "Kamailio removed; polling stopped");
            gone.push(polled.end().await);
        }
        gone
    }

    /// Their ledgers.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = Arc<ListenerStats>> {
        self.0.iter().map(|polled| Arc::clone(&polled.ledger))
    }

    /// How their polls go.
    pub(super) fn polls(&self) -> Vec<Arc<PollerStats>> {
        self.0.iter().map(|polled| Arc::clone(&polled.polls)).collect()
    }

    /// Polls no more.
    pub(super) async fn stop(self) {
        for polled in self.0 {
            polled.end().await;
        }
    }
}

impl Polled {
    fn start(section: &KamailioSection, intake: IntakeSender) -> Self {
        let endpoint = section.endpoint.to_string();
        info!(endpoint, interval = %section.interval, "polling Kamailio");
        let ledger = Arc::new(ListenerStats::without_drops(format!("kamailio {endpoint}")));
        let polls = Arc::new(PollerStats::new(endpoint, section.tags.clone()));
        let source =
            Source { tags: section.tags.clone().into_iter().collect(), stats: Arc::clone(&ledger) };
        let (config, changes) = watch::channel(section.clone());
        let poller = Poller::new(changes, Arc::new(source), Arc::clone(&polls), intake);
        Self { config, polls, ledger, task: tokio::spawn(poller.run()) }
    }

    /// Ends it between two of its steps: what it has handed over is whole.
    async fn end(self) -> Arc<ListenerStats> {
        self.task.abort();
        let _aborted = self.task.await;
        self.ledger
    }
}
