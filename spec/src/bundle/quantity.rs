//! Amounts as Kubernetes and KFP write them: `500m`, `2`, `2Gi`, `1.5G`, `1e3`.
//!
//! This is the only reader of them: for the authoring manifest, for what a bundle requires, and for the resources of a
//! pipeline's tasks. It takes what Kubernetes' `resource.Quantity` takes and is not negative, and `K` for a thousand,
//! which KFP's SDK also writes.

use std::fmt;
use std::str::FromStr;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The text is no amount, or not an amount of what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct QuantityError {
    text: String,
    wanted: &'static str,
}

impl QuantityError {
    fn new(text: &str, wanted: &'static str) -> Self {
        Self {
            text: text.chars().take(40).collect(),
            wanted,
        }
    }
}

/// Reads the cores that a task asks for.
///
/// # Errors
/// If the text is not an amount above zero.
pub fn cores(text: &str) -> Result<Quantity, QuantityError> {
    let wanted = "a number of cores above zero, such as 500m or 2";
    above_zero(text).ok_or_else(|| QuantityError::new(text, wanted))
}

/// Reads the bytes that a task asks for.
///
/// # Errors
/// If the text is not an amount above zero.
pub fn bytes(text: &str) -> Result<Quantity, QuantityError> {
    let wanted = "an amount of memory above zero, such as 512Mi or 2G";
    above_zero(text).ok_or_else(|| QuantityError::new(text, wanted))
}

/// Reads a number of devices.
///
/// # Errors
/// If the text is not a whole number.
pub fn count(text: &str) -> Result<u32, QuantityError> {
    let amount = text.parse::<Quantity>().ok();
    let whole = amount.filter(|amount| amount.thousandths % 1000 == 0);
    whole
        .and_then(|amount| u32::try_from(amount.units()).ok())
        .ok_or_else(|| QuantityError::new(text, "a whole number of devices, such as 1"))
}

fn above_zero(text: &str) -> Option<Quantity> {
    let amount: Quantity = text.parse().ok()?;
    (amount.thousandths > 0).then_some(amount)
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

    /// Returns the amount as a number of units: 0.5 for `500m`.
    #[expect(clippy::cast_precision_loss, reason = "cores are few; bytes use units()")]
    pub fn as_f64(&self) -> f64 {
        self.thousandths as f64 / 1000.0
    }

    /// Returns the amount in whole units, rounded up: bytes of memory or disk.
    pub fn units(&self) -> u64 {
        u64::try_from(self.thousandths.div_ceil(1000)).unwrap_or(u64::MAX)
    }
}

/// Suffixes and what they multiply by, in billionths.
const SUFFIXES: [(&str, u128); 17] = [
    ("n", 1),
    ("u", 1000),
    ("m", 1000 * 1000),
    ("", UNIT),
    ("k", UNIT * 1000),
    ("K", UNIT * 1000),
    ("M", UNIT * 1000_u128.pow(2)),
    ("G", UNIT * 1000_u128.pow(3)),
    ("T", UNIT * 1000_u128.pow(4)),
    ("P", UNIT * 1000_u128.pow(5)),
    ("E", UNIT * 1000_u128.pow(6)),
    ("Ki", UNIT << 10),
    ("Mi", UNIT << 20),
    ("Gi", UNIT << 30),
    ("Ti", UNIT << 40),
    ("Pi", UNIT << 50),
    ("Ei", UNIT << 60),
];
/// How many digits a number may have.
const LONGEST: usize = 40;
/// Billionths in one.
const UNIT: u128 = 1_000_000_000;
/// Billionths in a thousandth.
const THOUSANDTH: u128 = 1_000_000;

/// What a suffix multiplies by, in billionths. `E` and `e` before digits are an exponent of ten.
fn factor(suffix: &str) -> Option<u128> {
    let known = SUFFIXES.iter().find(|(known, _)| *known == suffix);
    known.map(|(_, factor)| *factor).or_else(|| {
        let exponent = suffix.strip_prefix(['e', 'E'])?;
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let power: i32 = exponent.parse().ok().filter(|_| plain)?;
        10_u128.checked_pow(u32::try_from(power.checked_add(9)?).ok()?)
    })
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError::new(text, "an amount such as 500m, 2, 1.5G or 2Gi");
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let factor = factor(suffix).ok_or_else(error)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let nothing = whole.is_empty() && fraction.is_empty();
        if nothing || fraction.contains('.') || number.len() > LONGEST || whole.len() > 18 {
            return Err(error());
        }
        // Old KFP pipelines hold any double of gigabytes: what is finer than a byte of them is rounded up.
        let (fraction, finer) = fraction.split_at(fraction.len().min(9));
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| error())?;
        let digits = digits + u128::from(finer.contains(|digit| digit != '0'));
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let billionths = digits.checked_mul(factor).ok_or_else(error)?;
        Ok(Self {
            text: text.to_owned(),
            thousandths: billionths.div_ceil(scale * THOUSANDTH),
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
            ("1e3", 1_000_000, 1_000),
            ("25E-1", 2_500, 3),
            ("2E", 2_000_000_000_000_000_000_000, 2_000_000_000_000_000_000),
            ("16.106127360000001G", 16_106_127_361_000, 16_106_127_361),
            ("15n", 1, 1),
            ("1500u", 2, 1),
            (".5", 500, 1),
            ("1.", 1_000, 1),
            ("1e+3", 1_000_000, 1_000),
            ("+2Gi", 2_147_483_648_000, 2_147_483_648),
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
            "1e",
            "1e+-3",
            "+-1",
            "+",
            ".",
            " 1",
            "1\n",
            "1e99",
            "inf",
            "1GB",
            "Gi",
            "2 Gi",
            "2gi",
            "1.2.3",
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

    #[test]
    fn what_a_task_asks_for() {
        assert_eq!(cores("4000m").unwrap().as_f64(), 4.0);
        assert_eq!(bytes("1.5Gi").unwrap().units(), 1_610_612_736);
        assert_eq!((count("2"), count("2000m"), count("0")), (Ok(2), Ok(2), Ok(0)));
        for wrong in ["", "0", "-1", " 2", "2 G", "1GB", "NaN"] {
            assert!(bytes(wrong).is_err() && cores(wrong).is_err(), "{wrong}");
        }
        for wrong in ["0.5", "5G", "two"] {
            let error = count(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains("devices"), "{error}");
        }
    }
}
