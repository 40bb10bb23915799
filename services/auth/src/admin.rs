//! Who the administrator of the sale is, as the platform declares it: by environment variables that are read once, or by
//! a directory of files that is looked at again and again, so that a change needs no restart.

use crate::password::check_hash;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The file with the address.
const EMAIL_FILE: &str = "email";
/// The file with the password's hash.
const HASH_FILE: &str = "passwordHash";
/// The file with the password, looked at when there is no hash.
const PASSWORD_FILE: &str = "password";

/// The administrator.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address to log in with.
    pub email: String,
    /// Proof of who it is; the account follows when it changes.
    pub secret: AdminSecret,
}

/// What the administrator's password is checked by.
#[derive(Debug, Clone)]
pub enum AdminSecret {
    /// The password.
    Password(SecretString),
    /// Its argon2id hash as a PHC string.
    Hash(SecretString),
}

impl Admin {
    /// From an address, a hash and a password, of which the hash goes first.
    ///
    /// # Errors
    /// A sentence when a part is missing or the hash is not usable.
    pub fn from_parts(
        email: String,
        hash: Option<SecretString>,
        password: Option<SecretString>,
    ) -> Result<Self, String> {
        let secret = match (hash, password) {
            (Some(hash), _) => {
                check_hash(hash.expose_secret()).map_err(|problem| format!("the password hash {problem}"))?;
                AdminSecret::Hash(hash)
            }
            (None, Some(password)) => AdminSecret::Password(password),
            (None, None) => {
                return Err("there is an address and neither passwordHash nor password".to_owned());
            }
        };
        Ok(Self { email, secret })
    }

    /// Tells two administrators apart.
    pub fn fingerprint(&self) -> String {
        let (kind, secret) = match &self.secret {
            AdminSecret::Password(password) => ("password", password),
            AdminSecret::Hash(hash) => ("hash", hash),
        };
        let text = format!("{}\n{kind}\n{}", self.email, secret.expose_secret());
        hex::encode(Sha256::digest(text.as_bytes()))
    }
}

/// Where the declaration is.
#[derive(Debug, Clone, Default)]
pub enum AdminSource {
    /// There is none: accounts stay as they are.
    #[default]
    None,
    /// It does not change.
    Fixed(Admin),
    /// A directory with the files `email` and `passwordHash` or `password`.
    Directory(PathBuf),
}

/// What is declared.
#[derive(Debug, Clone)]
pub enum Declared {
    /// Nothing: accounts stay as they are.
    Nothing,
    /// That the sale has no administrator.
    Nobody,
    /// An administrator.
    Admin(Admin),
}

impl Declared {
    /// Tells two declarations apart.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Nobody => "nobody".to_owned(),
            Self::Admin(admin) => admin.fingerprint(),
        }
    }
}

impl AdminSource {
    /// Reads the declaration.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn read(&self) -> Result<Declared, String> {
        match self {
            Self::None => Ok(Declared::Nothing),
            Self::Fixed(admin) => Ok(Declared::Admin(admin.clone())),
            Self::Directory(dir) => {
                read_directory(dir).map_err(|problem| format!("{}: {problem}", dir.display()))
            }
        }
    }
}

fn read_directory(dir: &Path) -> Result<Declared, String> {
    // Kubernetes swaps a link to all files of a Secret at once; behind it they are all of one version.
    let dir = std::fs::canonicalize(dir.join("..data"))
        .or_else(|_| std::fs::canonicalize(dir))
        .map_err(|error| format!("cannot be read: {error}"))?;
    let Some(email) = read(&dir, EMAIL_FILE)? else {
        return Ok(Declared::Nobody);
    };
    let (hash, password) = (read(&dir, HASH_FILE)?, read(&dir, PASSWORD_FILE)?);
    Admin::from_parts(email, hash.map(Into::into), password.map(Into::into)).map(Declared::Admin)
}

fn read(dir: &Path, file: &str) -> Result<Option<String>, String> {
    match std::fs::read_to_string(dir.join(file)) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{file} cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_declares_an_administrator() {
        let dir = std::env::temp_dir().join(format!("quicksale-admin-{}", uuid::Uuid::new_v4()));
        let source = AdminSource::Directory(dir.clone());
        assert!(source.read().unwrap_err().contains("cannot be read"));
        std::fs::create_dir(&dir).unwrap();
        assert!(matches!(source.read(), Ok(Declared::Nobody)));
        std::fs::write(dir.join(EMAIL_FILE), "boss@example.com\n").unwrap();
        assert!(
            source
                .read()
                .unwrap_err()
                .contains("neither passwordHash nor password")
        );
        std::fs::write(dir.join(PASSWORD_FILE), "a secret\n").unwrap();
        let by_password = source.read().unwrap();
        match &by_password {
            Declared::Admin(Admin {
                email,
                secret: AdminSecret::Password(password),
            }) => assert_eq!(
                (email.as_str(), password.expose_secret()),
                ("boss@example.com", "a secret")
            ),
            other => panic!("{other:?}"),
        }
        std::fs::write(dir.join(HASH_FILE), "no hash").unwrap();
        let problem = source.read().unwrap_err();
        assert!(
            problem.contains("PHC") && !problem.contains("a secret"),
            "{problem}"
        );
        let hash =
            "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
        std::fs::write(dir.join(HASH_FILE), hash).unwrap();
        let by_hash = source.read().unwrap();
        assert_ne!(by_hash.fingerprint(), by_password.fingerprint());
        assert!(!format!("{by_hash:?}{by_password:?}").contains("a secret"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
