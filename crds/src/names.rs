//! What a sale's objects are found by, and what people may write on a FlashSale beside its spec.

use kube::ResourceExt;

/// Label of every object that the operator makes: who made it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Label of a sale's objects: the sale's name.
pub const SALE_LABEL: &str = "quicksale.io/sale";
/// Label of the objects of one service: the component's name.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
/// Label of a sale's report: the sale's name. It is not among the sale's objects, since it stays when they go.
pub const REPORT_LABEL: &str = "quicksale.io/report";
/// Annotation of a report: the sale's uid, since another sale may have had the same name.
pub const SALE_UID_ANNOTATION: &str = "quicksale.io/sale-uid";
/// Label of a namespace whose sales may use the operator's own backends, where it has the value [`SHARED`].
pub const BACKENDS_LABEL: &str = "quicksale.io/backends";
/// The value of [`BACKENDS_LABEL`].
pub const SHARED: &str = "shared";

/// `true` keeps what was made for the sale as it is. The doors are steered all the same.
pub const PAUSED_ANNOTATION: &str = "quicksale.io/paused";
/// A word opens a sale that is closed once more, whenever it is another than the last.
pub const REOPEN_ANNOTATION: &str = "quicksale.io/reopen";
/// `true` rolls out at once what would start the pods of an open sale anew.
pub const ALLOW_ROLLOUT_ANNOTATION: &str = "quicksale.io/allow-rollout";
/// A word has the sale sign with a new key, whenever it is another than the last.
pub const ROTATE_ANNOTATION: &str = "quicksale.io/rotate-signing-key";
/// `true` has the sale use what is in its backends already, and own it from then on.
pub const TAKE_OVER_ANNOTATION: &str = "quicksale.io/take-over";
/// `true` lets a deleted sale go whatever becomes of its orders.
pub const FORCE_DELETE_ANNOTATION: &str = "quicksale.io/force-delete";

/// Whether an annotation says `true`.
pub fn says_true(object: &impl ResourceExt, annotation: &str) -> bool {
    object
        .annotations()
        .get(annotation)
        .is_some_and(|word| word == "true")
}
