//! Frames for what strangers wrote in HTML or Markdown.
//!
//! A frame has a sandbox without any permission: no script runs in it, its origin is none, and it cannot move the page. It
//! takes over the page's policy, which lets a browser fetch nothing. Two elements reach a server all the same, by their
//! mere presence (`link` with a hint of a host) or by moving the frame (`meta`); they are given names that no browser
//! knows. A tag begins with `<` and its name and nothing between, in every state of an HTML reader, so no such element
//! is left.

use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{Options, Parser, html::push_html};

use super::document::POLICY;

/// The elements that do not come into a frame: hints and style sheets of other hosts, refreshes, and another base of links.
const RENAMED: [&str; 3] = ["link", "meta", "base"];
/// Least and largest height of a frame, in pixels; a person may pull it larger.
const HEIGHTS: (usize, usize) = (90, 560);
/// Height of a line of text in pixels, and how many characters stand in it.
const LINE: (usize, usize) = (28, 100);

/// The style of Markdown in its frame. HTML has its own.
const STYLE: &str = "body{margin:.8rem 1rem;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif;\
     color:#1b1f24;background:#fff;overflow-wrap:anywhere}\
     table{border-collapse:collapse}th,td{border:1px solid #d8dee4;padding:.2rem .6rem;text-align:left}\
     pre,code{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.9em;background:#f6f8fa}\
     pre{padding:.6rem;overflow:auto}blockquote{margin-left:0;padding-left:1rem;border-left:4px solid #d8dee4;color:#57606a}\
     img{max-width:100%}@media(prefers-color-scheme:dark){body{color:#e3e7eb;background:#14181d}a{color:#6cb2ff}\
     pre,code{background:#1d232a}th,td,blockquote{border-color:#3a424b}}h1{font-size:1.4rem}h2{font-size:1.2rem}h3{font-size:1rem}";

/// A page of HTML in a frame.
pub(super) fn html_frame(name: &str, content: &str) -> Markup {
    let scripts = content.to_ascii_lowercase().contains("<script");
    html! {
        @if scripts {
            p.note.small { "This page has scripts, which do not run here. Write the file to a folder with " code { "outputs --to" } " and open it to see all of it." }
        }
        (frame(name, &format!("{}{}", plain(content), harmless(content)), height(content)))
    }
}

/// The colours of a page that chose none, where a reader wants dark ones.
const PLAIN: &str = "<style>@media(prefers-color-scheme:dark){html{color:#e3e7eb;background:#14181d}a{color:#6cb2ff}}</style>";

/// The style of a page that says nothing about colours; a page that does is shown as it is, on white.
fn plain(content: &str) -> &'static str {
    let content = content.to_ascii_lowercase();
    let chooses = ["color", "background", "bgcolor"]
        .iter()
        .any(|word| content.contains(word));
    if chooses { "" } else { PLAIN }
}

/// Markdown in a frame, with the HTML that it may hold.
pub(super) fn markdown_frame(name: &str, content: &str) -> Markup {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES;
    let mut rendered = String::new();
    push_html(&mut rendered, Parser::new_ext(content, options));
    let lines = content
        .lines()
        .map(|line| line.chars().count().div_ceil(LINE.1).max(1));
    let height = (lines.sum::<usize>() * LINE.0 + 40).clamp(HEIGHTS.0, HEIGHTS.1);
    let content = html! { style { (PreEscaped(STYLE)) } (PreEscaped(harmless(&rendered))) };
    frame(name, &content.into_string(), height)
}

/// About as many pixels as a page has in lines of text; as many as a frame may have for one with pictures. What stands in
/// scripts and styles is not seen.
fn height(content: &str) -> usize {
    let (mut lines, mut characters, mut hidden) = (0, 0, false);
    for tag in content.split('<') {
        let (inside, text) = tag.split_once('>').unwrap_or(("", tag));
        let end = inside.starts_with('/');
        let name = inside.trim_start_matches('/');
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next();
        match (name.unwrap_or_default().to_ascii_lowercase().as_str(), end) {
            ("script" | "style" | "title", _) => hidden = !end,
            ("p" | "li" | "tr" | "br" | "pre" | "div", false) => lines += 1,
            ("h1" | "h2" | "h3" | "table", false) => lines += 2,
            ("img" | "svg" | "canvas" | "iframe", false) if !hidden => return HEIGHTS.1,
            _ => {}
        }
        if !hidden {
            characters += text.trim().chars().count();
            lines += text.trim().lines().count().saturating_sub(1);
        }
    }
    let lines: usize = lines + characters / LINE.1;
    (lines * LINE.0 + 40).clamp(HEIGHTS.0, HEIGHTS.1)
}

fn frame(name: &str, content: &str, height: usize) -> Markup {
    let head = html! {
        meta charset="utf-8";
        meta http-equiv="Content-Security-Policy" content=(POLICY);
        meta http-equiv="x-dns-prefetch-control" content="off";
    };
    let document = format!("<!DOCTYPE html>{}{content}", head.into_string());
    html! {
        iframe sandbox="" referrerpolicy="no-referrer" title=(name) height=(height) srcdoc=(document) {}
    }
}

/// Renames the elements that reach a server; see above.
fn harmless(content: &str) -> String {
    let mut harmless = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at + 1);
        harmless.push_str(before);
        let named = |name: &&str| {
            tag.get(..name.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(name))
        };
        if RENAMED.iter().any(named) {
            harmless.push_str("no-");
        }
        rest = tag;
    }
    harmless.push_str(rest);
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_reach_a_server_are_renamed() {
        let hostile = "<LINK rel=dns-prefetch href=//h><Meta http-equiv=refresh content='0;url=//h'><base href=//h><a href=x>é<";
        assert_eq!(
            harmless(hostile),
            "<no-LINK rel=dns-prefetch href=//h><no-Meta http-equiv=refresh content='0;url=//h'><no-base href=//h><a href=x>é<"
        );
    }

    #[test]
    fn a_page_without_colours_takes_those_of_the_reader() {
        assert!(
            html_frame("x", "<p>plain</p>")
                .into_string()
                .contains("prefers-color-scheme")
        );
        assert!(
            !html_frame("x", "<p style='color: red'>red</p>")
                .into_string()
                .contains("prefers-color")
        );
    }

    #[test]
    fn a_frame_is_as_high_as_its_text() {
        let style = format!("<style>{}</style>", "p { color: red }\n".repeat(200));
        let script = "<script>let a = 1 < 2;\n</script>".repeat(30);
        let short = format!("<html><head>{style}</head><body><p>one</p><p>two</p>{script}</body></html>");
        assert!(height(&short) < 200, "{}", height(&short));
        assert_eq!(height(&"<p>line</p>".repeat(100)), HEIGHTS.1);
        assert_eq!(height("<img src=x>"), HEIGHTS.1);
    }

    #[test]
    fn a_frame_cannot_be_left() {
        let frame = html_frame("\"><script>", "\"></iframe><script>alert(1)</script>").into_string();
        assert!(frame.contains("sandbox=\"\"") && frame.contains("scripts, which do not run"));
        assert_eq!(frame.matches("</iframe>").count(), 1);
        assert!(!frame.contains("<script"));
        let frame = markdown_frame(
            "x",
            "# A\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<script>1</script>",
        )
        .into_string();
        assert!(frame.contains("&lt;h1&gt;A&lt;/h1&gt;") && frame.contains("&lt;table&gt;"));
        assert!(!frame.contains("<script"));
    }
}
