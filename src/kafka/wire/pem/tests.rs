//! Which blocks of PEM are read, and what is said of the others.

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nTWFya2Vy\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nTWFya2Vy\n-----END PRIVATE KEY-----\n";
const OLD_KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\n\
    DEK-Info: AES-256-CBC,00FF\r\n\r\nTWFya2Vy\r\n-----END RSA PRIVATE KEY-----\r\n";

fn read(text: &str, kind: Kind) -> Result<Vec<(Label, bool, Vec<u8>)>, PemError> {
    let found = blocks(text, kind)?;
    Ok(found.into_iter().map(|it| (it.label, it.encrypted, it.der.to_vec())).collect())
}

#[test]
fn blocks_are_read_whatever_stands_around_them() {
    let certificate = (Label::Certificate, false, b"Marker".to_vec());
    let key = (Label::Pkcs8, false, b"Marker".to_vec());
    let old = (Label::Pkcs1, true, b"Marker".to_vec());
    let parameters = "-----BEGIN EC PARAMETERS-----\nTWFya2Vy\n-----END EC PARAMETERS-----\n";
    let trusted = CERTIFICATE.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let cut_parameters = "-----BEGIN EC PARAMETERS-----\nTWF";
    let rows = [
        ("one", Kind::Certificate, CERTIFICATE.to_owned(), vec![certificate.clone()]),
        (
            "two with text around",
            Kind::Certificate,
            format!("subject=CN = kafka\n{CERTIFICATE}\nissuer\n{CERTIFICATE}bye"),
            vec![certificate.clone(), certificate.clone()],
        ),
        (
            "line breaks of Windows",
            Kind::Certificate,
            CERTIFICATE.replace('\n', "\r\n"),
            vec![certificate.clone()],
        ),
        (
            "line breaks of old Macs",
            Kind::Certificate,
            CERTIFICATE.replace('\n', "\r"),
            vec![certificate.clone()],
        ),
        (
            "doubled line breaks",
            Kind::Certificate,
            CERTIFICATE.replace('\n', "\n\n"),
            vec![certificate.clone()],
        ),
        (
            "blanks at both ends of lines",
            Kind::Certificate,
            format!("\u{feff}  {}", CERTIFICATE.replace('\n', " \t\n  ")),
            vec![certificate.clone()],
        ),
        (
            "no line break at the end",
            Kind::Certificate,
            CERTIFICATE.trim_end().to_owned(),
            vec![certificate.clone()],
        ),
        (
            "without padding",
            Kind::Certificate,
            CERTIFICATE.replace("TWFya2Vy", "TWFya2U"),
            vec![(Label::Certificate, false, b"Marke".to_vec())],
        ),
        (
            "data in lines of any length",
            Kind::Certificate,
            CERTIFICATE.replace("TWFya2Vy", "TWFya\n2\nVy"),
            vec![certificate.clone()],
        ),
        (
            "of OpenSSL's trust",
            Kind::Certificate,
            trusted,
            vec![(Label::TrustedCertificate, false, b"Marker".to_vec())],
        ),
        (
            "a key after its parameters",
            Kind::PrivateKey,
            format!("{parameters}{KEY}"),
            vec![key.clone()],
        ),
        (
            "a key after a block of another kind that is cut off",
            Kind::PrivateKey,
            format!("{cut_parameters}\n{KEY}"),
            vec![key.clone()],
        ),
        (
            "a key beside its certificate",
            Kind::PrivateKey,
            format!("{CERTIFICATE}{KEY}"),
            vec![key],
        ),
        ("a key encrypted the old way", Kind::PrivateKey, OLD_KEY.to_owned(), vec![old]),
    ];
    for (name, kind, text, expected) in rows {
        assert_eq!(read(&text, kind), Ok(expected), "{name}");
    }
}

#[test]
fn what_is_no_pem_is_refused() {
    let chain = format!("{CERTIFICATE}\n{CERTIFICATE}");
    let rows = [
        ("nothing", Kind::Certificate, String::new(), PemError::Missing(Kind::Certificate)),
        ("a word", Kind::Certificate, "hunter2".to_owned(), PemError::Missing(Kind::Certificate)),
        (
            "a key for a certificate",
            Kind::Certificate,
            KEY.to_owned(),
            PemError::Missing(Kind::Certificate),
        ),
        (
            "a certificate for a key",
            Kind::PrivateKey,
            CERTIFICATE.to_owned(),
            PemError::Missing(Kind::PrivateKey),
        ),
        (
            "without line breaks",
            Kind::Certificate,
            CERTIFICATE.replace('\n', "\\n"),
            PemError::Missing(Kind::Certificate),
        ),
        (
            "a key of SSH",
            Kind::PrivateKey,
            KEY.replace("PRIVATE", "OPENSSH PRIVATE"),
            PemError::Missing(Kind::PrivateKey),
        ),
        ("cut off", Kind::Certificate, chain[..chain.len() - 5].to_owned(), PemError::Broken),
        (
            "begun anew before its end",
            Kind::Certificate,
            chain.replacen("-----END CERTIFICATE-----", "", 1),
            PemError::Broken,
        ),
        ("other letters", Kind::Certificate, CERTIFICATE.replace("TWF", "TW*"), PemError::Broken),
        (
            "nothing inside",
            Kind::Certificate,
            CERTIFICATE.replace("TWFya2Vy", ""),
            PemError::Broken,
        ),
        (
            "ended as something else",
            Kind::PrivateKey,
            KEY.replace("END ", "END RSA "),
            PemError::Broken,
        ),
    ];
    for (name, kind, text, expected) in rows {
        assert_eq!(read(&text, kind), Err(expected), "{name}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(der in proptest::collection::vec(any::<u8>(), 1..300)) {
        let text = encode(Label::Pkcs8, &der);
        let text = text.expose_secret();
        prop_assert!(text.lines().all(|line| line.len() <= LINE));
        prop_assert_eq!(read(text, Kind::PrivateKey), Ok(vec![(Label::Pkcs8, false, der)]));
    }

    #[test]
    fn any_text_is_read_or_refused(
        lines in proptest::collection::vec(
            prop_oneof![
                Just("-----BEGIN CERTIFICATE-----".to_owned()),
                Just("-----END CERTIFICATE-----".to_owned()),
                "[A-Za-z0-9+/=: -]{0,20}",
                ".{0,20}",
            ],
            0..12,
        ),
    ) {
        let text = lines.join("\n");
        let found = read(&text, Kind::Certificate);
        let begins = text.matches("-----BEGIN CERTIFICATE-----").count();
        prop_assert!(found.map_or(0, |found| found.len()) <= begins);
    }
}
