//! What the handlers of the endpoint share.

use std::sync::Arc;

use super::history::TotalsRing;
use super::top::TopView;
use crate::runtime::RuntimeState;

/// The state of the daemon, and the results that are kept between requests. A clone shares them.
#[derive(Clone, Debug)]
pub(super) struct AdminState {
    pub(super) runtime: Arc<RuntimeState>,
    pub(super) history: Arc<TotalsRing>,
    pub(super) top: Arc<TopView>,
}

impl AdminState {
    /// The state of an endpoint that has not answered yet.
    pub(super) fn new(runtime: Arc<RuntimeState>) -> Self {
        Self { runtime, history: Arc::default(), top: Arc::default() }
    }
}
