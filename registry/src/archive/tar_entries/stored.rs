//! The gzip (RFC 1952) that we write: one member of stored blocks (RFC 1951, 3.2.4), in exactly one form.
//!
//! ```text
//! 1f 8b 08 00  00 00 00 00  00 ff      no flags, no time, no system
//! 00 ff ff 00 00  65535 bytes          each block but the last
//! 01 LEN ~LEN     LEN bytes            the last block, empty only if there is no other
//! CRC-32, length modulo 2^32           little endian
//! ```
//!
//! Gzip has bytes that change nothing (time, system, padding of block heads). Here each of them has one value, so that no
//! changed bit of a file goes unnoticed.

use std::io::{self, BufRead, BufReader, Read, Write};

use flate2::Crc;

const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Content of each block but the last, bytes: the most that a stored block can have.
const BLOCK: usize = u16::MAX as usize;

/// The length of a block's header, bytes.
const BLOCK_HEAD: usize = 5;

/// The position in the file of the byte `at` of the content.
pub(crate) fn place(at: u64) -> u64 {
    let block = BLOCK as u64;
    HEAD.len() as u64 + at / block * (block + BLOCK_HEAD as u64) + BLOCK_HEAD as u64 + at % block
}

/// The most bytes that the file has from the first to the last of `length` bytes of content.
pub(crate) fn room(length: usize) -> usize {
    length + (length / BLOCK + 1) * BLOCK_HEAD
}

/// Takes the heads of blocks out of bytes of a file that begin at `place`, a byte of the content.
pub(crate) fn strip(place: u64, bytes: &mut Vec<u8>) {
    let in_block = (place - HEAD.len() as u64) % (BLOCK + BLOCK_HEAD) as u64;
    let left = BLOCK + BLOCK_HEAD - usize::try_from(in_block).unwrap_or(0);
    let mut kept = left.min(bytes.len());
    let mut at = kept + BLOCK_HEAD;
    while at < bytes.len() {
        let end = bytes.len().min(at + BLOCK);
        bytes.copy_within(at..end, kept);
        kept += end - at;
        at = end + BLOCK_HEAD;
    }
    bytes.truncate(kept);
}

/// Tells whether a gzip file that starts so must have our form: where the first block of a head without options would
/// be, there is a stored one. A file that is too short to tell must.
pub(super) fn is_ours(start: &[u8]) -> bool {
    start.get(HEAD.len()).is_none_or(|block| block & 0b110 == 0)
}

fn fault(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Writes the form. Nothing is whole before [`Writer::finish`].
#[derive(Debug)]
pub(crate) struct Writer<W: Write> {
    inner: W,
    waiting: Vec<u8>,
    check: Crc,
}

impl<W: Write> Writer<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// The writer's own.
    pub(crate) fn new(mut inner: W) -> io::Result<Self> {
        inner.write_all(&HEAD)?;
        Ok(Self {
            inner,
            waiting: Vec::with_capacity(BLOCK),
            check: Crc::new(),
        })
    }

    fn block(&mut self, last: bool) -> io::Result<()> {
        // Never more than BLOCK bytes wait.
        let [low, high] = (self.waiting.len() as u16).to_le_bytes();
        self.inner.write_all(&[u8::from(last), low, high, !low, !high])?;
        self.inner.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Writes the last block and the end; gives the inner writer back.
    ///
    /// # Errors
    /// The writer's own.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.block(true)?;
        self.inner.write_all(&self.check.sum().to_le_bytes())?;
        self.inner.write_all(&self.check.amount().to_le_bytes())?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if self.waiting.len() == BLOCK {
            self.block(false)?;
        }
        let taken = &bytes[..bytes.len().min(BLOCK - self.waiting.len())];
        self.waiting.extend_from_slice(taken);
        self.check.update(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A block that is not full would be another form.
        self.inner.flush()
    }
}

/// Reads the form, and refuses every other. Errors that the data causes are `InvalidData` or `UnexpectedEof`.
#[derive(Debug)]
pub struct Reader<R: Read> {
    inner: BufReader<R>,
    /// Unread bytes of the block.
    left: usize,
    state: State,
    check: Crc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Blocks,
    LastBlock,
    End,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(inner: BufReader<R>) -> Self {
        Self {
            inner,
            left: 0,
            state: State::Head,
            check: Crc::new(),
        }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn head(&mut self) -> io::Result<()> {
        if self.take()? != HEAD {
            return Err(fault("the head of the gzip file is not the one that is written"));
        }
        self.state = State::Blocks;
        Ok(())
    }

    fn block(&mut self) -> io::Result<()> {
        let [kind, low, high, not_low, not_high] = self.take()?;
        let size = usize::from(u16::from_le_bytes([low, high]));
        let first = self.check.amount() == 0;
        let right = match kind {
            0 => size == BLOCK,
            1 => size > 0 || first,
            _ => false,
        };
        if !right || not_low != !low || not_high != !high {
            return Err(fault("the head of a block in the gzip file is damaged"));
        }
        self.left = size;
        if kind == 1 {
            self.state = State::LastBlock;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let (sum, amount) = (self.take()?, self.take()?);
        if u32::from_le_bytes(sum) != self.check.sum() || u32::from_le_bytes(amount) != self.check.amount() {
            return Err(fault("the checksum of the gzip file is wrong"));
        }
        if !self.inner.fill_buf()?.is_empty() {
            return Err(fault("there is more behind the end of the gzip stream"));
        }
        self.state = State::End;
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            match self.state {
                State::Head => self.head()?,
                State::Blocks => self.block()?,
                State::LastBlock => self.end()?,
                State::End => return Ok(0),
            }
        }
        let room = buffer.len().min(self.left);
        let got = self.inner.read(&mut buffer[..room])?;
        if got == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got;
        self.check.update(&buffer[..got]);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::*;

    fn written(content: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    fn read(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Input::ours(file)?.read_to_end(&mut content).map(|_| content)
    }

    #[test]
    fn what_is_written_is_gzip_and_is_read() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 7] {
            let content: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let file = written(&content);
            assert_eq!(read(&file).unwrap(), content, "{size}");
            let mut others = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&file[..]);
            decoder.read_to_end(&mut others).unwrap();
            assert_eq!(others, content, "{size}");
        }
    }

    #[test]
    fn content_is_found_at_its_place() {
        let content: Vec<u8> = (0..3 * BLOCK + 7).map(|i| (i * 7 % 251) as u8).collect();
        let file = written(&content);
        let edges = [
            0,
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            2 * BLOCK,
            3 * BLOCK,
            3 * BLOCK + 6,
        ];
        for start in edges {
            for end in edges.into_iter().filter(|end| *end >= start) {
                let places = [start, end].map(|at| usize::try_from(place(at as u64)).unwrap());
                let mut bytes = file[places[0]..=places[1]].to_vec();
                assert!(bytes.len() <= room(end + 1 - start), "{start} to {end}");
                strip(places[0] as u64, &mut bytes);
                assert!(bytes == content[start..=end], "{start} to {end}");
            }
        }
    }

    #[test]
    fn every_changed_bit_of_the_frame_is_noticed() {
        let content: Vec<u8> = (0..2 * BLOCK + 9).map(|i| (i * 7 % 251) as u8).collect();
        let file = written(&content);
        let second = 10 + 5 + BLOCK;
        let third = second + 5 + BLOCK;
        let frame = (0..17).chain(second - 1..second + 6).chain(third - 1..file.len());
        for (at, bit) in frame.flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            // Without its magic it is no gzip at all, and none of it is content.
            let noticed = read(&changed).map_or(true, |found| at < 2 && found == changed);
            assert!(noticed, "bit {bit} of byte {at}");
        }
        for cut in [file.len() - 1, third, second, 10, 3] {
            assert!(read(&file[..cut]).is_err(), "cut at {cut}");
        }
        assert!(read(&[&file[..], b"\0"].concat()).is_err());
        assert!(read(&[&file[..], &file[..]].concat()).is_err());
    }
}
