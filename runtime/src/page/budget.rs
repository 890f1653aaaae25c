//! How much a page may still hold.

use maud::{Markup, html};

use super::text;

/// The bytes that a page may still have.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// The bytes that are left.
    pub(super) fn room(&self) -> u64 {
        self.left as u64
    }

    /// Returns a part of the page, or says that there is no room for it.
    pub(super) fn take(&mut self, name: &str, part: Markup) -> Markup {
        let size = part.0.len();
        match self.left.checked_sub(size) {
            Some(left) => {
                self.left = left;
                part
            }
            None => html! {
                p.note { (text::cut(name)) " is left out: it takes " (text::bytes(size as u64)) ", and the page would be too large." }
            },
        }
    }
}
