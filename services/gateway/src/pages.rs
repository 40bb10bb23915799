//! The storefront: pages that every gateway has in itself, so that a sale can be looked at and bought from as soon as it is there.
//!
//! They are plain files in `services/gateway/pages`, load nothing from elsewhere, and know no more than any other client of the API. They
//! are not counted against limits: to show one costs less than to count it, and buyers behind one address open many.

use axum::Router;
use platform::http::pages::{self, Files, escaped};

/// Where the page says to which address a buyer goes to pay.
const PAYMENT_URL: &str = "{{payment_url}}";

/// The files, by their paths below `pages`.
const FILES: Files = platform::page_files![
    "assets/api.js",
    "assets/attempts.js",
    "assets/format.js",
    "assets/icon.svg",
    "assets/ids.js",
    "assets/lock.js",
    "assets/main.js",
    "assets/notifications.js",
    "assets/orders.js",
    "assets/sale.js",
    "assets/sentences.js",
    "assets/session.js",
    "assets/shop.css",
    "assets/socket.js",
    "assets/storage.js",
    "assets/view/account.js",
    "assets/view/notifications.js",
    "assets/view/orders.js",
    "assets/view/picture.js",
    "assets/view/sale.js",
    "index.html",
];

/// Serves them. Where a buyer goes to pay is a template with `{orderId}`; without one the page shows no such button.
pub(crate) fn router(payment_url: Option<&str>) -> Router {
    let payment_url = escaped(payment_url.unwrap_or_default());
    pages::router(FILES, |text| text.replace(PAYMENT_URL, &payment_url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What a first visit may cost, in bytes.
    const MOST: usize = 100_000;

    #[test]
    fn the_pages_are_small_load_nothing_from_elsewhere_and_are_all_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
        assert_eq!(pages::faults(FILES, &folder).unwrap(), [""; 0]);
        let all = FILES.iter().chain(pages::SHARED);
        let bytes: usize = all.map(|(_, text)| text.len()).sum();
        assert!(bytes < MOST, "{bytes} bytes");
    }
}
