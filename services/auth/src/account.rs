//! What people send about themselves, checked.

use platform::http::problem::Problem;
use std::{ops::RangeInclusive, sync::LazyLock};

/// The longest address (RFC 5321, 4.5.3.1.3).
pub const LONGEST_EMAIL: usize = 254;

/// How many characters a new password has.
pub const PASSWORD: RangeInclusive<usize> = 8..=128;
/// How many characters a name has.
pub const NAME: RangeInclusive<usize> = 1..=100;

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

/// The 3,000 most frequent passwords with 8 characters or more among those that were stolen and published, in lower case
/// and sorted: the head of Royce Williams' list, in the form in which Django hands it on.
const COMMON: &str = include_str!("common_passwords.txt");
/// A new password must have this many letters and digits beside the words that anybody would try for this account: more
/// than a year.
const BESIDE_OBVIOUS_WORDS: usize = 5;
/// Shorter words are in too many passwords to mean anything.
const SHORTEST_OBVIOUS_WORD: usize = 4;

/// Whose a new password is.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The account's address.
    pub email: &'a str,
    /// First name.
    pub first_name: &'a str,
    /// Last name.
    pub last_name: &'a str,
}

/// Checks a new password: its length, and that it is none of those that are tried first. What is in it otherwise is the
/// user's business (NIST SP 800-63B, 3.1.1.2).
///
/// # Errors
/// 400 naming the field.
pub fn check_password(field: &'static str, password: &str, owner: Owner<'_>) -> Result<(), Problem> {
    let length = password.chars().count();
    if !PASSWORD.contains(&length) {
        let (least, most) = (*PASSWORD.start(), *PASSWORD.end());
        return Err(Problem::field(
            field,
            format!("must have from {least} to {most} characters, not {length}"),
        ));
    }
    let password = password.to_lowercase();
    if is_common(&password) {
        return Err(Problem::field(
            field,
            "is one of the most common passwords, which are tried first; choose another, such as three or four unrelated words",
        ));
    }
    if is_obvious(&password, owner) {
        return Err(Problem::field(
            field,
            "is little more than your name, your address or the name of this shop; choose another, such as three or four unrelated words",
        ));
    }
    Ok(())
}

fn is_common(password: &str) -> bool {
    static SORTED: LazyLock<Vec<&str>> = LazyLock::new(|| COMMON.lines().collect());
    SORTED.binary_search(&password).is_ok()
}

fn is_obvious(password: &str, owner: Owner<'_>) -> bool {
    let local = owner.email.split('@').next().unwrap_or_default();
    let mut words: Vec<String> = [local, owner.first_name, owner.last_name, "quicksale", "password"]
        .into_iter()
        .map(|word| word.trim().to_lowercase())
        .filter(|word| word.chars().count() >= SHORTEST_OBVIOUS_WORD)
        .collect();
    // Longest first: an address may hold a name.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words
        .iter()
        .fold(password.to_owned(), |rest, word| rest.replace(word.as_str(), ""));
    rest != password && rest.chars().filter(|c| c.is_alphanumeric()).count() < BESIDE_OBVIOUS_WORDS
}

/// Checks a name.
///
/// # Errors
/// 400 naming the field.
pub fn check_name(field: &'static str, name: &str) -> Result<(), Problem> {
    let length = name.trim().chars().count();
    if NAME.contains(&length) && !name.chars().any(char::is_control) {
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

    fn refused(password: &str) -> Option<String> {
        let owner = Owner {
            email: "grace.hopper@example.com",
            first_name: "Grace",
            last_name: "Hopper",
        };
        let problem = check_password("newPassword", password, owner).err()?;
        assert_eq!(problem.errors[0].field, "newPassword");
        Some(problem.detail)
    }

    #[test]
    fn passwords_have_a_length() {
        assert_eq!(refused("8 chars!"), None);
        assert!(refused("1234567").unwrap().contains("from 8"));
        assert!(refused(&"x".repeat(129)).unwrap().contains("not 129"));
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        let sorted: Vec<&str> = COMMON.lines().collect();
        assert!(sorted.is_sorted() && sorted.len() == 3_000);
        for common in ["password", "PassWord1", "12345678", "qwertyuiop"] {
            assert!(refused(common).unwrap().contains("most common"), "{common}");
        }
        for obvious in [
            "quicksale",
            "QuickSale2026",
            "grace.hopper",
            "GraceHopper!1",
            "hopper-12",
            "graceGrace",
        ] {
            assert!(refused(obvious).unwrap().contains("your name"), "{obvious}");
        }
        for good in ["correct horse battery", "hopper likes tea", "x9$kLmz2"] {
            assert_eq!(refused(good), None, "{good}");
        }
    }
}
