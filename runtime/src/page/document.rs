//! The frame of every page: it has its style in itself, no script, and a policy by which a browser fetches nothing.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What a browser may do with a page and with what is embedded in it: show it, with styles and pictures that are in it.
/// A frame takes the policy of its page over. Nothing is fetched or sent, and no script runs (decision 0049).
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; \
     media-src data:; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("page.css");

/// A whole document with this title and body.
pub(super) fn document(title: &str, body: &Markup) -> String {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta http-equiv="x-dns-prefetch-control" content="off";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    document.into_string()
}
