//! The Secrets of a sale: its signing keys, and copies of what its pods may not read elsewhere.

use super::{Child, Kind, Plan};
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The suffix of the Secret with the keys.
pub const SIGNING_KEYS: &str = "signing-keys";
/// The suffix of the copy of the operator's backends Secret.
pub const BACKENDS: &str = "backends";
/// The suffix of the Secret with what auth checks the platform's administrator by.
pub const ADMIN: &str = "admin";

/// The file in which auth looks for the administrator's address.
pub const ADMIN_EMAIL_FILE: &str = "email";
/// The file in which auth looks for the hash of the administrator's password.
pub const ADMIN_HASH_FILE: &str = "passwordHash";
/// The file in which auth looks for the administrator's password, where there is no hash.
pub(super) const ADMIN_PASSWORD_FILE: &str = "password";

/// The suffix of each Secret that a sale can have: they are read by these names, for want of a right to list any.
pub const SECRETS: [&str; 3] = [SIGNING_KEYS, BACKENDS, ADMIN];

pub(super) fn signing_keys(plan: &Plan<'_>) -> Child {
    Child::new(plan.sale, Kind::Secret, SIGNING_KEYS, opaque(plan.keys))
}

/// Pods read Secrets of their own namespace only.
pub(super) fn backends(plan: &Plan<'_>) -> Option<Child> {
    plan.backends_copy
        .map(|data| Child::new(plan.sale, Kind::Secret, BACKENDS, opaque(data)))
}

/// The address and the password's hash: whoever reads the sale's Secrets must not be able to log in elsewhere.
pub(super) fn admin(plan: &Plan<'_>) -> Option<Child> {
    let administrator = plan.admin?;
    let data = [
        (ADMIN_EMAIL_FILE, &administrator.email),
        (ADMIN_HASH_FILE, &administrator.password_hash),
    ];
    let data = data.map(|(name, value)| (name.to_owned(), value.clone().into_bytes()));
    Some(Child::new(
        plan.sale,
        Kind::Secret,
        ADMIN,
        opaque(&BTreeMap::from(data)),
    ))
}

fn opaque(data: &BTreeMap<String, Vec<u8>>) -> Value {
    let data: BTreeMap<&String, ByteString> = data.iter().map(|(k, v)| (k, ByteString(v.clone()))).collect();
    json!({"type": "Opaque", "data": data})
}
