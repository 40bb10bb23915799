//! Buyers with tokens of their own. Each places one order: rate limits are by user.

use anyhow::Context;
use jiff::Timestamp;
use platform::tokens::{Role, Signer};
use sale::UserId;
use std::path::Path;

/// Mints tokens with the key of the system that is measured.
#[derive(Debug)]
pub(crate) struct Mint {
    signer: Signer,
}

/// One buyer.
#[derive(Debug, Clone)]
pub(crate) struct Buyer {
    /// The access token.
    pub(crate) token: String,
    /// The Idempotency-Key of the one order.
    pub(crate) key: String,
}

impl Mint {
    /// Reads the signing key.
    pub(crate) fn read(keys: &Path) -> anyhow::Result<Self> {
        let signer =
            Signer::read(keys).context("--keys must name the key directory of the running system")?;
        Ok(Self { signer })
    }

    /// An admin's token.
    pub(crate) fn admin(&self) -> anyhow::Result<String> {
        Ok(self
            .signer
            .access_token(&UserId::new("bench-admin"), Role::Admin, Timestamp::now())?)
    }

    /// A service's token, good for a minute.
    pub(crate) fn service(&self) -> anyhow::Result<String> {
        Ok(self.signer.service_token("bench", Timestamp::now())?)
    }

    /// So many buyers that nobody has seen before.
    pub(crate) fn buyers(&self, run: &str, count: u32) -> anyhow::Result<Vec<Buyer>> {
        (0..count)
            .map(|number| {
                let user = format!("bench-{run}-{number}");
                let token =
                    self.signer
                        .access_token(&UserId::new(user.as_str()), Role::Buyer, Timestamp::now())?;
                Ok(Buyer { token, key: user })
            })
            .collect()
    }
}
