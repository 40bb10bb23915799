//! Access tokens: only what was signed, byte for byte, is ever good.

use crate::{fuzz, mangled, mangled_text};
use jiff::Timestamp;
use platform::tokens::{KeyError, KeyPair, Role, Signer, TokenError, Verifier};
use sale::UserId;

fn signer_and_verifier() -> Result<(Signer, Verifier), KeyError> {
    let pair = KeyPair::generate()?;
    let signer = Signer::from_pem(&pair.private_pem)?;
    Ok((signer, Verifier::from_jwks(pair.jwks_json.as_bytes())?))
}

#[test]
fn an_edited_token_is_never_good() {
    let now = Timestamp::now();
    let (signer, verifier) = signer_and_verifier().unwrap();
    let good = signer
        .access_token(&UserId::new("ada"), Role::Buyer, now)
        .unwrap();
    fuzz(|u| {
        let edited = mangled_text(u, &good)?;
        match verifier.verify(&edited, now) {
            Ok(identity) => assert!(edited == good, "{edited} was taken for {identity:?}"),
            Err(error) => assert!(
                edited != good && error == TokenError::Invalid,
                "{error}: {edited}"
            ),
        }
        Ok(())
    });
}

#[test]
fn parts_of_good_tokens_make_no_good_one() {
    let now = Timestamp::now();
    let ((signer, verifier), (stranger, _)) =
        (signer_and_verifier().unwrap(), signer_and_verifier().unwrap());
    let ours = [
        signer
            .access_token(&UserId::new("ada"), Role::Buyer, now)
            .unwrap(),
        signer
            .access_token(&UserId::new("bob"), Role::Admin, now)
            .unwrap(),
        signer.service_token("operator", now).unwrap(),
    ];
    let foreign = stranger
        .access_token(&UserId::new("eve"), Role::Service, now)
        .unwrap();
    // {"alg":"none"}, {"alg":"HS256"} and {"alg":"EdDSA"} without a key id.
    let headers = [
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJFZERTQSJ9",
        "",
    ];
    let part = |token: &str, index: usize| token.split('.').nth(index).unwrap_or_default().to_owned();
    fuzz(|u| {
        let mut parts = Vec::new();
        for index in 0..3 {
            let whole = u.choose(&ours)?;
            parts.push(match u.int_in_range(0..=3)? {
                0 if index == 0 => (*u.choose(&headers)?).to_owned(),
                1 => part(&foreign, index),
                2 => mangled_text(u, &part(whole, index))?,
                _ => part(whole, index),
            });
        }
        let token = parts.join(".");
        let taken = verifier.verify(&token, now).is_ok();
        assert_eq!(taken, ours.contains(&token), "{token}");
        Ok(())
    });
}

#[test]
fn a_strange_key_set_is_refused_or_read() {
    let pair = KeyPair::generate().unwrap();
    fuzz(|u| {
        let _refused_or_read = Verifier::from_jwks(&mangled(u, pair.jwks_json.as_bytes())?);
        Ok(())
    });
}
