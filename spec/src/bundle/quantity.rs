//! Amounts as Kubernetes and KFP write them: `500m`, `2`, `2Gi`, `1.5G`.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an amount such as 500m, 2, 1.5G or 2Gi")]
pub struct QuantityError {
    text: String,
}

/// An amount that is not negative, exact to a thousandth. Displays as it was written.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    thousandths: u128,
}

/// Two amounts are equal if they are as large, however they are written.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.thousandths == other.thousandths
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.thousandths.cmp(&other.thousandths)
    }
}

impl Quantity {
    /// Returns the amount in thousandths: 500 for `500m`.
    pub fn thousandths(&self) -> u128 {
        self.thousandths
    }

    /// Returns the amount in whole units, rounded up: bytes of memory or disk.
    pub fn units(&self) -> u64 {
        u64::try_from(self.thousandths.div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// Suffixes and what they multiply by, in thousandths.
const SUFFIXES: [(&str, u128); 14] = [
    ("m", 1),
    ("", 1000),
    ("k", 1000 * 1000),
    ("K", 1000 * 1000),
    ("M", 1000 * 1000_u128.pow(2)),
    ("G", 1000 * 1000_u128.pow(3)),
    ("T", 1000 * 1000_u128.pow(4)),
    ("P", 1000 * 1000_u128.pow(5)),
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
];

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.chars().take(40).collect(),
        };
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (_, factor) = SUFFIXES
            .iter()
            .find(|(known, _)| *known == suffix)
            .ok_or_else(error)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let dotted = number.contains('.');
        if whole.is_empty() || (dotted && fraction.is_empty()) || fraction.len() > 9 || whole.len() > 18 {
            return Err(error());
        }
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| error())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let thousandths = digits.checked_mul(*factor).ok_or_else(error)?.div_ceil(scale);
        Ok(Self {
            text: text.to_owned(),
            thousandths,
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Amount)
    }
}

/// Reads a text or a plain number: `cpu: 2` and `cpu: "2"` are one.
struct Amount;

impl Visitor<'_> for Amount {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount such as 500m, 2, 1.5G or 2Gi")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Quantity, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Quantity, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Quantity, E> {
        self.visit_str(&number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, thousandths, units) in [
            ("2", 2_000, 2),
            ("500m", 500, 1),
            ("0.5", 500, 1),
            ("2Gi", 2_147_483_648_000, 2_147_483_648),
            ("1.5G", 1_500_000_000_000, 1_500_000_000),
            ("0", 0, 0),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!(
                (quantity.thousandths(), quantity.units()),
                (thousandths, units),
                "{text}"
            );
            assert_eq!(quantity.to_string(), text);
        }
        for text in [
            "",
            "-1",
            "1e3",
            "Gi",
            "2 Gi",
            "2gi",
            "1.2.3",
            "1.",
            ".5",
            "9999999999999999999",
            "1Gib",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
        assert_eq!("1000m".parse::<Quantity>(), "1".parse::<Quantity>());
        assert_eq!(serde_json::from_str::<Quantity>("2").unwrap().to_string(), "2");
        assert_eq!(
            serde_json::from_str::<Quantity>("0.5").unwrap().thousandths(),
            500
        );
    }
}
