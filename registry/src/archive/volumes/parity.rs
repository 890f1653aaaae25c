//! The parity code, stripe by stripe.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use reed_solomon_simd::{ReedSolomonDecoder, ReedSolomonEncoder};
use samebundle_spec::volume::{HEAD_BYTES, UNIT_BYTES, VolumeSet};

use super::STRIPE_MEMORY;

/// The largest part of a volume that is processed at one time, bytes: a larger one is not faster.
const STRIPE_MOST: usize = 1 << 20;

fn failed(error: reed_solomon_simd::Error) -> io::Error {
    io::Error::other(error)
}

/// How much of each volume is processed at one time, bytes: the code keeps at most three times all of it.
fn stripe(volumes: usize) -> usize {
    let unit = UNIT_BYTES as usize;
    let fits = STRIPE_MEMORY / (3 * volumes.max(1));
    fits.clamp(unit, STRIPE_MOST) / unit * unit
}

/// The stripes of a set: where each starts and how long it is.
fn stripes(set: &VolumeSet) -> impl Iterator<Item = (u64, usize)> + use<> {
    let (end, step) = (set.parity_bytes(), stripe(set.volumes.len()));
    (0..end).step_by(step).map(move |at| {
        let length = (end - at).min(step as u64);
        (at, length as usize)
    })
}

/// Reads a stripe of a volume; what is behind its end is zeros.
fn read_stripe(file: &File, length: u64, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    let there = length.saturating_sub(at).min(buffer.len() as u64) as usize;
    file.read_exact_at(&mut buffer[..there], HEAD_BYTES + at)?;
    buffer[there..].fill(0);
    Ok(())
}

/// Whether there is a code for these numbers of pieces and parity volumes.
pub(super) fn supports(pieces: usize, parity: usize) -> bool {
    ReedSolomonEncoder::supports(pieces, parity)
}

/// Computes the parity of pieces and yields it: the number of the parity volume, and its next bytes.
pub(super) fn encode(
    set: &VolumeSet,
    pieces: &[&File],
    mut give: impl FnMut(usize, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let parity = set.parity as usize;
    let mut encoder =
        ReedSolomonEncoder::new(pieces.len(), parity, stripe(set.volumes.len())).map_err(failed)?;
    let mut buffer = vec![0; stripe(set.volumes.len())];
    for (at, length) in stripes(set) {
        let buffer = &mut buffer[..length];
        encoder.reset(pieces.len(), parity, length).map_err(failed)?;
        for (number, file) in pieces.iter().enumerate() {
            read_stripe(file, set.length(number), at, buffer)?;
            encoder.add_original_shard(&buffer).map_err(failed)?;
        }
        let encoded = encoder.encode().map_err(failed)?;
        for (number, bytes) in encoded.recovery_iter().enumerate() {
            give(number, bytes)?;
        }
    }
    Ok(())
}

/// Computes lost pieces from whole volumes and yields them: the number of the piece, and its next bytes.
///
/// `whole` has a file for each volume of the set that may be used; as many parity volumes as pieces are lost must be among
/// them.
pub(super) fn decode(
    set: &VolumeSet,
    whole: &[Option<&File>],
    mut give: impl FnMut(usize, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (pieces, parity) = (set.pieces(), set.parity as usize);
    let lost: Vec<usize> = (0..pieces).filter(|number| whole[*number].is_none()).collect();
    let mut decoder = ReedSolomonDecoder::new(pieces, parity, stripe(set.volumes.len())).map_err(failed)?;
    let mut buffer = vec![0; stripe(set.volumes.len())];
    for (at, length) in stripes(set) {
        let buffer = &mut buffer[..length];
        decoder.reset(pieces, parity, length).map_err(failed)?;
        let mut helpers = 0;
        for (number, file) in whole.iter().enumerate() {
            let Some(file) = file else { continue };
            if number < pieces {
                read_stripe(file, set.length(number), at, buffer)?;
                decoder.add_original_shard(number, &buffer).map_err(failed)?;
            } else if helpers < lost.len() {
                helpers += 1;
                read_stripe(file, set.length(number), at, buffer)?;
                decoder
                    .add_recovery_shard(number - pieces, &buffer)
                    .map_err(failed)?;
            }
        }
        let decoded = decoder.decode().map_err(failed)?;
        for number in &lost {
            let bytes = decoded.restored_original(*number).unwrap_or_default();
            let there = set.length(*number).saturating_sub(at).min(bytes.len() as u64);
            give(*number, &bytes[..there as usize])?;
        }
    }
    Ok(())
}
