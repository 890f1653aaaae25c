//! Answers of a registry: bodies within limits, and errors that tell absent, denied, throttled and broken apart.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use oci_client::errors::{OciEnvelope, OciErrorCode};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use samebundle_spec::{Algorithm, Digest, MediaType, limits};

use super::http::describe;
use super::retry::Failure;
use crate::StoreError;

/// How much of a registry's message an error shows, characters.
const SHOWN: usize = 300;

/// What a request was for, as errors describe it.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    /// Registry and repository.
    pub(super) place: String,
    /// The operation, with its preposition: "could not {operation} {place}".
    pub(super) operation: &'static str,
    /// A tag or a digest.
    pub(super) subject: String,
    /// The digest, if a blob or manifest was requested by it.
    pub(super) digest: Option<Digest>,
}

impl RequestContext {
    /// Reads the body of an answer, at most `limit` bytes of it. A body that is compressed although that was not requested
    /// is decompressed.
    pub(super) async fn read(&self, mut response: Response, limit: u64) -> Result<Vec<u8>, StoreError> {
        let too_long = || self.broken(format!("it is longer than {limit} bytes"));
        let compressed = is_gzip(response.headers());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if (body.len() + chunk.len()) as u64 > limit => return Err(too_long()),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Err(self.unavailable(describe(&error))),
            }
        }
        if !compressed {
            return Ok(body);
        }
        let mut plain = Vec::new();
        let read = GzDecoder::new(body.as_slice())
            .take(limit + 1)
            .read_to_end(&mut plain);
        match read {
            Ok(_) if plain.len() as u64 > limit => Err(too_long()),
            Ok(_) => Ok(plain),
            Err(_) => Err(self.broken("it says that it is gzip and is not")),
        }
    }

    /// The error of a request that is not repeated after `made` failures.
    pub(super) fn given_up(&self, failure: Failure, mut why: String, made: u32) -> StoreError {
        if made > 1 {
            why.push_str(&format!(", after {made} attempts"));
        }
        if let Failure::Passing(Some(wait)) | Failure::Throttled(Some(wait)) = failure {
            why.push_str(&format!("; it asks to wait {} s", wait.as_secs()));
        }
        match failure {
            Failure::Throttled(_) => self.throttled(why),
            Failure::Connect | Failure::Passing(_) => self.unavailable(why),
            Failure::Odd => self.broken(why),
            Failure::Contended => StoreError::Conflict {
                subject: format!("{} of {}", self.subject, self.place),
                why,
            },
            Failure::Lasting => StoreError::Unreachable {
                place: self.place.clone(),
                operation: self.operation,
                why,
            },
        }
    }

    fn throttled(&self, why: String) -> StoreError {
        StoreError::Throttled {
            place: self.place.clone(),
            operation: self.operation,
            why,
        }
    }

    /// The error of an answer that breaks the protocol.
    pub(super) fn broken(&self, why: impl Into<String>) -> StoreError {
        StoreError::Broken {
            place: self.place.clone(),
            operation: self.operation,
            why: why.into(),
        }
    }

    pub(super) fn unavailable(&self, why: impl Into<String>) -> StoreError {
        StoreError::Unavailable {
            place: self.place.clone(),
            operation: self.operation,
            why: why.into(),
        }
    }

    pub(super) fn invalid(&self, why: impl Into<String>) -> StoreError {
        StoreError::Invalid {
            subject: format!("the answer of {} about {}", self.place, self.subject),
            why: why.into(),
        }
    }

    pub(super) fn denied(&self, why: impl Into<String>) -> StoreError {
        StoreError::Denied {
            place: self.place.clone(),
            operation: self.operation,
            why: why.into(),
        }
    }

    /// Makes the error of an unexpected answer.
    pub(super) async fn refused(&self, response: Response) -> StoreError {
        let status = response.status();
        let (code, why) = self.words(response).await;
        self.classify(status, code.as_ref(), why)
    }

    /// The failure of a transient answer; `spare` is the wait that it asks for.
    pub(super) async fn passing(&self, response: Response, spare: Option<Duration>) -> (Failure, String) {
        let status = response.status();
        let (code, why) = self.words(response).await;
        let throttled =
            status == StatusCode::TOO_MANY_REQUESTS || matches!(code, Some(OciErrorCode::Toomanyrequests));
        let failure = match throttled {
            true => Failure::Throttled(spare),
            false => Failure::Passing(spare),
        };
        (failure, why)
    }

    /// The error code of an answer, and its message with its status.
    pub(super) async fn words(&self, response: Response) -> (Option<OciErrorCode>, String) {
        let status = response.status();
        let body = self.read(response, limits::ERROR_BYTES).await;
        let (code, words) = said(&body.unwrap_or_default());
        match words.is_empty() {
            true => (code, status.to_string()),
            false => (code, format!("{words} ({status})")),
        }
    }

    pub(super) fn classify(
        &self,
        status: StatusCode,
        code: Option<&OciErrorCode>,
        why: String,
    ) -> StoreError {
        let place = self.place.clone();
        match (status.as_u16(), code) {
            (429, _) | (_, Some(OciErrorCode::Toomanyrequests)) => self.throttled(why),
            (401 | 403, _) | (400, Some(OciErrorCode::Denied | OciErrorCode::Unauthorized)) => {
                self.denied(why)
            }
            // Blobs that were pushed before are gone, by a garbage collection or a restart; another push brings them back.
            (400..500, Some(OciErrorCode::ManifestBlobUnknown)) => self.unavailable(why),
            (404, _) => StoreError::NotFound {
                subject: self.subject.clone(),
                place,
            },
            (408 | 500.., _) if status.as_u16() != 501 => self.unavailable(why),
            (405 | 501, _) | (_, Some(OciErrorCode::Unsupported)) => StoreError::Unsupported {
                place,
                operation: self.operation,
            },
            (409 | 412, _) => StoreError::Conflict {
                subject: self.subject.clone(),
                why,
            },
            (_, Some(OciErrorCode::DigestInvalid | OciErrorCode::SizeInvalid)) => match self.digest {
                // Registries that know no other algorithm compare with the SHA-256 of the same bytes.
                Some(digest) if digest.algorithm() != Algorithm::Sha256 => self.invalid(format!(
                    "it does not take the digest {digest}; many registries know SHA-256 only: {why}"
                )),
                Some(digest) => StoreError::Mismatch { digest, why },
                None => self.invalid(why),
            },
            (400..500, _) => self.invalid(why),
            _ => self.broken(why),
        }
    }
}

/// The error code and the message of an error body, shortened and without harmful characters.
fn said(body: &[u8]) -> (Option<OciErrorCode>, String) {
    if let Ok(mut envelope) = serde_json::from_slice::<OciEnvelope>(body)
        && !envelope.errors.is_empty()
    {
        let first = envelope.errors.swap_remove(0);
        let words = if first.message.is_empty() {
            format!("{:?}", first.code)
        } else {
            first.message
        };
        return (Some(first.code), plain(&words));
    }
    (None, plain(&String::from_utf8_lossy(body)))
}

/// Text without markup, control characters and runs of white space, at most [`SHOWN`] characters.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut tag = false;
    for c in text.chars() {
        match c {
            '<' => tag = true,
            '>' if tag => {
                tag = false;
                space(&mut shown);
            }
            _ if tag => {}
            c if c.is_whitespace() || c.is_control() => space(&mut shown),
            // Characters that reorder or hide text in a terminal.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {}
            c => shown.push(c),
        }
        if shown.chars().count() >= SHOWN {
            shown.push('…');
            break;
        }
    }
    shown.trim().to_owned()
}

fn space(text: &mut String) {
    if !text.is_empty() && !text.ends_with(' ') {
        text.push(' ');
    }
}

/// A header's text; empty if there is none.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Whether an answer is a web page, such as a login or a proxy's message, where another type was requested.
pub(super) fn is_page(headers: &HeaderMap, wanted: &MediaType) -> bool {
    let page = |text: &str| text.trim_start().starts_with("text/html");
    page(header(headers, "content-type")) && !page(wanted.as_str())
}

/// Whether an answer's body has a content encoding. None is requested, but some servers add one all the same.
pub(super) fn is_gzip(headers: &HeaderMap) -> bool {
    let encoding = header(headers, "content-encoding").trim();
    ["gzip", "x-gzip"]
        .iter()
        .any(|gzip| encoding.eq_ignore_ascii_case(gzip))
}

/// Compares `Docker-Content-Digest` with the digest that was requested or received. Equality proves nothing, but a
/// difference shows a fault.
pub(super) fn compare(headers: &HeaderMap, digest: &Digest) -> Result<(), StoreError> {
    match header(headers, "docker-content-digest").parse::<Digest>() {
        Ok(told) if told.algorithm() == digest.algorithm() && told != *digest => Err(StoreError::Mismatch {
            digest: *digest,
            why: format!("the registry calls it {told}"),
        }),
        _ => Ok(()),
    }
}

/// The address of the next page: `Link: <...>; rel="next"` (RFC 8288).
pub(super) fn next(headers: &HeaderMap) -> Option<&str> {
    let link = header(headers, "link");
    let (address, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters
        .split(';')
        .any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
    is_next.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_words_of_html_and_nothing_that_moves_a_cursor() {
        let html =
            "<html><head><title>502</title></head>\n<body>\x1b[2J<h1>Bad\tGateway</h1>\u{202e}x</body>";
        assert_eq!(plain(html), "502 [2J Bad Gateway x");
        assert_eq!(plain(&"a".repeat(10_000)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn tells_absent_denied_throttled_and_broken_apart() {
        let context = RequestContext {
            place: "r/x".into(),
            operation: "read",
            subject: "t".into(),
            digest: Some(Digest::sha256(b"")),
        };
        let kind = |status: u16, code: Option<OciErrorCode>| {
            let status = StatusCode::from_u16(status).unwrap();
            format!("{:?}", context.classify(status, code.as_ref(), String::new()))
        };
        for (status, code, expected) in [
            (401, None, "Denied"),
            (403, None, "Denied"),
            (404, None, "NotFound"),
            (429, None, "Throttled"),
            (403, Some(OciErrorCode::Toomanyrequests), "Throttled"),
            (500, None, "Unavailable"),
            (503, Some(OciErrorCode::Unsupported), "Unavailable"),
            (501, None, "Unsupported"),
            (405, None, "Unsupported"),
            (409, None, "Conflict"),
            (400, Some(OciErrorCode::DigestInvalid), "Mismatch"),
            (400, Some(OciErrorCode::ManifestInvalid), "Invalid"),
            (400, Some(OciErrorCode::ManifestBlobUnknown), "Unavailable"),
            (404, Some(OciErrorCode::ManifestBlobUnknown), "Unavailable"),
            (507, None, "Unavailable"),
            (400, None, "Invalid"),
            (302, None, "Broken"),
        ] {
            let found = kind(status, code);
            assert!(found.starts_with(expected), "{status}: {found}");
        }
    }
}
