//! What people send about themselves, checked.

use platform::http::problem::Problem;

/// The longest address (RFC 5321, 4.5.3.1.3).
const LONGEST_EMAIL: usize = 254;

/// An e-mail address in lower case, so that two spellings are one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Checks an address: one `@`, something before it, a domain with a dot or a single label after it, no spaces.
    /// Whether it exists only a mail could tell.
    ///
    /// # Errors
    /// 400 naming `email`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = || Problem::field("email", "is not an e-mail address such as ada@example.com");
        let text = text.trim();
        let (local, domain) = text.split_once('@').ok_or_else(refuse)?;
        let domain_ok = domain.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        });
        let local_ok = !local.is_empty()
            && local.len() <= 64
            && !local.chars().any(|c| c.is_whitespace() || c.is_control());
        if local_ok && domain_ok && text.len() <= LONGEST_EMAIL {
            Ok(Self(text.to_lowercase()))
        } else {
            Err(refuse())
        }
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a new password's length. What is in it is the user's business (NIST SP 800-63B, 3.1.1.2).
///
/// # Errors
/// 400 naming `password`.
pub fn check_password(password: &str) -> Result<(), Problem> {
    match password.chars().count() {
        8..=128 => Ok(()),
        length => Err(Problem::field(
            "password",
            format!("must have from 8 to 128 characters, not {length}"),
        )),
    }
}

/// Checks a name.
///
/// # Errors
/// 400 naming the field.
pub fn check_name(field: &'static str, name: &str) -> Result<(), Problem> {
    let length = name.trim().chars().count();
    if (1..=100).contains(&length) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(Problem::field(field, "must have from 1 to 100 characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_lowered() {
        assert_eq!(
            Email::parse(" Ada@Example.COM ").unwrap().as_str(),
            "ada@example.com"
        );
        assert!(Email::parse("admin@localhost").is_ok());
        for bad in ["", "ada", "@x.y", "a b@x.y", "a@", "a@x..y", "a@-x.y", "a@x y"] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn passwords_have_a_length() {
        assert!(check_password("12345678").is_ok());
        assert!(check_password("1234567").is_err());
        assert!(check_password(&"x".repeat(129)).is_err());
    }
}
