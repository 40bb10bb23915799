//! Brings what a sale needs beyond the API server: its place in the backends, its topics, and its products in the inventory.

use super::{
    backends_secret::{self, PlaintextConsent, Unusable},
    cleanup,
    context::Context,
    observed::Observed,
};
use crate::{
    backends::Look,
    calls::{CallError, ServiceCalls},
    catalogue::{self, Catalogue, History},
    ownership::Claimant,
};
use crds::{FlashSaleStatus, ValidSale};

/// What came of it.
#[derive(Debug)]
pub struct Brought {
    /// The backends, and what was made in them.
    pub backends: Look,
    /// The products.
    pub catalogue: Result<Catalogue, CallError>,
}

/// Brings both at once; neither takes much longer than a second.
pub async fn bring(
    context: &Context,
    sale: &ValidSale,
    status: &FlashSaleStatus,
    observed: &Observed,
    claimant: &Claimant,
    inventory: &ServiceCalls,
) -> Brought {
    let history = History {
        products: &status.products,
        has_sold: status.opened_at.is_some(),
    };
    let (backends, catalogue) = tokio::join!(
        place(context, sale, observed, claimant),
        catalogue::bring(inventory, sale, &history),
    );
    Brought { backends, catalogue }
}

/// Looks at the backends of a sale and, where that can be done, marks its place in them as its own and makes its topics.
pub async fn place(context: &Context, sale: &ValidSale, observed: &Observed, claimant: &Claimant) -> Look {
    let consent = PlaintextConsent::of(sale, context.settings.plaintext_passwords);
    match backends_secret::operators(observed.backends.as_ref(), consent) {
        Ok(credentials) => {
            // Of all of it: what the operator logs in with may differ where what the pods use is the same.
            let whole = observed.backends.as_ref().map(backends_secret::whole_hash);
            let whole = whole.unwrap_or_default();
            let place = cleanup::place(sale);
            context
                .backends
                .look(&whole, &credentials, &place, claimant)
                .await
        }
        Err(why) => match &observed.backends_refused {
            Some(sentence) => Look::impossible("NotForThisNamespace", sentence),
            None => self::unusable(&why),
        },
    }
}

/// What is known when the Secret cannot be used, or may not.
pub fn unusable(why: &Unusable) -> Look {
    Look::impossible(why.reason(), why.sentence())
}
