//! Tokens of Digest challenges: ours, young, and each count used once.
//!
//! A token says when it was made and that we made it, so that nothing is kept for
//! whoever only asks. The count of one is kept once the right password came with it.

use std::collections::HashMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::time::Instant;

/// How long a token is good for. Then the client gets a new one, and sends again.
const LIFE: Duration = Duration::from_secs(300);
/// Tokens in use at a time; more make all of them stale.
const MOST: usize = 4096;

/// What becomes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It is good, this once.
    Good,
    /// It was ours and is too old, or this count was used.
    Stale,
    /// It is not ours.
    Foreign,
}

/// Makes and judges tokens.
pub(super) struct Nonces {
    key: [u8; 32],
    start: Instant,
    /// Made at, and the highest count that was used.
    used: HashMap<String, (Duration, u32)>,
}

impl Nonces {
    pub(super) fn new() -> Self {
        Self { key: super::guard::random(), start: Instant::now(), used: HashMap::new() }
    }

    /// A new token.
    pub(super) fn make(&self) -> String {
        self.at(self.start.elapsed())
    }

    /// Whether it is ours and young. Its count is not used up by this.
    pub(super) fn look(&self, nonce: &str) -> Judged {
        let Some(made) = self.made(nonce) else { return Judged::Foreign };
        if self.start.elapsed().saturating_sub(made) > LIFE { Judged::Stale } else { Judged::Good }
    }

    /// Uses up a count of a token that came with the right password.
    pub(super) fn take(&mut self, nonce: &str, count: u32) -> Judged {
        let (judged, now) = (self.look(nonce), self.start.elapsed());
        if judged != Judged::Good {
            return judged;
        }
        self.used.retain(|_, (made, _)| now.saturating_sub(*made) <= LIFE);
        if self.used.len() >= MOST && !self.used.contains_key(nonce) {
            // Forgetting counts alone would let old ones come again.
            (self.key, self.used) = (super::guard::random(), HashMap::new());
            return Judged::Stale;
        }
        let made = self.made(nonce).unwrap_or_default();
        let (_, highest) = self.used.entry(nonce.to_owned()).or_insert((made, 0));
        if count <= *highest {
            return Judged::Stale;
        }
        *highest = count;
        Judged::Good
    }

    fn at(&self, made: Duration) -> String {
        let made = format!("{:x}", made.as_millis());
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any length will do");
        mac.update(made.as_bytes());
        let tag = mac.finalize().into_bytes();
        let tag: String = tag[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{made}-{tag}")
    }

    /// When it was made, if by us.
    fn made(&self, nonce: &str) -> Option<Duration> {
        let (made, _) = nonce.split_once('-')?;
        let made = Duration::from_millis(u64::from_str_radix(made, 16).ok()?);
        // Not a secret once it is out: how alike a guess is tells nothing that helps.
        (self.at(made) == nonce).then_some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_for_a_while_and_each_count_once() {
        let mut nonces = Nonces::new();
        let nonce = nonces.make();
        assert_eq!(nonces.take(&nonce, 1), Judged::Good);
        assert_eq!(nonces.take(&nonce, 1), Judged::Stale);
        assert_eq!(nonces.take(&nonce, 3), Judged::Good);
        assert_eq!(nonces.take(&nonce, 2), Judged::Stale);
        tokio::time::advance(LIFE + Duration::from_secs(1)).await;
        assert_eq!(nonces.take(&nonce, 4), Judged::Stale);
        assert_eq!(nonces.look(&Nonces::new().make()), Judged::Foreign);
        for foreign in ["", "-", "0-", "zz-00", "0-00000000000000000000000000000000"] {
            assert_eq!(nonces.look(foreign), Judged::Foreign, "{foreign}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_has_a_bound_and_no_count_comes_again() {
        let mut nonces = Nonces::new();
        let first = nonces.make();
        assert_eq!(nonces.take(&first, 1), Judged::Good);
        for _ in 0..MOST {
            tokio::time::advance(Duration::from_millis(1)).await;
            let nonce = nonces.make();
            nonces.take(&nonce, 1);
        }
        assert!(nonces.used.len() <= MOST);
        assert_ne!(nonces.take(&first, 1), Judged::Good);
    }
}
