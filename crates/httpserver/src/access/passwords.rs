//! Verifies passwords, without letting clients use up the processor.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use super::config::AccessLimits;
use super::password_hash::{PasswordHash, UserName};
use super::token::AccessToken;

/// Maximum number of bytes of a password that are looked at. bcrypt itself reads 72.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The result of an HMAC.
type Digest = [u8; 32];

/// Too many requests wait for the verification of a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyWaiting;

/// A key of this process, under which secrets are compared: without it, nobody can choose a guess whose
/// comparison takes longer or shorter.
#[derive(Clone, Debug)]
pub(super) struct ComparisonKey(hmac::Key);

impl ComparisonKey {
    /// A random key. Without random numbers the process could not do TLS either, so that this ends it.
    #[expect(clippy::expect_used, reason = "the system has random numbers from its start on")]
    pub(super) fn random() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self(key.expect("random numbers"))
    }

    /// The index of a token in `tokens`, if it is one of them. Takes as long for any token.
    pub(super) fn position(&self, tokens: &[AccessToken], given: &str) -> Option<usize> {
        let given = self.digest(&[given.as_bytes()]);
        let mut found = None;
        for (index, token) in tokens.iter().enumerate() {
            if self.digest(&[token.reveal().as_bytes()]) == given {
                found = Some(index);
            }
        }
        found
    }

    /// Digests parts, each with its length, so that no two lists of parts look the same.
    fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// The passwords that were verified: of each user the latest, with the hash that it fitted, so that a
/// changed hash has to be verified again.
#[derive(Debug, Default)]
pub(super) struct VerifiedPasswords(Mutex<HashMap<UserName, Digest>>);

impl VerifiedPasswords {
    /// Forgets those of users who are not in `users`. A changed hash of a user makes the rest useless.
    pub(super) fn keep(&self, users: &BTreeMap<UserName, PasswordHash>) {
        self.0.lock().retain(|user, _| users.contains_key(user));
    }
}

/// The places of verifications.
#[derive(Debug)]
pub(super) struct VerificationPlaces {
    /// Running and waiting ones.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl VerificationPlaces {
    pub(super) fn new(limits: &AccessLimits) -> Self {
        let running = limits.max_verifications as usize;
        let admitted = running + limits.max_waiting as usize;
        Self {
            admitted: Arc::new(Semaphore::new(admitted)),
            running: Arc::new(Semaphore::new(running)),
        }
    }

    /// Whether `hash` is that of `password`, as soon as there is a place. A client that does not wait for
    /// the result frees no place before it is there.
    async fn verify(&self, hash: PasswordHash, password: Vec<u8>) -> Result<bool, TooManyWaiting> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned();
        let admitted = admitted.map_err(|_| TooManyWaiting)?;
        // Never closed.
        let running =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| TooManyWaiting)?;
        let verified = tokio::task::spawn_blocking(move || {
            let _places = (admitted, running);
            hash.is_of(&password)
        });
        Ok(verified.await.unwrap_or(false))
    }
}

/// A user with the hash to compare with.
pub(super) struct Claim<'a> {
    /// The user, if there is one of this name.
    pub(super) user: Option<&'a UserName>,
    /// The hash of the user, or one that no password has.
    pub(super) hash: &'a PasswordHash,
}

/// Whether a password is that of the user.
///
/// # Errors
/// When too many requests wait.
pub(super) async fn is_right(
    claim: Claim<'_>,
    mut password: Vec<u8>,
    (key, verified, places): (&ComparisonKey, &VerifiedPasswords, &VerificationPlaces),
) -> Result<bool, TooManyWaiting> {
    let Claim { user, hash } = claim;
    if password.len() > PASSWORD_BYTES_MAX {
        password.truncate(PASSWORD_BYTES_MAX);
    }
    let name = user.map_or("", UserName::as_str);
    let digest = key.digest(&[name.as_bytes(), hash.as_str().as_bytes(), &password]);
    let is_known = |user: &UserName| verified.0.lock().get(user) == Some(&digest);
    if user.is_some_and(is_known) {
        return Ok(true);
    }
    let is_of_hash = places.verify(hash.clone(), password).await?;
    let Some(user) = user.filter(|_| is_of_hash) else { return Ok(false) };
    verified.0.lock().insert(user.clone(), digest);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &str) -> PasswordHash {
        let text = bcrypt::hash_with_salt(password, 4, [9; 16]).unwrap().to_string();
        PasswordHash::parse(&text).unwrap()
    }

    fn places(max_verifications: u32, max_waiting: u32) -> VerificationPlaces {
        let limits = AccessLimits { max_verifications, max_waiting, ..AccessLimits::default() };
        VerificationPlaces::new(&limits)
    }

    #[test]
    fn a_token_is_found_among_others() {
        let key = ComparisonKey::random();
        let tokens =
            ["0123456789abcdef", "fedcba9876543210"].map(|t| AccessToken::parse(t).unwrap());
        assert_eq!(key.position(&tokens, "fedcba9876543210"), Some(1));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0"] {
            assert_eq!(key.position(&tokens, wrong), None, "{wrong}");
        }
        assert_eq!(key.position(&[], ""), None);
    }

    #[tokio::test]
    async fn a_verified_password_needs_no_place_until_its_hash_changes() {
        let (key, verified) = (ComparisonKey::random(), VerifiedPasswords::default());
        let (user, old, new) = (UserName::try_from("a".to_owned()).unwrap(), hash("x"), hash("y"));
        let (one, none) = (places(1, 0), places(0, 0));
        let is_right = async |hash, password: &str, places| {
            let claim = Claim { user: Some(&user), hash };
            super::is_right(claim, password.into(), (&key, &verified, places)).await
        };
        assert_eq!(is_right(&old, "x", &none).await, Err(TooManyWaiting));
        assert_eq!(is_right(&old, "y", &one).await, Ok(false));
        assert_eq!(is_right(&old, "x", &one).await, Ok(true));
        assert_eq!(is_right(&old, "x", &none).await, Ok(true));
        assert_eq!(is_right(&old, "y", &none).await, Err(TooManyWaiting));
        assert_eq!(is_right(&new, "x", &none).await, Err(TooManyWaiting));
        assert_eq!(is_right(&new, "x", &one).await, Ok(false));
        verified.keep(&BTreeMap::new());
        assert_eq!(is_right(&old, "x", &none).await, Err(TooManyWaiting));
    }

    #[tokio::test]
    async fn an_unknown_user_is_refused_even_with_the_password_of_the_hash() {
        let (key, verified, hash) =
            (ComparisonKey::random(), VerifiedPasswords::default(), hash("x"));
        let claim = Claim { user: None, hash: &hash };
        let places = places(1, 0);
        let is_right = super::is_right(claim, b"x".into(), (&key, &verified, &places)).await;
        assert_eq!(is_right, Ok(false));
    }
}
