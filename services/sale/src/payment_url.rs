//! Where a buyer goes to pay for an order.

use crate::image_url::ImageUrl;
use serde::{Deserialize, Serialize};

/// What stands for the order's id.
pub const ORDER_ID: &str = "{orderId}";

/// The address of a shop's page for payments: `https://`, a host, and behind it `{orderId}` once, in whose place the order's id is put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PaymentUrl(String);

/// The address cannot be one where orders are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be an address that begins with https:// and a host, without a password, and has {{orderId}} once behind it, in at most 1000 characters, such as https://pay.example/{{orderId}}"
)]
pub struct InvalidPaymentUrl;

impl PaymentUrl {
    /// Checks and wraps an address.
    ///
    /// # Errors
    /// [`InvalidPaymentUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidPaymentUrl> {
        let (before, behind) = text.split_once(ORDER_ID).ok_or(InvalidPaymentUrl)?;
        // The rest is an address like any other; braces are in none.
        ImageUrl::parse(&format!("{before}0{behind}")).map_err(|_| InvalidPaymentUrl)?;
        let host_is_whole = before
            .strip_prefix("https://")
            .is_some_and(|rest| rest.contains(['/', '?', '#']));
        if host_is_whole && text.len() <= crate::image_url::LONGEST_IMAGE_URL {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPaymentUrl)
        }
    }

    /// The address as text, with `{orderId}` in it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PaymentUrl {
    type Error = InvalidPaymentUrl;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<PaymentUrl> for String {
    fn from(url: PaymentUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_paid_over_https_at_a_page_that_is_told_which_one() {
        for good in [
            "https://pay.example/{orderId}",
            "https://pay.example:8443/shop?order={orderId}&from=qs",
            "https://pay.example?{orderId}",
        ] {
            assert_eq!(PaymentUrl::parse(good).map(String::from), Ok(good.to_owned()));
        }
        let long = format!("https://a/{{orderId}}{}", "x".repeat(1_000));
        for bad in [
            "",
            "https://pay.example/",
            "http://pay.example/{orderId}",
            "https://{orderId}.pay.example/",
            "https://pay.example{orderId}",
            "https://pay.example/{orderId}/{orderId}",
            "https://user:secret@pay.example/{orderId}",
            "https://pay.example/{order}",
            "https://pay.example/\"{orderId}",
            long.as_str(),
        ] {
            assert_eq!(PaymentUrl::parse(bad), Err(InvalidPaymentUrl), "{bad}");
        }
    }
}
