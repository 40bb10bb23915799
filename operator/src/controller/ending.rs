//! The report of a sale that has ended, and the end of a rehearsal's data.

use super::{
    apply::{ApplyError, ApplyErrors},
    build::MANAGER,
    cleanup,
    closing::Closed,
    context::Context,
    error::Error,
    observed::Observed,
};
use crate::{
    deadline::within,
    report::{
        Durations, Faults, Moments, Orders, Refusals, RehearsalResult, Report, VERSION, Versions, text::Text,
    },
};
use crds::{
    FlashSale, FlashSaleStatus, ValidSale,
    names::{MANAGED_BY_LABEL, REPORT_LABEL, SALE_UID_ANNOTATION},
    status::ConditionType,
    traffic::LocalReference,
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, ResourceExt, api::PostParams};
use sale::money::Money;

/// Puts the report together.
pub fn report(sale: &ValidSale, status: &FlashSaleStatus, observed: &Observed, closed: Closed) -> Report {
    let orders = closed.account.map(|account| Orders {
        sold_for: Money::from_minor(account.sold_for_minor).decimal(sale.currency),
        account,
    });
    let counters = closed.figures.troubles.iter();
    Report {
        version: VERSION,
        sale: sale.id.clone(),
        uid: sale.uid.clone(),
        mode: sale.mode,
        currency: sale.currency,
        times: Moments {
            claimed_at: status.claimed_at,
            opens_at: status.opens_at,
            opened_at: status.opened_at,
            closed_at: status.draining_since,
            settled_at: status.ended_at,
        },
        products: status.products.iter().map(Into::into).collect(),
        orders,
        refused: Refusals::new(
            status.orders.unwrap_or_default().rejected,
            closed.figures.refused.clone(),
        ),
        durations: Durations {
            acceptance: closed.figures.accepts(),
            confirmation: closed.figures.confirmations(),
        },
        faults: Faults {
            degraded: status.degraded.clone(),
            restarts: observed.restarts(),
            counters: counters
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        },
        rehearsal: rehearsal(status),
        audit: closed.audit,
        versions: Versions {
            operator: env!("CARGO_PKG_VERSION").to_owned(),
            images: observed.images(&sale.id.name),
        },
        missing: closed.missing,
    }
}

fn rehearsal(status: &FlashSaleStatus) -> Option<RehearsalResult> {
    let said = status.condition(ConditionType::HoldsLoad);
    Some(RehearsalResult {
        rehearsed: status.rehearsed.clone()?,
        verdict: said
            .map(|condition| condition.message.clone())
            .unwrap_or_default(),
    })
}

/// Writes the report, once: whoever comes second finds what was written first. It belongs to nobody, so that it is there when the sale is
/// gone, and nobody can change it.
///
/// # Errors
/// [`Error`].
pub async fn publish(
    context: &Context,
    resource: &FlashSale,
    seal: &str,
    report: &Report,
) -> Result<LocalReference, Error> {
    let name = name(report, seal);
    let json = serde_json::to_string_pretty(report).map_err(Error::Report)?;
    let one = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(
                [
                    one(REPORT_LABEL, &report.sale.name),
                    one(MANAGED_BY_LABEL, MANAGER),
                ]
                .into(),
            ),
            annotations: Some([one(SALE_UID_ANNOTATION, &report.uid)].into()),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        data: Some(
            [
                one("report.json", &json),
                one("report.txt", &Text(report).to_string()),
            ]
            .into(),
        ),
        ..ConfigMap::default()
    };
    let namespace = resource.namespace().unwrap_or_default();
    let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    match within(api.create(&PostParams::default(), &map)).await {
        Ok(_) => tracing::info!(namespace, name, "the report is written"),
        // By somebody who died before the status said so.
        Err(error) if error.is_conflict() => tracing::info!(namespace, name, "the report was there"),
        Err(source) => {
            let kind = "ConfigMap".to_owned();
            return Err(ApplyErrors::from(ApplyError::Api { kind, name, source }).into());
        }
    }
    Ok(LocalReference { name })
}

/// Of the same end always the same: a sale that was reopened has another one. Nobody can make it before the operator does who may not read the
/// sale's keys.
fn name(report: &Report, seal: &str) -> String {
    let closed = report.times.closed_at.unwrap_or_default();
    let closed = closed.strftime("%Y%m%dt%H%M%Sz");
    format!("{}-report-{closed}-{seal}", report.sale.name)
}

/// Wipes what a rehearsal has left once nobody uses it.
///
/// # Errors
/// [`Error`].
pub async fn finish(
    context: &Context,
    resource: &FlashSale,
    sale: &ValidSale,
    status: &mut FlashSaleStatus,
    observed: &Observed,
    now: Timestamp,
) -> Result<(), Error> {
    let workloads_gone = observed.pods.is_empty() && !observed.has_services(&sale.id.name);
    if sale.is_rehearsal() && status.data_wiped_at.is_none() && workloads_gone {
        let remembered = context.remembered(resource);
        let backends = observed.backends.as_ref().or(remembered.as_ref());
        cleanup::wipe(context, resource, sale, status, backends).await?;
        status.data_wiped_at = Some(now);
    }
    Ok(())
}
