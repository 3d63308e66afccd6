//! Decides which requests a server answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use basics::log_throttle::LogThrottle;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::authorization::{self, Credentials, NoCredentials};
use super::identity::{Entry, Identity};
use super::loaded::Access;
use super::passwords::{self, Claim, ComparisonKey, TooManyWaiting, VerifiedPasswords};
use crate::accept::SocketPeer;
use crate::stats::{AccessStats, Denied};

/// Pause between two looks at the files of the configuration.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Why a changed file is not used by itself: an empty or truncated one would open the server to everyone.
const WEAKER: &str =
    "without it the server would need no credentials, or no TLS; if this is intended, reload";

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    reason: Denied,
    /// The schemes by which a client may authenticate.
    schemes: Vec<&'static str>,
}

impl Denial {
    pub(crate) fn status(&self) -> StatusCode {
        match self.reason {
            Denied::Missing | Denied::Wrong | Denied::Revoked => StatusCode::UNAUTHORIZED,
            Denied::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Denied::Rate => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    pub(crate) fn words(&self) -> &'static str {
        match self.reason {
            Denied::Missing => "this needs a user with a password, or a token",
            // The same for every cause: a difference would help a client that guesses.
            Denied::Wrong => "wrong user, password or token",
            Denied::Busy => "too many logins at a time: try again",
            Denied::Rate => "too many requests: try again later",
            Denied::Revoked => {
                "since the client connected, a reload or a changed file has taken its access: \
                 connect again with valid credentials"
            }
        }
    }

    /// Adds the headers that a client needs for another attempt.
    pub(crate) fn add_headers(&self, headers: &mut HeaderMap) {
        if self.status() == StatusCode::UNAUTHORIZED {
            for scheme in &self.schemes {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        } else {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
    }
}

/// The access to one server, which all of its connections share.
#[derive(Debug)]
pub(crate) struct AccessGate {
    /// Notifies its receivers only when the rules change.
    current: watch::Sender<Arc<Access>>,
    key: ComparisonKey,
    verified: VerifiedPasswords,
    failures: Mutex<LogThrottle>,
    /// Whether another server has taken over.
    is_closed: AtomicBool,
}

impl AccessGate {
    pub(crate) fn new(access: Arc<Access>) -> Self {
        Self {
            current: watch::Sender::new(access),
            key: ComparisonKey::random(),
            verified: VerifiedPasswords::default(),
            failures: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The access at this moment.
    pub(crate) fn current(&self) -> Arc<Access> {
        Arc::clone(&self.current.borrow())
    }

    /// The access at this moment, for a client that connects, and a receiver that is notified when the
    /// connection has to end after its current request.
    pub(crate) fn enter(&self) -> (Entry, watch::Receiver<Arc<Access>>) {
        let mut changes = self.current.subscribe();
        let access = Arc::clone(&changes.borrow_and_update());
        (Entry { access, certificates: Vec::new() }, changes)
    }

    /// Replaces the access for handshakes and requests from now on. Ends the connections if the rules
    /// are others.
    pub(crate) fn replace(&self, access: Arc<Access>) {
        self.replace_if(access, |_| true);
    }

    /// Admits no further request, and ends the connections after their current one.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.current.send_modify(|_| {});
    }

    /// Replaces the access if `is_replaced` is true for the current one. Returns whether it did so.
    fn replace_if(
        &self,
        access: Arc<Access>,
        is_replaced: impl FnOnce(&Arc<Access>) -> bool,
    ) -> bool {
        let mut done = false;
        self.current.send_if_modified(|current| {
            done = is_replaced(current);
            if !done {
                return false;
            }
            self.verified.keep(&access.users);
            let has_other_rules = !access.has_rules_of(current);
            *current = access;
            has_other_rules
        });
        done
    }

    /// Whether the rules still admit a client that an earlier version of them has admitted.
    pub(crate) fn still_admits(&self, entry: &Entry, identity: Option<&Identity>) -> bool {
        if self.is_closed.load(Ordering::Acquire) {
            return false;
        }
        let current = self.current.borrow();
        Arc::ptr_eq(&current, &entry.access) || entry.is_admitted_by(&current, identity)
    }

    /// The denial for a client that the rules no longer admit.
    pub(crate) fn revocation(&self) -> Denial {
        Denial { reason: Denied::Revoked, schemes: self.current.borrow().schemes() }
    }

    /// Decides about a request: its identity, if it proves one. The rules are those of its connection, and
    /// must hold under the current ones too.
    ///
    /// # Errors
    /// When the request must not be answered.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        entry: &Entry,
    ) -> Result<Option<Identity>, Denial> {
        let identity = self.identify(headers, entry).await?;
        // It may have arrived in parts, before and after a reload.
        if self.still_admits(entry, identity.as_ref()) {
            return Ok(identity);
        }
        Err(self.revocation())
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        entry: &Entry,
    ) -> Result<Option<Identity>, Denial> {
        let access = &entry.access;
        let denial = |reason| Denial { reason, schemes: access.schemes() };
        if access.rate_limit.as_ref().is_some_and(|limit| !limit.admits(Instant::now())) {
            return Err(denial(Denied::Rate));
        }
        if !access.needs_credentials() {
            return Ok(entry.has_certificate().then_some(Identity::Certificate));
        }
        let identity = match authorization::credentials(headers) {
            Err(NoCredentials::Missing) => return Err(denial(Denied::Missing)),
            Err(NoCredentials::Malformed) => None,
            Ok(Credentials::Bearer(token)) => {
                let position = self.key.position(&access.tokens, &token);
                position.map(|index| Identity::Token(index + 1))
            }
            Ok(Credentials::Basic { user, password }) => {
                let user = self.user(access, &user, password).await;
                user.map_err(|TooManyWaiting| denial(Denied::Busy))?
            }
        };
        identity.map(Some).ok_or_else(|| denial(Denied::Wrong))
    }

    /// The identity of a user with this password; `None` if it is wrong.
    async fn user(
        &self,
        access: &Access,
        name: &str,
        password: Vec<u8>,
    ) -> Result<Option<Identity>, TooManyWaiting> {
        if access.users.is_empty() {
            return Ok(None);
        }
        let known = access.users.get_key_value(name);
        let claim = match known {
            Some((user, hash)) => Claim { user: Some(user), hash },
            None => Claim { user: None, hash: &access.nobody },
        };
        let shared = (&self.key, &self.verified, &access.places);
        let is_right = passwords::is_right(claim, password, shared).await?;
        Ok(known.filter(|_| is_right).map(|(user, _)| Identity::User(user.clone())))
    }

    /// Counts and logs a refused request.
    pub(crate) fn note(
        &self,
        denial: &Denial,
        server: &str,
        peer: SocketPeer,
        stats: &AccessStats,
    ) {
        stats.count(denial.reason);
        // Each browser begins with a request without credentials.
        if denial.reason == Denied::Missing {
            return;
        }
        if let Some(count) = self.failures.lock().count(1) {
            warn!(server, %peer, count, "requests refused: {}", denial.words());
        }
    }

    /// Reads the files of the configuration again when they have changed. Ends never.
    pub(crate) async fn watch(&self, server: &str) -> Infallible {
        let (mut refused, mut seen) = (None, None);
        let mut changes = self.current.subscribe();
        loop {
            let access = Arc::clone(&changes.borrow_and_update());
            if access.files.is_empty() {
                // Fails only without a sender, and `self` has one.
                let _is_changed = changes.changed().await;
                continue;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            let looked_at = Arc::clone(&access);
            let now = tokio::task::spawn_blocking(move || looked_at.files.now()).await;
            let Ok(now) = now else { continue };
            // A file that is being written changes from look to look, and its beginning may be valid.
            let is_settled = seen.replace(now.clone()).as_ref() == Some(&now);
            // A file that could not be used is read again only when it changes once more.
            if !is_settled || now == access.files || refused.as_ref() == Some(&now) {
                continue;
            }
            let config = access.config.clone();
            let loaded = tokio::task::spawn_blocking(move || Access::load(&config)).await;
            let Ok(loaded) = loaded else { continue };
            let usable = loaded.map_err(|error| error.to_string()).and_then(|loaded| {
                let is_weaker = access.is_restricted() && !loaded.is_restricted()
                    || access.is_encrypted() && !loaded.is_encrypted();
                if is_weaker { Err(WEAKER.to_owned()) } else { Ok(loaded) }
            });
            match usable {
                Ok(loaded) => {
                    refused = None;
                    // Unless a reload has replaced it in the meantime.
                    if self.replace_if(Arc::new(loaded), |current| Arc::ptr_eq(current, &access)) {
                        info!(
                            server,
                            "certificates and users read again, because a file has changed"
                        );
                    }
                }
                Err(problem) => {
                    error!(
                        server,
                        "a changed file is not used, the previous content is: {problem}"
                    );
                    refused = Some(now);
                }
            }
        }
    }
}
