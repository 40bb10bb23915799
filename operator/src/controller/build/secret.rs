//! The Secrets of a sale: its signing keys, and copies of what its pods may not read elsewhere.

use super::{Child, Kind, Plan};
use k8s_openapi::ByteString;
use platform::config::paths;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The suffix of the Secret with the keys.
pub const SIGNING_KEYS: &str = "signing-keys";
/// The suffix of the copy of the operator's backends Secret.
pub const BACKENDS: &str = "backends";
/// The suffix of the copy of the administrator's Secret.
pub const ADMIN: &str = "admin";

/// The suffix of each Secret that a sale can have: they are read by these names, for want of a right to list any.
pub const SECRETS: [&str; 3] = [SIGNING_KEYS, BACKENDS, ADMIN];

pub(super) fn signing_keys(plan: &Plan<'_>) -> Child {
    let data = BTreeMap::from([
        (
            paths::SIGNING_KEY_FILE.to_owned(),
            plan.keys.private_pem.clone().into_bytes(),
        ),
        (
            paths::JWKS_FILE.to_owned(),
            plan.keys.jwks_json.clone().into_bytes(),
        ),
    ]);
    Child::new(plan.sale, Kind::Secret, SIGNING_KEYS, opaque(&data))
}

/// Pods read Secrets of their own namespace only.
pub(super) fn backends(plan: &Plan<'_>) -> Option<Child> {
    plan.backends_copy
        .map(|data| Child::new(plan.sale, Kind::Secret, BACKENDS, opaque(data)))
}

pub(super) fn admin(plan: &Plan<'_>) -> Option<Child> {
    plan.admin
        .map(|data| Child::new(plan.sale, Kind::Secret, ADMIN, opaque(data)))
}

fn opaque(data: &BTreeMap<String, Vec<u8>>) -> Value {
    let data: BTreeMap<&String, ByteString> = data.iter().map(|(k, v)| (k, ByteString(v.clone()))).collect();
    json!({"type": "Opaque", "data": data})
}
