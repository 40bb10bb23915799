//! Names and identifiers. Each is its own type, so that an order's id can never be passed for a product's.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a string is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidId {
    /// Which identifier was refused.
    pub what: &'static str,
    /// The rule it broke, in words.
    pub rule: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps an id that was made by this system or read from its own store.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// A user of the platform, opaque to everyone but auth.
    UserId
);
id!(
    /// An order. See [`OrderId::derive`] for where it comes from.
    OrderId
);
id!(
    /// A product of one sale, opaque to API users.
    ProductId
);

impl OrderId {
    /// The id of the one order that a user's idempotency key can make.
    ///
    /// Deriving it (32 hex digits of SHA-256 over length-prefixed parts) makes "one key of one user, one order"
    /// a property of the primary key: two racing requests cannot insert two orders.
    pub fn derive(user: &UserId, idempotency_key: &str) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for part in [user.as_str(), idempotency_key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hex::encode(&hash.finalize()[..16]))
    }
}

/// A stock keeping unit: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

impl Sku {
    /// The longest SKU, in characters.
    pub const LONGEST: usize = 64;

    /// Checks and wraps a SKU.
    ///
    /// # Errors
    /// [`InvalidId`] when the text breaks the rule above.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let first_ok = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        let rest_ok = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if first_ok && rest_ok && text.len() <= Self::LONGEST {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId {
                what: "sku",
                rule: "1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit",
            })
        }
    }

    /// The SKU as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of this SKU's product inside a sale: SHA-256 of the SKU, 24 hex digits. Deriving it makes creating
    /// the same product twice land on the same document.
    pub fn product_id(&self) -> ProductId {
        use sha2::{Digest, Sha256};
        ProductId(hex::encode(&Sha256::digest(self.0.as_bytes())[..12]))
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sku {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0
    }
}

/// One FlashSale in one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SaleId {
    /// Kubernetes namespace, a DNS label.
    pub namespace: String,
    /// Name of the FlashSale, a DNS label.
    pub name: String,
}

impl SaleId {
    /// The database that holds this sale's own data. Rehearsals get a twin, so that a rehearsal can be wiped
    /// without a thought for the sale. MongoDB allows 63 bytes; longer names are cut and made unique by a hash.
    pub fn database(&self, rehearsal: bool) -> String {
        use sha2::{Digest, Sha256};
        let prefix = if rehearsal { "qsr" } else { "qs" };
        let plain = format!("{prefix}_{}_{}", self.namespace, self.name);
        if plain.len() <= 60 {
            return plain;
        }
        let digest = hex::encode(&Sha256::digest(self.to_string().as_bytes())[..8]);
        format!("{}_{digest}", &plain[..plain.floor_char_boundary(43)])
    }

    /// The prefix of every Redis key of this sale. The braces keep all of them in one hash slot of a cluster.
    pub fn redis_prefix(&self, rehearsal: bool) -> String {
        let kind = if rehearsal { "qsr" } else { "qs" };
        format!("{kind}:{{{self}}}:")
    }

    /// The topic prefix used when a FlashSale names none: `<namespace>.<name>.`
    pub fn default_topic_prefix(&self, rehearsal: bool) -> String {
        let suffix = if rehearsal { "rehearsal." } else { "" };
        format!("{self}.{suffix}")
    }
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_depends_on_user_and_key_and_their_border() {
        let id = |u: &str, k: &str| OrderId::derive(&UserId::new(u), k);
        assert_eq!(id("ab", "c"), id("ab", "c"));
        assert_ne!(id("ab", "c"), id("a", "bc"));
        assert_ne!(id("u1", "order-001"), id("u2", "order-001"));
        assert_eq!(id("u", "k").as_str().len(), 32);
    }

    #[test]
    fn skus_are_checked() {
        assert!(Sku::parse("FLASH-LAPTOP-001").is_ok());
        for bad in ["", "-x", "a b", "é", &"x".repeat(65)] {
            assert!(Sku::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn long_sale_names_get_a_short_unique_database() {
        let sale = |name: String| SaleId {
            namespace: "n".repeat(40),
            name,
        };
        let (a, b) = (sale("x".repeat(60)), sale("x".repeat(59) + "y"));
        assert!(a.database(false).len() <= 63);
        assert_ne!(a.database(false), b.database(false));
        assert_ne!(a.database(false), a.database(true));
    }
}
