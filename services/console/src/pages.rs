//! The console's pages: plain files in `services/console/pages`.

use axum::Router;
use platform::http::pages::{self, Files};

/// The files, by their paths below `pages`.
const FILES: Files = platform::page_files![
    "assets/api.js",
    "assets/console.css",
    "assets/figures.js",
    "assets/format.js",
    "assets/icon.svg",
    "assets/life.js",
    "assets/main.js",
    "assets/route.js",
    "assets/sentences.js",
    "assets/session.js",
    "assets/stale.js",
    "assets/ticks.js",
    "assets/view/account.js",
    "assets/view/ask.js",
    "assets/view/audit.js",
    "assets/view/banner.js",
    "assets/view/chart.js",
    "assets/view/charts.js",
    "assets/view/countdown.js",
    "assets/view/entries.js",
    "assets/view/found.js",
    "assets/view/from.js",
    "assets/view/lanes.js",
    "assets/view/ledger.js",
    "assets/view/letters.js",
    "assets/view/log.js",
    "assets/view/message.js",
    "assets/view/messages.js",
    "assets/view/order.js",
    "assets/view/orders.js",
    "assets/view/overview.js",
    "assets/view/paging.js",
    "assets/view/parts.js",
    "assets/view/plot.js",
    "assets/view/report.js",
    "assets/view/sale.js",
    "assets/view/sales.js",
    "assets/view/story.js",
    "assets/view/switches.js",
    "assets/view/table.js",
    "assets/view/tail.js",
    "assets/view/topics.js",
    "index.html",
];

/// Serves them.
pub(crate) fn router() -> Router {
    pages::router(FILES, str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What a first visit may cost, in bytes.
    const MOST: usize = 200_000;

    #[test]
    fn the_pages_are_small_load_nothing_from_elsewhere_and_are_all_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
        assert_eq!(pages::faults(FILES, &folder).unwrap(), [""; 0]);
        let all = FILES.iter().chain(pages::SHARED);
        let bytes: usize = all.map(|(_, text)| text.len()).sum();
        assert!(bytes < MOST, "{bytes} bytes");
    }
}
