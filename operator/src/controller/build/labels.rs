//! Names and labels of a sale's objects.

use crds::names::{COMPONENT_LABEL, MANAGED_BY_LABEL, SALE_LABEL};
use serde_json::{Value, json};

/// Who makes these objects: the field manager and the value of [`MANAGED_BY_LABEL`].
pub const MANAGER: &str = "quicksale-operator";
/// Annotation with the hash of what was applied.
pub const APPLIED_HASH: &str = "quicksale.io/applied-hash";

/// Annotation of pod templates with the hash of the backends Secret.
pub const BACKENDS_HASH: &str = "quicksale.io/backends-hash";

/// The component of a rehearsal's load.
pub const LOAD: &str = "load";

/// The name of an object: `<sale>-<suffix>`. A sale's name has at most 40 characters, so all of them are valid.
pub fn object_name(sale: &str, suffix: &str) -> String {
    format!("{sale}-{suffix}")
}

/// Selects everything that the operator made for a sale.
pub fn sale_selector(sale: &str) -> String {
    format!("{MANAGED_BY_LABEL}={MANAGER},{SALE_LABEL}={sale}")
}

pub(super) fn all_labels(sale: &str, component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": "quicksale",
        "app.kubernetes.io/instance": sale,
        COMPONENT_LABEL: component,
        MANAGED_BY_LABEL: MANAGER,
        SALE_LABEL: sale,
    })
}

/// What a Deployment and a Service select pods by. It can never change for an object that exists.
pub(super) fn pod_selector(sale: &str, component: &str) -> Value {
    json!({SALE_LABEL: sale, COMPONENT_LABEL: component})
}
