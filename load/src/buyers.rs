//! Buyers with tokens of their own. Each places one order: rate limits are by user.

use crate::orders::Key;
use anyhow::Context;
use jiff::Timestamp;
use platform::tokens::{Role, Signer};
use sale::UserId;
use std::path::Path;

/// Mints tokens with the key of the system that is measured.
#[derive(Debug)]
pub struct Mint {
    signer: Signer,
}

/// One buyer.
#[derive(Debug, Clone)]
pub struct Buyer {
    /// The access token.
    pub token: String,
    /// The Idempotency-Key of the first order.
    pub key: String,
}

impl Buyer {
    /// The buyer as one who orders for the first time; who comes again under new keys has another one then.
    pub fn first(&self, again: Key) -> Self {
        let key = match again {
            Key::Same => self.key.clone(),
            Key::New => format!("{}-first", self.key),
        };
        Self {
            token: self.token.clone(),
            key,
        }
    }
}

impl Mint {
    /// Reads the signing key.
    pub fn read(keys: &Path) -> anyhow::Result<Self> {
        let signer =
            Signer::read(keys).context("--keys must name the key directory of the running system")?;
        Ok(Self { signer })
    }

    /// An admin's token.
    pub fn admin(&self) -> anyhow::Result<String> {
        Ok(self
            .signer
            .access_token(&UserId::new("bench-admin"), Role::Admin, Timestamp::now())?)
    }

    /// A service's token, good for a minute.
    pub fn service(&self) -> anyhow::Result<String> {
        Ok(self.signer.service_token("bench", Timestamp::now())?)
    }

    /// So many buyers that nobody has seen before.
    pub fn buyers(&self, run: &str, count: u32) -> anyhow::Result<Vec<Buyer>> {
        let parts = std::thread::available_parallelism().map_or(1, usize::from);
        let numbers: Vec<u32> = (0..count).collect();
        let minted = std::thread::scope(|scope| {
            let mint = |part: &'_ [u32]| {
                part.iter()
                    .map(|number| self.buyer(run, *number))
                    .collect::<Vec<_>>()
            };
            let parts: Vec<_> = numbers
                .chunks(numbers.len().div_ceil(parts).max(1))
                .map(|part| scope.spawn(move || mint(part)))
                .collect();
            parts
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        let mut buyers = Vec::with_capacity(numbers.len());
        for part in minted {
            for buyer in part.map_err(|_| anyhow::anyhow!("minting tokens has panicked"))? {
                buyers.push(buyer?);
            }
        }
        Ok(buyers)
    }

    fn buyer(&self, run: &str, number: u32) -> anyhow::Result<Buyer> {
        let user = format!("bench-{run}-{number}");
        let id = UserId::new(user.as_str());
        let token = self.signer.access_token(&id, Role::Buyer, Timestamp::now())?;
        Ok(Buyer { token, key: user })
    }
}
