//! The keys that a sale's tokens are signed with, and how one follows another without anybody noticing.
//!
//! A new key is published before it signs ([`SPREAD`]), so that every process knows it by then; the one that signed before
//! stays published for as long as a token of it may be good. Nothing is started anew for that: the processes look at the files
//! that they are mounted from.

use jiff::{SignedDuration, Timestamp};
use platform::{
    config::paths::{JWKS_FILE, SIGNING_KEY_FILE},
    tokens::{ACCESS_TOKEN_TTL, KeyError, KeyPair, key_set},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long it takes at most until what is written into a Secret is in every pod: the kubelet looks every minute or so, and its
/// cache may be as old again. Doubled, for nodes that are busy.
pub const SPREAD: SignedDuration = SignedDuration::from_mins(5);

/// The key of the Secret with the private key that comes next.
const NEXT_KEY_FILE: &str = "next-signing-key.pem";
/// The key of the Secret that says where the rotation stands.
const ROTATION_FILE: &str = "rotation.json";

/// When keys change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a key signs before another takes its place.
    pub lifetime: SignedDuration,
    /// How long it takes until every process has what is written into the Secret.
    pub spread: SignedDuration,
}

impl Pace {
    /// How long the last key stays published: tokens that it signed are good for so long, and it may have signed until every
    /// process knew better.
    fn afterlife(self) -> SignedDuration {
        SignedDuration::try_from(ACCESS_TOKEN_TTL).unwrap_or(SignedDuration::from_mins(15)) + self.spread
    }
}

/// The keys of a sale.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: KeyPair,
    next: Option<Next>,
    previous: Option<Retired>,
    since: Timestamp,
    first: String,
    asked: Option<String>,
}

/// A key that is published, and does not sign yet.
#[derive(Debug, Clone)]
struct Next {
    pair: KeyPair,
    published_at: Timestamp,
}

/// A key that is published, and signs no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Retired {
    jwks: String,
    since: Timestamp,
}

/// Where the rotation stands, as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    current: String,
    since: Timestamp,
    first: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<NextPublic>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Retired>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NextPublic {
    jwks: String,
    published_at: Timestamp,
}

impl KeyRing {
    /// The first key of a sale. What was asked for before there was one is done with it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn generate(asked: Option<&str>, now: Timestamp) -> Result<Self, KeyError> {
        Ok(Self::of(KeyPair::generate()?, asked, now))
    }

    fn of(current: KeyPair, asked: Option<&str>, now: Timestamp) -> Self {
        Self {
            first: current.jwks_json.clone(),
            current,
            next: None,
            previous: None,
            since: now,
            asked: asked.map(noted),
        }
    }

    /// Reads the keys from their Secret, if they are there and whole. Where it says nothing of a rotation, as an older operator
    /// wrote it, its key has signed since now.
    pub fn read(data: &BTreeMap<String, Vec<u8>>, now: Timestamp) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.clone()).ok();
        let private_pem = text(SIGNING_KEY_FILE)?;
        let published = text(JWKS_FILE)?;
        let rotation = text(ROTATION_FILE).and_then(|text| serde_json::from_str::<Rotation>(&text).ok());
        let Some(rotation) = rotation else {
            let pair = KeyPair {
                private_pem,
                jwks_json: published,
            };
            return Some(Self::of(pair, None, now));
        };
        let next = rotation.next.zip(text(NEXT_KEY_FILE));
        Some(Self {
            current: KeyPair {
                private_pem,
                jwks_json: rotation.current,
            },
            next: next.map(|(public, private_pem)| Next {
                pair: KeyPair {
                    private_pem,
                    jwks_json: public.jwks,
                },
                published_at: public.published_at,
            }),
            previous: rotation.previous,
            since: rotation.since,
            first: rotation.first,
            asked: rotation.asked,
        })
    }

    /// The keys as the Secret holds them.
    ///
    /// # Errors
    /// [`KeyError`] when a public key is none.
    pub fn data(&self) -> Result<BTreeMap<String, Vec<u8>>, KeyError> {
        let rotation = Rotation {
            current: self.current.jwks_json.clone(),
            since: self.since,
            first: self.first.clone(),
            next: self.next.as_ref().map(|next| NextPublic {
                jwks: next.pair.jwks_json.clone(),
                published_at: next.published_at,
            }),
            previous: self.previous.clone(),
            asked: self.asked.clone(),
        };
        let rotation = serde_json::to_string(&rotation).unwrap_or_default();
        let mut data = BTreeMap::from([
            (SIGNING_KEY_FILE.to_owned(), self.current.private_pem.clone()),
            (JWKS_FILE.to_owned(), self.published()?),
            (ROTATION_FILE.to_owned(), rotation),
        ]);
        if let Some(next) = &self.next {
            data.insert(NEXT_KEY_FILE.to_owned(), next.pair.private_pem.clone());
        }
        Ok(data
            .into_iter()
            .map(|(key, value)| (key, value.into_bytes()))
            .collect())
    }

    fn published(&self) -> Result<String, KeyError> {
        let next = self.next.as_ref().map(|next| next.pair.jwks_json.as_str());
        let previous = self.previous.as_ref().map(|previous| previous.jwks.as_str());
        let all = [Some(self.current.jwks_json.as_str()), next, previous];
        key_set(all.into_iter().flatten())
    }

    /// The private key that signs now, as PEM.
    pub fn signing_pem(&self) -> &str {
        &self.current.private_pem
    }

    /// The public key that the sale began with. When it changes, the Secret was lost: nobody was told of its key in time, and
    /// everybody starts anew.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// Takes the next step that is due.
    ///
    /// # Errors
    /// [`KeyError`] when a new key cannot be made.
    pub fn advance(mut self, asked: Option<&str>, pace: Pace, now: Timestamp) -> Result<Self, KeyError> {
        let passed = |since: Timestamp, wait: SignedDuration| now.duration_since(since) >= wait;
        if self
            .previous
            .as_ref()
            .is_some_and(|previous| passed(previous.since, pace.afterlife()))
        {
            self.previous = None;
        }
        // One that is still published from the time before is not pushed out: its tokens are good.
        if self.previous.is_none() {
            self.next = match self.next.take() {
                Some(next) if passed(next.published_at, pace.spread) => {
                    let before = std::mem::replace(&mut self.current, next.pair);
                    self.previous = Some(Retired {
                        jwks: before.jwks_json,
                        since: now,
                    });
                    self.since = now;
                    None
                }
                waiting => waiting,
            };
        }
        let asked = asked.map(noted);
        let is_asked = asked.is_some() && asked != self.asked;
        if self.next.is_none() && (is_asked || passed(self.since, pace.lifetime)) {
            self.asked = asked.or_else(|| self.asked.take());
            self.next = Some(Next {
                pair: KeyPair::generate()?,
                published_at: now,
            });
        }
        Ok(self)
    }
}

/// As much of an annotation as is kept.
fn noted(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::tokens::{Role, Signer, TokenError, Verifier};
    use sale::UserId;

    const PACE: Pace = Pace {
        lifetime: SignedDuration::from_hours(24),
        spread: SPREAD,
    };

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// What the processes of a sale hold of a ring: those that sign, and those that verify.
    fn held(ring: &KeyRing) -> (Signer, Verifier) {
        let data = ring.data().unwrap();
        let pem = String::from_utf8(data[SIGNING_KEY_FILE].clone()).unwrap();
        (
            Signer::from_pem(&pem).unwrap(),
            Verifier::from_jwks(&data[JWKS_FILE]).unwrap(),
        )
    }

    fn stored(ring: &KeyRing, now: Timestamp) -> KeyRing {
        KeyRing::read(&ring.data().unwrap(), now).unwrap()
    }

    /// Whatever minute it is, and whichever of the last states a process still holds: a token that was signed is verified
    /// until it ends.
    #[test]
    fn every_token_is_good_until_it_ends_wherever_it_goes() {
        let minute = SignedDuration::from_mins(1);
        let mut ring = KeyRing::generate(None, start()).unwrap();
        let mut states = Vec::new();
        let mut kinds = std::collections::BTreeSet::new();
        for step in 0..60 {
            let now = start() + minute * step;
            // A new key is asked for at the third minute, and twice more while one is on its way.
            let asked = match step {
                0..3 => None,
                3..6 => Some("first"),
                6..40 => Some("second"),
                _ => Some("third"),
            };
            ring = stored(&ring, now).advance(asked, PACE, now).unwrap();
            kinds.insert(ring.current.jwks_json.clone());
            states.push((now, held(&ring)));
            let token_of =
                |signer: &Signer, at| signer.access_token(&UserId::new("u"), Role::Buyer, at).unwrap();
            // A process holds one of the states of the last five minutes.
            let recent = states.len().saturating_sub(5)..;
            for (_, (signer, _)) in &states[recent.clone()] {
                let token = token_of(signer, now);
                for (_, (_, verifier)) in &states[recent.clone()] {
                    verifier.verify(&token, now).unwrap();
                }
            }
            // Tokens that were signed within their life are still verified by everybody.
            for (at, (signer, _)) in &states {
                let signed = *at + minute * 4;
                let token = token_of(signer, signed);
                if now >= signed && now.duration_since(signed) < SignedDuration::from_mins(15) {
                    for (_, (_, verifier)) in &states[recent.clone()] {
                        assert_ne!(
                            verifier.verify(&token, now),
                            Err(TokenError::Invalid),
                            "minute {step}"
                        );
                    }
                }
            }
        }
        assert_eq!(
            kinds.len(),
            4,
            "the first key, and one for each time that it was asked for"
        );
    }

    #[test]
    fn a_key_ends_with_its_lifetime_and_its_public_half_with_the_last_token() {
        let now = start();
        let first = KeyRing::generate(Some("asked before"), now).unwrap();
        let kids = |ring: &KeyRing| {
            Verifier::from_jwks(&ring.data().unwrap()[JWKS_FILE])
                .unwrap()
                .jwks()["keys"]
                .as_array()
                .unwrap()
                .len()
        };
        let same = first.clone().advance(Some("asked before"), PACE, now).unwrap();
        assert_eq!(
            kids(&same),
            1,
            "what was asked for before the first key was made is done"
        );
        let day = now + PACE.lifetime;
        let next = same.advance(None, PACE, day).unwrap();
        assert_eq!(
            (kids(&next), next.signing_pem()),
            (2, first.signing_pem()),
            "published, and not signing"
        );
        let soon = next
            .advance(None, PACE, day + SPREAD - SignedDuration::from_secs(1))
            .unwrap();
        assert_eq!(soon.signing_pem(), first.signing_pem());
        let turned = soon.advance(None, PACE, day + SPREAD).unwrap();
        assert_ne!(turned.signing_pem(), first.signing_pem());
        assert_eq!(kids(&turned), 2, "the last one stays published");
        let later = day + SPREAD + PACE.afterlife();
        let before = turned
            .clone()
            .advance(None, PACE, later - SignedDuration::from_secs(1))
            .unwrap();
        assert_eq!(kids(&before), 2);
        assert_eq!(kids(&before.advance(None, PACE, later).unwrap()), 1);
        assert_eq!(turned.first(), first.first(), "nobody is started anew");
    }

    #[test]
    fn a_secret_of_an_older_operator_is_taken_as_it_is() {
        let pair = KeyPair::generate().unwrap();
        let data = BTreeMap::from([
            (SIGNING_KEY_FILE.to_owned(), pair.private_pem.clone().into_bytes()),
            (JWKS_FILE.to_owned(), pair.jwks_json.clone().into_bytes()),
        ]);
        let ring = KeyRing::read(&data, start()).unwrap();
        assert_eq!(
            (ring.signing_pem(), ring.first()),
            (pair.private_pem.as_str(), pair.jwks_json.as_str())
        );
        assert!(KeyRing::read(&BTreeMap::new(), start()).is_none());
    }
}
