//! The storefront: pages that every gateway has in itself, so that a sale can be looked at and bought from as soon as it is there.
//!
//! They are plain files in `services/gateway/pages`, load nothing from elsewhere, and know no more than any other client of the API. They
//! are not counted against limits: to show one costs less than to count it, and buyers behind one address open many.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

/// What the pages may load and call: themselves, pictures of products, and this sale.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// A browser asks each time whether what it has is still right.
const CACHE: &str = "no-cache";
/// The page at `/`.
const INDEX: &str = "index.html";
/// Where the page says to which address a buyer goes to pay.
const PAYMENT_URL: &str = "{{payment_url}}";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../pages/", $name)))),*]
    };
}

/// The files, by their paths below `pages`.
const FILES: &[(&str, &str)] = files![
    "assets/api.js",
    "assets/attempts.js",
    "assets/clock.js",
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
    "assets/topic.js",
    "assets/view/account.js",
    "assets/view/announce.js",
    "assets/view/dom.js",
    "assets/view/notifications.js",
    "assets/view/orders.js",
    "assets/view/picture.js",
    "assets/view/sale.js",
    "assets/wait.js",
    "index.html",
];

/// A file as it is sent.
#[derive(Debug, Clone)]
struct Page {
    body: Bytes,
    kind: HeaderValue,
    tag: HeaderValue,
}

/// Serves them. Where a buyer goes to pay is a template with `{orderId}`; without one the page shows no such button.
pub(crate) fn router(payment_url: Option<&str>) -> Router {
    FILES.iter().fold(Router::new(), |router, (name, text)| {
        let path = if *name == INDEX {
            "/".to_owned()
        } else {
            format!("/{name}")
        };
        let text = text.replace(PAYMENT_URL, &escaped(payment_url.unwrap_or_default()));
        let page = Page::new(name, text);
        router.route(&path, get(async move |headers: HeaderMap| page.answer(&headers)))
    })
}

impl Page {
    fn new(name: &str, text: String) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(&text)[..16]));
        Self {
            body: Bytes::from(text),
            kind: HeaderValue::from_static(kind(name)),
            // Hex digits in quotes.
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let same = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|tags| is_among(tags, &self.tag));
        let mut response = if same {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, self.kind.clone())], self.body.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHE));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}

/// Whether a tag is among those of `If-None-Match`; the weak ones count, as RFC 9110 (13.1.2) has it.
pub(crate) fn is_among(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(tag)) = (tags.to_str(), tag.to_str()) else {
        return false;
    };
    tags.split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Text for an attribute of HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    /// What a first visit may cost, in bytes.
    const MOST: usize = 100_000;

    fn below(folder: &Path, found: &mut Vec<String>, root: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found, root);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_they_are_small() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
        let mut found = Vec::new();
        below(&root, &mut found, &root);
        found.sort();
        let mut served: Vec<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        served.sort();
        assert_eq!(served, found);
        let bytes: usize = FILES.iter().map(|(_, text)| text.len()).sum();
        assert!(bytes < MOST, "{bytes} bytes");
        for (name, _) in FILES {
            assert_ne!(kind(name), "application/octet-stream", "{name}");
        }
    }

    /// What the policy forbids would be dead in a browser, and an address of somebody else's would tell him of each visit.
    #[test]
    fn nothing_is_inline_and_nothing_is_elsewhere() {
        for (name, text) in FILES {
            for forbidden in [
                "style=\"",
                "onclick",
                "onload=",
                "javascript:",
                "innerHTML",
                "insertAdjacentHTML",
                "eval(",
                "<style",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            let addresses = text.match_indices("://").filter(|(at, _)| {
                let before = &text[..*at];
                !before.ends_with("ws") && !before.ends_with("wss")
            });
            for (at, _) in addresses {
                let rest: String = text[at..].chars().take(40).collect();
                assert!(rest.starts_with("://www.w3.org/2000/svg"), "{name}: {rest}");
            }
            let mut scripts = text.match_indices("<script");
            assert!(
                scripts.all(|(at, _)| text[at..].contains("src=")),
                "{name} has a script of its own"
            );
        }
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let page = Page::new(INDEX, "hello".to_owned());
        let ask = |tags: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, tags.parse().unwrap());
            page.answer(&headers).status()
        };
        let tag = page.tag.to_str().unwrap();
        assert_eq!(page.answer(&HeaderMap::new()).status(), StatusCode::OK);
        assert_eq!(ask(tag), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&format!("\"other\", W/{tag}")), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("\"other\""), StatusCode::OK);
    }

    #[test]
    fn where_a_buyer_pays_is_text_in_the_page() {
        assert_eq!(
            escaped(r#"https://pay.example/?a=1&o={orderId}"><b>"#),
            "https://pay.example/?a=1&amp;o={orderId}&quot;&gt;&lt;b&gt;"
        );
    }
}
