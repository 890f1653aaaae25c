//! Randomness of the system: keys, and names that nobody can guess.

use crate::StoreError;

/// Fills with random bytes of the system.
pub(super) fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(|error| StoreError::Unavailable {
        place: "the system".to_owned(),
        operation: "get random bytes from",
        why: error.to_string(),
    })
}

/// 128 random bits as a word that nobody can guess.
pub(super) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
