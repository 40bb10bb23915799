//! Brings what a sale needs beyond the API server: its place in the backends, its topics, and its products in the inventory.

use super::{
    backends_secret::{self, PlaintextConsent, Secrecy, Unusable},
    cleanup,
    context::Context,
    observed::Observed,
};
use crate::{
    backends::Look,
    calls::{CallError, ServiceCalls},
    catalogue::{self, Because, Catalogue, History},
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

/// Brings both at once; neither takes much longer than a second. A topic that is gone is made again in any case: orders wait for it.
pub async fn bring(
    context: &Context,
    sale: &ValidSale,
    status: &FlashSaleStatus,
    observed: &Observed,
    claimant: &Claimant,
    (inventory, left): (&ServiceCalls, Option<Because>),
) -> Brought {
    let history = History {
        products: &status.products,
        has_sold: status.opened_at.is_some(),
    };
    let (backends, catalogue) = tokio::join!(
        place(context, sale, observed, claimant),
        catalogue::bring(inventory, sale, &history, left),
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
        Err(why) => {
            let (reason, sentence) = refused(observed, &why);
            Look::impossible(reason, sentence)
        }
    }
}

/// Why the Secret of a sale leads to no backends, as far as reading it says; nobody is asked.
pub fn impediment(
    sale: &ValidSale,
    context: &Context,
    observed: &Observed,
) -> Option<(&'static str, String)> {
    let consent = PlaintextConsent::of(sale, context.settings.plaintext_passwords);
    let why = backends_secret::operators(observed.backends.as_ref(), consent).err();
    let read = why.as_ref().map(|why| refused(observed, why));
    let found = read.map(|(reason, sentence)| (reason, sentence.to_owned()));
    found.or_else(|| {
        let pods = Secrecy::of(observed.backends.as_ref()?, consent).refusal()?;
        Some((Unusable::Plaintext(pods.clone()).reason(), pods))
    })
}

fn refused<'a>(observed: &'a Observed, why: &'a Unusable) -> (&'static str, &'a str) {
    match &observed.backends_refused {
        Some(sentence) => ("NotForThisNamespace", sentence),
        None => (why.reason(), why.sentence()),
    }
}

/// What is known when the Secret cannot be used, or may not.
pub fn unusable(why: &Unusable) -> Look {
    Look::impossible(why.reason(), why.sentence())
}
