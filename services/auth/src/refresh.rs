//! Refresh tokens: how they look, and what becomes of a session when one comes back.
//!
//! A token is a handle, the same for the whole session, and a secret that changes with each exchange. The next secret is
//! computed from the last one with a key that only the session's document has: `next = HMAC-SHA256(key, last)`. So the
//! document holds hashes only and is useless without a token, and yet every replica can say again, within the
//! [`GRACE`], which token followed one that was spent. Whoever shows a right handle has had a token of this session; with
//! a secret that is neither the current one nor spent just now, it is an old one, and somebody stole it.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long a spent token is answered with what followed it: two tabs, or an answer that was lost.
pub const GRACE: Duration = Duration::from_secs(30);
/// How long a refresh token is good for.
pub const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a session lasts at most, however often it is refreshed.
pub const SESSION_TTL: Duration = Duration::from_secs(90 * 24 * 3_600);
/// Spent tokens remembered for the grace.
pub const REMEMBERED: usize = 4;

const HANDLE: usize = 16;
const SECRET: usize = 32;

/// A refresh token, as its bearer has it.
#[derive(Clone)]
pub struct Token {
    handle: [u8; HANDLE],
    secret: [u8; SECRET],
}

impl Token {
    /// The first token of a session.
    pub fn random() -> Self {
        Self {
            handle: rand::random(),
            secret: rand::random(),
        }
    }

    /// Reads a token; `None` for what is none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (handle, secret) = bytes.split_first_chunk::<HANDLE>()?;
        Some(Self {
            handle: *handle,
            secret: secret.try_into().ok()?,
        })
    }

    /// What the bearer sends.
    pub fn text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode([&self.handle[..], &self.secret[..]].concat())
    }

    /// What the session is found by.
    pub fn handle_hash(&self) -> String {
        hex::encode(Sha256::digest(self.handle))
    }

    /// What the token is recognised by.
    pub fn secret_hash(&self) -> String {
        hex::encode(Sha256::digest(self.secret))
    }

    /// The token that follows this one in a session with this key.
    pub fn next(&self, key: &[u8]) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
        mac.update(&self.secret);
        Some(Self {
            handle: self.handle,
            secret: mac.finalize().into_bytes().into(),
        })
    }
}

/// What a session knows of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Computes successors.
    pub key: Vec<u8>,
    /// Hash of the token that is good.
    pub current: String,
    /// Hashes of those spent last and when, the newest last.
    pub spent: Vec<(String, Timestamp)>,
    /// When the current token ends.
    pub expires_at: Timestamp,
    /// When the session ends.
    pub ends_at: Timestamp,
}

/// What is to be done about a token that came.
#[derive(Clone)]
pub enum Step {
    /// It is good: the session goes on with the next.
    Exchange {
        /// What follows it.
        next: Token,
        /// What the session then knows.
        after: Tokens,
    },
    /// It was spent just now: its answer is repeated.
    Repeat {
        /// The token that is good now.
        current: Token,
        /// When it was made.
        made_at: Timestamp,
    },
    /// It is over.
    Over,
    /// It was spent long ago, so two have it.
    Stolen,
}

impl Tokens {
    /// What a new session knows of its first token.
    pub fn first(token: &Token, now: Timestamp) -> Self {
        Self {
            key: rand::random::<[u8; 32]>().to_vec(),
            current: token.secret_hash(),
            spent: Vec::new(),
            expires_at: now + TOKEN_TTL,
            ends_at: now + SESSION_TTL,
        }
    }

    /// What is to be done about a token of this session.
    pub fn step(&self, token: &Token, now: Timestamp) -> Step {
        if now >= self.expires_at.min(self.ends_at) {
            return Step::Over;
        }
        let shown = token.secret_hash();
        if shown == self.current {
            return self.exchange(token, now);
        }
        let spent_just_now = self
            .spent
            .iter()
            .any(|(hash, at)| *hash == shown && now < *at + GRACE);
        match self.spent.last() {
            Some((_, made_at)) if spent_just_now => {
                self.current_after(token)
                    .map_or(Step::Stolen, |current| Step::Repeat {
                        current,
                        made_at: *made_at,
                    })
            }
            _ => Step::Stolen,
        }
    }

    fn exchange(&self, token: &Token, now: Timestamp) -> Step {
        let Some(next) = token.next(&self.key) else {
            return Step::Over;
        };
        let mut spent = self.spent.clone();
        spent.push((self.current.clone(), now));
        let surplus = spent.len().saturating_sub(REMEMBERED);
        spent.drain(..surplus);
        let after = Self {
            key: self.key.clone(),
            current: next.secret_hash(),
            spent,
            expires_at: (now + TOKEN_TTL).min(self.ends_at),
            ends_at: self.ends_at,
        };
        Step::Exchange { next, after }
    }

    /// The current token, found by going on from one that was spent.
    fn current_after(&self, token: &Token) -> Option<Token> {
        let mut token = token.clone();
        for _ in 0..REMEMBERED {
            token = token.next(&self.key)?;
            if token.secret_hash() == self.current {
                return Some(token);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn after(seconds: u64) -> Timestamp {
        start() + Duration::from_secs(seconds)
    }

    fn exchange(tokens: &Tokens, token: &Token, now: Timestamp) -> (Token, Tokens) {
        match tokens.step(token, now) {
            Step::Exchange { next, after } => (next, after),
            _ => panic!("the token is good"),
        }
    }

    #[test]
    fn a_token_survives_its_text() {
        let token = Token::random();
        assert_eq!(Token::parse(&token.text()).unwrap().text(), token.text());
        for bad in ["", "x", "é", &token.text()[1..], &format!("{}AAAA", token.text())] {
            assert!(Token::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_spent_token_has_the_same_answer_for_some_seconds_and_is_theft_after() {
        let first = Token::random();
        let (second, tokens) = exchange(&Tokens::first(&first, start()), &first, after(0));
        for seconds in [0, 29] {
            match tokens.step(&first, after(seconds)) {
                Step::Repeat { current, made_at } => {
                    assert_eq!((current.text(), made_at), (second.text(), after(0)));
                }
                _ => panic!("within the grace"),
            }
        }
        assert!(matches!(tokens.step(&first, after(30)), Step::Stolen));
        assert!(matches!(tokens.step(&second, after(30)), Step::Exchange { .. }));
    }

    #[test]
    fn tabs_that_exchange_in_a_row_all_get_the_newest() {
        let first = Token::random();
        let (second, tokens) = exchange(&Tokens::first(&first, start()), &first, after(0));
        let (third, tokens) = exchange(&tokens, &second, after(5));
        match tokens.step(&first, after(6)) {
            Step::Repeat { current, made_at } => {
                assert_eq!((current.text(), made_at), (third.text(), after(5)));
            }
            _ => panic!("within the grace of the first"),
        }
        assert!(matches!(tokens.step(&first, after(32)), Step::Stolen));
        assert!(matches!(tokens.step(&second, after(32)), Step::Repeat { .. }));
    }

    #[test]
    fn a_session_ends_however_often_it_is_refreshed() {
        let mut token = Token::random();
        let mut tokens = Tokens::first(&token, start());
        for week in 1..=12 {
            (token, tokens) = exchange(&tokens, &token, after(week * 7 * 24 * 3_600));
            assert!(tokens.spent.len() <= REMEMBERED);
        }
        assert!(matches!(tokens.step(&token, start() + SESSION_TTL), Step::Over));
        let idle = Tokens::first(&token, start());
        assert!(matches!(idle.step(&token, start() + TOKEN_TTL), Step::Over));
    }

    #[test]
    fn a_made_up_secret_gets_nothing() {
        let first = Token::random();
        let tokens = Tokens::first(&first, start());
        let mut forged = Token::random();
        forged.handle = first.handle;
        assert!(matches!(tokens.step(&forged, start()), Step::Stolen));
    }
}
