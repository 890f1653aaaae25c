//! How much of a blob is sent in one request.
//!
//! Each request costs the registry a round trip and mostly a sync, and each break costs up to one part. So a part grows
//! while parts are sent quickly, so that a break costs a bounded time instead of a number of bytes, and other blobs
//! begin with the size that was reached. After a break it is small again, and a size that was refused where a smaller one
//! had been taken is not tried again. The bounds are the registry's, as far as they are known
//! ([`Known::part`](super::profile::Known::part)).

use std::time::Duration;

use samebundle_spec::limits;

/// The size of the next part of one upload.
#[derive(Debug)]
pub(super) struct Part {
    size: u64,
    /// The size at the beginning and after a break.
    begin: u64,
    /// The smallest that the registry takes, unless it is the last one; 0 if that is not known.
    least: u64,
    most: u64,
    /// The largest that was taken.
    taken: u64,
}

impl Part {
    /// A part that was sent in less time than this may be followed by one twice its size.
    const QUICK: Duration = Duration::from_secs(1);

    /// Parts of `least` to `most` bytes, beginning with `begin` or what is nearest.
    pub(super) fn within(least: u64, begin: u64, most: u64) -> Self {
        let begin = begin.min(most).max(least);
        Self {
            size: begin,
            begin,
            least,
            most: most.max(begin),
            taken: 0,
        }
    }

    /// One part of all bytes.
    pub(super) fn whole() -> Self {
        Self::within(0, u64::MAX, u64::MAX)
    }

    /// Begins larger, because parts of `size` bytes were just sent quickly for other blobs.
    pub(super) fn after(mut self, size: u64) -> Self {
        self.size = size.clamp(self.begin, self.most);
        self
    }

    /// How much the next one is to have, bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The largest that may be sent.
    pub(super) fn most(&self) -> u64 {
        self.most
    }

    /// The end of the part that begins at `at`.
    pub(super) fn end(&self, at: u64, size: u64) -> u64 {
        let left = size.saturating_sub(at);
        if left <= self.size {
            return size;
        }
        // Parts have equal sizes, so that the last one is no small remainder: the registry cannot know that it is the last.
        let even = left.div_ceil(left.div_ceil(self.size));
        if self.least > 0 && even >= self.least {
            return at + even;
        }
        at + self.size
    }

    pub(super) fn went_through(&mut self, sent: u64, took: Duration) {
        self.taken = self.taken.max(sent);
        if sent >= self.size && took < Self::QUICK {
            self.size = self.size.saturating_mul(2).min(self.most);
        }
    }

    pub(super) fn broke(&mut self) {
        self.size = self.begin.min(self.most);
    }

    /// Whether a smaller one was taken, and is tried again.
    pub(super) fn was_too_large(&mut self, sent: u64) -> bool {
        let smaller = (self.begin..sent).contains(&self.taken);
        if smaller {
            self.limit(self.taken);
        }
        smaller
    }

    /// Whether parts of the smallest limit that is known of any registry are tried, because none was taken yet.
    pub(super) fn may_be_small(&mut self, sent: u64) -> bool {
        let small = limits::UPLOAD_PART_SMALL_BYTES;
        let smaller = self.taken == 0 && sent > small && self.least <= small;
        if smaller {
            self.limit(small);
        }
        smaller
    }

    fn limit(&mut self, most: u64) {
        (self.size, self.most) = (most, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn usual() -> Part {
        Part::within(0, limits::UPLOAD_PART_BYTES, limits::UPLOAD_PART_MOST_BYTES)
    }

    #[test]
    fn other_content_begins_with_what_parts_have_grown_to() {
        let mut part = usual().after(64 * MIB);
        assert_eq!(part.end(0, 200 * MIB), 64 * MIB);
        part.broke();
        assert_eq!(part.size(), limits::UPLOAD_PART_BYTES);
        assert_eq!(usual().after(0).size(), limits::UPLOAD_PART_BYTES);
        assert_eq!(
            Part::within(0, MIB, 4 * MIB).after(64 * MIB).size(),
            4 * MIB,
            "the registry's limit"
        );
    }

    #[test]
    fn a_part_grows_while_it_is_quick_and_is_small_after_a_break() {
        let (quick, slow) = (Duration::from_millis(900), Duration::from_secs(1));
        let mut part = usual();
        let first = part.size;
        part.went_through(first, slow);
        assert_eq!(part.size, first);
        for _ in 0..20 {
            part.went_through(part.size, quick);
        }
        assert_eq!(part.size, limits::UPLOAD_PART_MOST_BYTES);
        part.broke();
        assert_eq!(part.size, first);
        part.went_through(first - 1, quick);
        assert_eq!(part.size, first, "the last one says nothing");
    }

    #[test]
    fn a_size_that_was_refused_is_not_tried_again() {
        let mut part = usual();
        let first = part.size;
        assert!(!part.was_too_large(first), "no smaller one was taken");
        part.went_through(first, Duration::ZERO);
        assert!(part.was_too_large(2 * first));
        part.went_through(first, Duration::ZERO);
        assert_eq!(part.size, first);
        assert!(!part.was_too_large(first), "this size was taken before");
        assert!(!part.may_be_small(first), "this size was taken before");
    }

    #[test]
    fn a_first_part_that_is_too_large_becomes_small_once() {
        let mut part = usual();
        let first = part.size;
        assert!(part.may_be_small(first));
        assert_eq!((part.size, part.most()), (4 * MIB, 4 * MIB));
        part.broke();
        assert_eq!(part.size, 4 * MIB);
        assert!(!part.may_be_small(4 * MIB));
        let mut asked = Part::within(5 * MIB, first, u64::MAX);
        assert!(!asked.may_be_small(first), "the registry takes none so small");
        assert_eq!(Part::whole().end(7, u64::MAX), u64::MAX);
    }

    #[test]
    fn no_part_before_the_last_one_is_too_small_and_none_is_too_large() {
        let part = Part::within(5 * MIB, 8 * MIB, 8 * MIB);
        for size in (5 * MIB..40 * MIB).step_by(333_333) {
            let (mut at, mut parts) = (0, Vec::new());
            while at < size {
                let end = part.end(at, size);
                parts.push(end - at);
                at = end;
            }
            assert_eq!(parts.iter().sum::<u64>(), size);
            assert!(parts.iter().all(|part| *part <= 8 * MIB), "{parts:?}");
            let before = parts.split_last().map_or(&[][..], |(_, before)| before);
            assert!(before.iter().all(|part| *part >= 5 * MIB), "{parts:?}");
            // From ten on even the last one is large enough.
            if size >= 10 * MIB {
                assert!(parts.iter().all(|part| *part >= 5 * MIB), "{size}: {parts:?}");
            }
        }
    }
}
