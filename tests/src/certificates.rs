//! The certificates of the image are those of the crate that they are taken from, byte for byte.

use base64::{Engine, prelude::BASE64_STANDARD};

#[test]
fn the_image_trusts_mozillas_list_and_nothing_else() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../hack/certificates.sh");
    let output = std::process::Command::new(script).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let pem = String::from_utf8(output.stdout).unwrap();
    let certificates: Vec<Vec<u8>> = pem
        .split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .filter_map(|rest| rest.split_once("-----END CERTIFICATE-----"))
        .map(|(body, _)| BASE64_STANDARD.decode(body.replace('\n', "")).unwrap())
        .collect();
    let expected: Vec<&[u8]> = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .map(|certificate| certificate.as_ref())
        .collect();
    assert_eq!(certificates, expected);
}
