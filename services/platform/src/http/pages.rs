//! Pages that a process has in itself: plain files, checked into the source, that load nothing from elsewhere.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

/// A browser asks each time whether what it has is still right.
const CACHE: &str = "no-cache";
/// What pages may load and call: themselves, pictures of products, and the process that sends them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// The page at `/`.
const INDEX: &str = "index.html";

/// The files of a folder by their paths below it, which begin with `assets/` but for `index.html`.
pub type Files = &'static [(&'static str, &'static str)];

/// [`Files`] of the folder `pages` beside the caller's `src`, by their paths below it. For a file right in `src`.
#[macro_export]
macro_rules! page_files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../pages/", $name)))),*]
    };
}

/// Modules that the pages of several processes share. Each process serves them beside its own files.
pub const SHARED: Files = &[
    (
        "assets/shared/announce.js",
        include_str!("../../pages/announce.js"),
    ),
    ("assets/shared/clock.js", include_str!("../../pages/clock.js")),
    ("assets/shared/dom.js", include_str!("../../pages/dom.js")),
    ("assets/shared/format.js", include_str!("../../pages/format.js")),
    ("assets/shared/request.js", include_str!("../../pages/request.js")),
    ("assets/shared/start.js", include_str!("../../pages/start.js")),
    ("assets/shared/topic.js", include_str!("../../pages/topic.js")),
    ("assets/shared/wait.js", include_str!("../../pages/wait.js")),
];

/// A file as it is sent.
#[derive(Debug, Clone)]
struct Page {
    body: Bytes,
    kind: HeaderValue,
    tag: HeaderValue,
}

/// Serves files, each as `fill` makes it from what is in the source, and those that are [`SHARED`].
pub fn router(files: Files, fill: impl Fn(&str) -> String) -> Router {
    files
        .iter()
        .chain(SHARED)
        .fold(Router::new(), |router, (name, text)| {
            let path = if *name == INDEX {
                "/".to_owned()
            } else {
                format!("/{name}")
            };
            let page = Page::new(name, fill(text));
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
pub fn is_among(tags: &HeaderValue, tag: &HeaderValue) -> bool {
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
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// For tests of what a crate serves: whatever is in the folder and not served or the other way round, what the policy forbids and would
/// be dead in a browser, and addresses of somebody else's, who would be told of each visit.
///
/// # Errors
/// When the folder cannot be read.
pub fn faults(files: Files, folder: &std::path::Path) -> std::io::Result<Vec<String>> {
    let mut there = Vec::new();
    below(folder, folder, &mut there)?;
    let mut faults: Vec<String> = there
        .iter()
        .filter(|path| !files.iter().any(|(name, _)| name == path))
        .map(|path| format!("{path} is not served"))
        .collect();
    for (name, text) in files {
        if !there.iter().any(|path| path == name) {
            faults.push(format!("{name} is not in the folder"));
        }
        if kind(name) == "application/octet-stream" {
            faults.push(format!("{name} is of no kind that is known"));
        }
        faults.extend(inside(name, text));
    }
    Ok(faults)
}

/// What must not be in a file.
fn inside(name: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    faults.extend(
        FORBIDDEN
            .iter()
            .filter(|what| text.contains(*what))
            .map(|what| format!("{name} has {what}")),
    );
    faults.extend(addresses(text).map(|address| format!("{name} leads to {address}")));
    let mut scripts = text.match_indices("<script");
    if scripts.any(|(at, _)| !text[at..].split('>').next().unwrap_or_default().contains("src=")) {
        faults.push(format!("{name} has a script of its own"));
    }
    faults
}

/// What is inline, and what makes markup of text.
const FORBIDDEN: [&str; 8] = [
    "style=\"",
    "onclick",
    "onload=",
    "javascript:",
    "innerHTML",
    "insertAdjacentHTML",
    "eval(",
    "<style",
];

fn addresses(text: &str) -> impl Iterator<Item = String> {
    text.match_indices("://")
        .filter(|(at, _)| {
            let before = &text[..*at];
            !before.ends_with("ws") && !before.ends_with("wss")
        })
        .map(|(at, _)| text[at..].chars().take(40).collect::<String>())
        .filter(|address| !address.starts_with("://www.w3.org/2000/svg"))
}

fn below(root: &std::path::Path, folder: &std::path::Path, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            below(root, &path, found)?;
        } else if let Ok(path) = path.strip_prefix(root) {
            found.push(path.display().to_string());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_shared_keeps_to_the_same_rules() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pages");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| format!("assets/shared/{}", file.unwrap().file_name().display()))
            .collect();
        there.sort();
        let served: Vec<&str> = SHARED.iter().map(|(name, _)| *name).collect();
        assert_eq!(there, served);
        for (name, text) in SHARED {
            assert_eq!(inside(name, text), [""; 0]);
        }
    }

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escaped(r#"https://pay.example/?a=1&o={orderId}"><b>"#),
            "https://pay.example/?a=1&amp;o={orderId}&quot;&gt;&lt;b&gt;"
        );
    }

    #[test]
    fn what_must_not_be_in_pages_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("index.html"), "").unwrap();
        std::fs::write(folder.path().join("left.js"), "").unwrap();
        let files: Files = &[
            (
                "index.html",
                r#"<p style="x"></p><script>go()</script><script type="module" src="/a.js"></script>"#,
            ),
            (
                "gone.js",
                "fetch('https://elsewhere.example'); new WebSocket('wss://here')",
            ),
        ];
        let mut found = faults(files, folder.path()).unwrap();
        found.sort();
        assert_eq!(
            found,
            [
                "gone.js is not in the folder",
                "gone.js leads to ://elsewhere.example'); new WebSocket('w",
                "index.html has a script of its own",
                "index.html has style=\"",
                "left.js is not served",
            ]
        );
    }
}
