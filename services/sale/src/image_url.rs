//! Where a product's picture is.

use serde::{Deserialize, Serialize};

/// The longest address, in characters.
pub const LONGEST_IMAGE_URL: usize = 1_000;

/// The address of a picture: `https://`, a host, and the rest in the characters that an address may have (RFC 3986, without quotes and
/// brackets). It goes into pages
/// as it is, so nothing else may be in it, and a browser loads it without a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageUrl(String);

/// The address cannot be one of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an address that begins with https:// and a host, without a password, in at most 1000 characters, such as https://cdn.example/laptop.webp"
)]
pub struct InvalidImageUrl;

impl ImageUrl {
    /// Checks and wraps an address.
    ///
    /// # Errors
    /// [`InvalidImageUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidImageUrl> {
        let rest = text.strip_prefix("https://").ok_or(InvalidImageUrl)?;
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host_fits = host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
        let may_be_there = |c: char| c.is_ascii_alphanumeric() || "-._~:/?#@!$&()*+,;=%".contains(c);
        if host_fits && rest.chars().all(may_be_there) && text.len() <= LONGEST_IMAGE_URL {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidImageUrl)
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ImageUrl {
    type Error = InvalidImageUrl;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ImageUrl> for String {
    fn from(url: ImageUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_fetched_over_https_from_a_host() {
        for good in [
            "https://cdn.example/laptop.webp",
            "https://cdn.example:8443/a/b%20c.png?w=300&h=200#top",
            "https://127.0.0.1",
        ] {
            assert_eq!(ImageUrl::parse(good).map(String::from), Ok(good.to_owned()));
        }
        let long = format!("https://a/{}", "x".repeat(LONGEST_IMAGE_URL));
        for bad in [
            "",
            "http://cdn.example/laptop.webp",
            "https://",
            "https:///laptop.webp",
            "https://user:secret@cdn.example/a.png",
            "https://cdn.example/a b.png",
            "https://cdn.example/\"onload=",
            "https://cdn.example/'a",
            "https://cdn.example/\u{fc}.png",
            "javascript:alert(1)",
            "data:image/png;base64,AAAA",
            &long,
        ] {
            assert_eq!(ImageUrl::parse(bad), Err(InvalidImageUrl), "{bad}");
        }
    }
}
