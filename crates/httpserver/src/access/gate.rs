//! Decides which requests a server answers.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use basics::log_throttle::LogThrottle;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::authorization::{self, Credentials, NoCredentials};
use super::loaded::Access;
use super::password_hash::UserName;
use super::passwords::{self, Claim, ComparisonKey, TooManyWaiting, VerifiedPasswords};
use crate::accept::SocketPeer;
use crate::stats::{AccessStats, Denied};

/// Pause between two looks at the files of the configuration.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// Why a changed file is not used by itself: an empty or truncated one would open the server to everyone.
const WEAKER: &str =
    "without it the server would need no credentials, or no TLS; if this is intended, reload";

/// How a client proved its identity. An extension of the requests at addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As a user with a password.
    User(UserName),
    /// With the token at this position of the list, from 1.
    Token(usize),
    /// With a certificate that a trusted authority signed.
    Certificate,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(formatter, "user {}", name.as_str().escape_debug()),
            Self::Token(position) => write!(formatter, "token {position}"),
            Self::Certificate => formatter.write_str("client certificate"),
        }
    }
}

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
            Denied::Missing | Denied::Wrong => StatusCode::UNAUTHORIZED,
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
    current: RwLock<Arc<Access>>,
    key: ComparisonKey,
    verified: VerifiedPasswords,
    failures: Mutex<LogThrottle>,
    /// Notified after a replacement.
    replaced: Notify,
}

impl AccessGate {
    pub(crate) fn new(access: Arc<Access>) -> Self {
        Self {
            current: RwLock::new(access),
            key: ComparisonKey::random(),
            verified: VerifiedPasswords::default(),
            failures: Mutex::default(),
            replaced: Notify::new(),
        }
    }

    /// The access at this moment.
    pub(crate) fn current(&self) -> Arc<Access> {
        Arc::clone(&self.current.read())
    }

    /// Replaces the access for requests and handshakes from now on.
    pub(crate) fn replace(&self, access: Arc<Access>) {
        self.verified.keep(&access.users);
        *self.current.write() = access;
        self.replaced.notify_one();
    }

    /// The same, unless a reload has replaced `expected` in the meantime. Returns whether it did so.
    fn replace_if_current(&self, expected: &Arc<Access>, access: Arc<Access>) -> bool {
        let mut current = self.current.write();
        let is_current = Arc::ptr_eq(&current, expected);
        if is_current {
            self.verified.keep(&access.users);
            *current = access;
        }
        is_current
    }

    /// Decides about a request: its identity, if it proves one.
    ///
    /// # Errors
    /// When the request must not be answered.
    pub(crate) async fn admit(
        &self,
        headers: &HeaderMap,
        has_certificate: bool,
    ) -> Result<Option<Identity>, Denial> {
        let access = self.current();
        let denial = |reason| Denial { reason, schemes: access.schemes() };
        if access.rate_limit.as_ref().is_some_and(|limit| !limit.admits(Instant::now())) {
            return Err(denial(Denied::Rate));
        }
        if !access.needs_credentials() {
            return Ok(has_certificate.then_some(Identity::Certificate));
        }
        let identity = match authorization::credentials(headers) {
            Err(NoCredentials::Missing) => return Err(denial(Denied::Missing)),
            Err(NoCredentials::Malformed) => None,
            Ok(Credentials::Bearer(token)) => {
                let position = self.key.position(&access.tokens, &token);
                position.map(|index| Identity::Token(index + 1))
            }
            Ok(Credentials::Basic { user, password }) => {
                let user = self.user(&access, &user, password).await;
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
        loop {
            let access = self.current();
            if access.files.is_empty() {
                self.replaced.notified().await;
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
                    if self.replace_if_current(&access, Arc::new(loaded)) {
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
