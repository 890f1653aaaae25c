//! The X.509 certificate that stands for a P-256 key where a verifier wants one (notation): self-signed, made from the key.
//!
//! It says nothing that the key does not: its subject's common name is the key's id, it is valid from 2020 for ever, and
//! may sign code. The same key always gives the same certificate, so whoever knows the key knows what to trust.
//! samebundle itself never reads a certificate.

use super::key::KeyAlgorithm;
use super::{PublicKey, SigningKey};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// `BOOLEAN TRUE`: the extension is critical.
const CRITICAL: [u8; 3] = [0x01, 0x01, 0xff];
/// ecdsa-with-SHA256, 1.2.840.10045.4.3.2.
const ECDSA_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-kp-codeSigning, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: [u8; 8] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// One DER value; every length here fits in two bytes.
fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = vec![tag];
    match u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes() {
        [0, short @ 0..0x80] => bytes.push(short),
        [0, long] => bytes.extend([0x81, long]),
        [high, low] => bytes.extend([0x82, high, low]),
    }
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

/// One part of a name: an attribute of 2.5.4.
fn attribute(number: u8, tag: u8, text: &str) -> Vec<u8> {
    let oid = value(OID, &[&[0x55, 0x04, number]]);
    value(SET, &[&value(SEQUENCE, &[&oid, &value(tag, &[text.as_bytes()])])])
}

/// An extension of 2.5.29.
fn extension(number: u8, critical: bool, content: &[u8]) -> Vec<u8> {
    let oid = value(OID, &[&[0x55, 0x1d, number]]);
    let critical: &[u8] = if critical { &CRITICAL } else { &[] };
    value(SEQUENCE, &[&oid, critical, &value(OCTET_STRING, &[content])])
}

/// What is signed.
fn to_be_signed(public: &PublicKey, algorithm: &[u8]) -> Vec<u8> {
    let id = public.id().to_string();
    // Country, state and organization are there because notation's policy asks for them in a trusted identity.
    let name = [
        attribute(6, PRINTABLE, "XX"),
        attribute(8, UTF8, "none"),
        attribute(10, UTF8, "samebundle"),
        attribute(3, UTF8, &id),
    ]
    .concat();
    let name = value(SEQUENCE, &[&name]);
    let validity = value(
        SEQUENCE,
        &[
            &value(UTC_TIME, &[b"200101000000Z"]),
            // RFC 5280, 4.1.2.5: no well-defined end.
            &value(GENERALIZED_TIME, &[b"99991231235959Z"]),
        ],
    );
    // Positive and without a leading zero byte, whatever the key.
    let mut serial = public.id().as_bytes()[..16].to_vec();
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    let usage = value(SEQUENCE, &[&value(OID, &[&CODE_SIGNING])]);
    let extensions = [
        extension(15, true, &value(BIT_STRING, &[&[0x07, 0x80]])),
        extension(19, true, &value(SEQUENCE, &[])),
        extension(37, false, &usage),
    ]
    .concat();
    value(
        SEQUENCE,
        &[
            &value(0xa0, &[&value(INTEGER, &[&[2]])]),
            &value(INTEGER, &[&serial]),
            algorithm,
            &name,
            &validity,
            &name,
            &public.to_spki(),
            &value(0xa3, &[&value(SEQUENCE, &[&extensions])]),
        ],
    )
}

/// Makes the certificate of a key, in DER. None for a key that is not P-256: its readers know no other of ours.
pub fn self_signed(key: &SigningKey) -> Option<Vec<u8>> {
    if key.algorithm() != KeyAlgorithm::P256 {
        return None;
    }
    let algorithm = value(SEQUENCE, &[&value(OID, &[&ECDSA_SHA256])]);
    let signed = to_be_signed(&key.public(), &algorithm);
    let signature = value(BIT_STRING, &[&[0], &key.sign(&signed)]);
    Some(value(SEQUENCE, &[&signed, &algorithm, &signature]))
}

/// Writes a certificate in PEM, as trust stores of notation hold it.
pub fn to_pem(der: &[u8]) -> String {
    super::key::pem("CERTIFICATE", der)
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn the_same_key_gives_the_same_certificate() {
        let key = |byte| SigningKey::from_scalar(&Zeroizing::new([byte; 32])).unwrap();
        let certificate = self_signed(&key(1)).unwrap();
        assert_eq!(self_signed(&key(1)).unwrap(), certificate);
        assert_ne!(self_signed(&key(2)).unwrap(), certificate);
        let id = key(1).public().id().to_string();
        let named = certificate.windows(64).filter(|part| *part == id.as_bytes());
        assert_eq!(named.count(), 2, "issuer and subject");
        assert_eq!(
            self_signed(&SigningKey::from_seed(&Zeroizing::new([1; 32]))),
            None
        );
    }

    #[test]
    fn lengths_are_the_shortest() {
        assert_eq!(value(4, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(value(4, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(value(4, &[&[0; 256]])[..4], [4, 0x82, 1, 0]);
    }
}
