//! A FlashSale that the operator cannot read: one that an older, laxer definition let in, or one of a newer operator.
//!
//! It hurts itself alone. What was made for it is left as it is, so that an open sale goes on selling; it says in its
//! conditions what is wrong; and when it is deleted, it goes.

use super::{build::MANAGER, cleanup, context::Context, error::Error, fetch, observed::Observed, prune};
use crate::deadline::within;
use crds::{FlashSale, status::ConditionType};
use jiff::Timestamp;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, DeserializeGuard, DynamicObject, error_boundary::InvalidObject},
    runtime::events::EventType,
};
use serde_json::{Value, json};

/// One word for the conditions.
const REASON: &str = "Unreadable";

/// Says what is wrong, or lets the object go; returns `false` where it has to be looked at again soon.
///
/// # Errors
/// [`Error`].
pub async fn handle(context: &Context, invalid: &InvalidObject) -> Result<bool, Error> {
    let sale = DeserializeGuard::<FlashSale>(Err(invalid.clone()));
    let sentence = format!(
        "this FlashSale cannot be read ({}); apply it anew with a value that is one, or delete it",
        invalid.error
    );
    if sale.meta().deletion_timestamp.is_some() {
        return let_go(context, &sale).await;
    }
    say(context, &sale, &sentence).await?;
    Ok(true)
}

/// What was made goes; topics and data stay, for nobody knows which they are. Returns `false` while what was made is not known.
async fn let_go(context: &Context, sale: &DeserializeGuard<FlashSale>) -> Result<bool, Error> {
    if !cleanup::is_held(sale) {
        return Ok(true);
    }
    let Some(children) = fetch::all_children(context, sale).await? else {
        return Ok(false);
    };
    let observed = Observed {
        children,
        ..Observed::default()
    };
    let note = "the FlashSale cannot be read, so its topics and its database, if it has any, are left behind";
    context
        .event(
            sale,
            EventType::Warning,
            "CleanUp",
            "DataLeftBehind",
            note.to_owned(),
        )
        .await;
    let namespace = sale.namespace().unwrap_or_default();
    prune::prune(context, &namespace, &observed, &[]).await?;
    cleanup::release(context, sale).await?;
    Ok(true)
}

async fn say(context: &Context, sale: &DeserializeGuard<FlashSale>, sentence: &str) -> Result<(), Error> {
    let resource = ApiResource::erase::<FlashSale>(&());
    let namespace = sale.namespace().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &resource);
    let Some(raw) = within(api.get_opt(&sale.name_any())).await? else {
        return Ok(());
    };
    let before = raw.data["status"]["conditions"].clone();
    let is_seen = raw.data["status"]["observedGeneration"].as_i64() == sale.meta().generation;
    if is_seen && is_said(&before, sentence) {
        return Ok(());
    }
    let now = context.clock.now();
    let condition = |kind: ConditionType, value: &str| {
        json!({
            "type": kind.as_str(), "status": value, "reason": REASON, "message": sentence,
            "lastTransitionTime": since(&before, kind, value, now), "observedGeneration": sale.meta().generation,
        })
    };
    let conditions = [
        condition(ConditionType::Ready, "False"),
        condition(ConditionType::Degraded, "True"),
    ];
    // A manager of its own: under the usual one, everything else in the status would be taken away.
    let body = json!({
        "apiVersion": FlashSale::api_version(&()), "kind": FlashSale::kind(&()),
        "metadata": {"name": sale.name_any(), "uid": sale.uid()},
        "status": {"conditions": conditions, "message": sentence, "observedGeneration": sale.meta().generation},
    });
    let params = PatchParams::apply(&format!("{MANAGER}-unreadable")).force();
    within(api.patch_status(&sale.name_any(), &params, &Patch::Apply(&body))).await?;
    context
        .event(sale, EventType::Warning, "Read", REASON, sentence.to_owned())
        .await;
    Ok(())
}

fn condition(conditions: &Value, kind: ConditionType) -> Option<&Value> {
    let all = conditions.as_array()?;
    all.iter().find(|condition| condition["type"] == kind.as_str())
}

fn is_said(conditions: &Value, sentence: &str) -> bool {
    [ConditionType::Ready, ConditionType::Degraded]
        .into_iter()
        .all(|kind| {
            condition(conditions, kind).is_some_and(|c| c["reason"] == REASON && c["message"] == sentence)
        })
}

/// When a condition took the value that it has, as text: what was written may be no time at all.
fn since(conditions: &Value, kind: ConditionType, value: &str, now: Timestamp) -> Value {
    condition(conditions, kind)
        .filter(|condition| condition["status"] == value)
        .map_or_else(|| json!(now), |condition| condition["lastTransitionTime"].clone())
}
