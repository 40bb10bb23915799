//! The report of a sale that has ended, and the end of a rehearsal's data.

use super::{
    apply::{self, ApplyErrors},
    build, cleanup,
    context::Context,
    error::Error,
    observed::Observed,
};
use crds::{FlashSale, FlashSaleStatus, ValidSale};
use jiff::Timestamp;

/// Writes the report, and wipes what a rehearsal has left once nobody uses it.
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
    let report = build::report::report(sale, status);
    let refused = apply::apply(context, &sale.id.namespace, observed, &report)
        .await
        .err();
    if let Some(refused) = ApplyErrors::of(refused.into_iter().collect()) {
        return Err(refused.into());
    }
    status.report_ref = Some(crds::traffic::LocalReference { name: report.name });
    let workloads_gone = observed.pods.is_empty() && !observed.has_services(&sale.id.name);
    if sale.is_rehearsal() && status.data_wiped_at.is_none() && workloads_gone {
        let remembered = context.remembered(resource);
        let backends = observed.backends.as_ref().or(remembered.as_ref());
        cleanup::wipe(context, resource, sale, status, backends).await?;
        status.data_wiped_at = Some(now);
    }
    Ok(())
}
