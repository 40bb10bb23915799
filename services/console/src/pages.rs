//! The console's pages: plain files in `services/console/pages`.

use axum::Router;
use platform::http::pages::{self, Files};

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../pages/", $name)))),*]
    };
}

/// The files, by their paths below `pages`.
const FILES: Files = files!["index.html",];

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
        let bytes: usize = FILES.iter().map(|(_, text)| text.len()).sum();
        assert!(bytes < MOST, "{bytes} bytes");
    }
}
