//! Our own conformance table: what the distribution specification asks for, case by case.
//!
//! The names are those of the official suite (`oci-conformance-case-names.txt` of the vectors); what each checks is written
//! here anew. Every case runs alone, in a repository of its own. A name that no row knows is a failure.

mod data;

use serde_json::{Value, json};

use self::data::{Data, IMAGE, INDEX, digest_of};
use super::*;

/// Fails the case, in words.
macro_rules! check {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

type Outcome = Result<(), String>;

/// One case: the server, and its repository.
struct Case<'a> {
    server: &'a Server,
    repository: String,
    algorithm: Algorithm,
}

async fn expect(answer: Response, status: u16) -> Result<Response, String> {
    let found = answer.status().as_u16();
    check!(found == status, "{}: {found}, not {status}", answer.url().path());
    Ok(answer)
}

impl Case<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }

    async fn send(&self, method: &str, rest: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let path = match rest.starts_with('/') {
            true => rest.to_owned(),
            false => self.path(rest),
        };
        self.server.send(method, &path, headers, body).await
    }

    fn digest(&self, bytes: &[u8]) -> Digest {
        digest_of(self.algorithm, bytes)
    }

    /// Opens an upload; its address with room for a query.
    async fn open(&self) -> Result<String, String> {
        let query = format!("blobs/uploads/?digest-algorithm={}", self.algorithm.name());
        let answer = expect(self.send("POST", &query, &[], b"").await, 202).await?;
        let location = text(answer.headers(), "location").to_owned();
        check!(location.contains("/blobs/uploads/"), "no location");
        Ok(location)
    }

    async fn post_put(&self, bytes: &[u8]) -> Outcome {
        let location = self.open().await?;
        let answer = self
            .send(
                "PUT",
                &format!("{location}?digest={}", self.digest(bytes)),
                &[],
                bytes,
            )
            .await;
        self.created(answer, bytes).await
    }

    async fn post_only(&self, bytes: &[u8]) -> Outcome {
        let path = format!("blobs/uploads/?digest={}", self.digest(bytes));
        let answer = self.send("POST", &path, &[], bytes).await;
        self.created(answer, bytes).await
    }

    async fn created(&self, answer: Response, bytes: &[u8]) -> Outcome {
        let answer = expect(answer, 201).await?;
        let location = text(answer.headers(), "location");
        check!(
            location.ends_with(&self.digest(bytes).to_string()),
            "location {location}"
        );
        self.pull(bytes).await
    }

    async fn pull(&self, bytes: &[u8]) -> Outcome {
        let path = format!("blobs/{}", self.digest(bytes));
        let answer = expect(self.send("GET", &path, &[], b"").await, 200).await?;
        check!(
            answer.bytes().await.is_ok_and(|found| found == bytes),
            "other bytes"
        );
        Ok(())
    }

    /// Sends parts in order, the last with the `PUT` if `put_last`; before the second a wrong one if `disorder`.
    async fn chunked(&self, bytes: &[u8], parts: usize, put_last: bool, disorder: bool) -> Outcome {
        let mut location = self.open().await?;
        let size = bytes.len().div_ceil(parts).max(1);
        let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
        let (patched, last) = match put_last {
            true => chunks.split_at(chunks.len().saturating_sub(1)),
            false => (&chunks[..], &[][..]),
        };
        let mut at = 0;
        for (number, chunk) in patched.iter().enumerate() {
            if disorder && number == 1 {
                let far = format!("{}-{}", at + 7, at + 6 + chunk.len());
                let answer = self
                    .send("PATCH", &location, &[("content-range", &far)], chunk)
                    .await;
                let answer = expect(answer, 416).await?;
                check!(
                    text(answer.headers(), "range") == format!("0-{}", at - 1),
                    "no range with 416"
                );
                let answer = expect(self.send("GET", &location, &[], b"").await, 204).await?;
                check!(
                    text(answer.headers(), "range") == format!("0-{}", at - 1),
                    "no range when asked"
                );
            }
            let range = format!("{at}-{}", at + chunk.len() - 1);
            let answer = self
                .send("PATCH", &location, &[("content-range", &range)], chunk)
                .await;
            let answer = expect(answer, 202).await?;
            at += chunk.len();
            check!(
                text(answer.headers(), "range") == format!("0-{}", at - 1),
                "range after a part"
            );
            text(answer.headers(), "location").clone_into(&mut location);
        }
        let rest = last.first().copied().unwrap_or_default();
        let range = format!("{at}-{}", (at + rest.len()).saturating_sub(1));
        let headers: &[(&str, &str)] = if rest.is_empty() {
            &[]
        } else {
            &[("content-range", &range)]
        };
        let path = format!("{location}?digest={}", self.digest(bytes));
        let answer = self.send("PUT", &path, headers, rest).await;
        self.created(answer, bytes).await
    }

    async fn stream(&self, bytes: &[u8]) -> Outcome {
        let location = self.open().await?;
        let answer = expect(self.send("PATCH", &location, &[], bytes).await, 202).await?;
        let location = text(answer.headers(), "location").to_owned();
        let answer = self
            .send(
                "PUT",
                &format!("{location}?digest={}", self.digest(bytes)),
                &[],
                b"",
            )
            .await;
        self.created(answer, bytes).await
    }

    /// Every way of an upload whose digest is another's ends with a refusal and keeps nothing.
    async fn wrong_digest(&self, op: &str, put_last: bool) -> Outcome {
        let (bytes, wrong) = (&b"these bytes"[..], self.digest(b"other bytes"));
        let answer = match op {
            "blob-post-only" => {
                self.send("POST", &format!("blobs/uploads/?digest={wrong}"), &[], bytes)
                    .await
            }
            "blob-post-put" => {
                let location = self.open().await?;
                self.send("PUT", &format!("{location}?digest={wrong}"), &[], bytes)
                    .await
            }
            _ => {
                let location = self.open().await?;
                let (first, last) = bytes.split_at(if put_last { 6 } else { bytes.len() });
                let range = format!("0-{}", first.len() - 1);
                let headers: &[(&str, &str)] = match op {
                    "blob-patch-chunked" => &[("content-range", &range)],
                    _ => &[],
                };
                expect(self.send("PATCH", &location, headers, first).await, 202).await?;
                self.send("PUT", &format!("{location}?digest={wrong}"), &[], last)
                    .await
            }
        };
        let (status, code) = code(answer).await;
        check!(
            (status, code.as_str()) == (400, "DIGEST_INVALID"),
            "{status} {code}"
        );
        expect(self.send("HEAD", &format!("blobs/{wrong}"), &[], b"").await, 404).await?;
        Ok(())
    }

    async fn ranges(&self, op: &str) -> Outcome {
        let bytes: Vec<u8> = (0..4_000_u32).map(|n| (n % 251) as u8).collect();
        self.post_put(&bytes).await?;
        let (range, expected) = match op {
            "range 500-1499" => ("500-1499", Some(500..1500)),
            "range 500-" => ("500-", Some(500..4000)),
            "range -500" => ("-500", Some(3500..4000)),
            "range 2000-5000" => ("2000-5000", Some(2000..4000)),
            "range 5000-10000" => ("5000-10000", None),
            "range 500-0" => ("500-0", None),
            _ => return Err("no row for this range".to_owned()),
        };
        let path = format!("blobs/{}", self.digest(&bytes));
        let answer = self
            .send("GET", &path, &[("range", &format!("bytes={range}"))], b"")
            .await;
        let Some(expected) = expected else {
            expect(answer, 416).await?;
            return Ok(());
        };
        let answer = expect(answer, 206).await?;
        let told = format!("bytes {}-{}/4000", expected.start, expected.end - 1);
        check!(text(answer.headers(), "content-range") == told, "content-range");
        check!(
            answer
                .bytes()
                .await
                .is_ok_and(|found| found == bytes[expected.clone()]),
            "other bytes"
        );
        Ok(())
    }

    async fn mount(&self, kind: &str) -> Outcome {
        let bytes = b"to be mounted";
        let other = Case {
            server: self.server,
            repository: format!("{}/other", self.repository),
            algorithm: self.algorithm,
        };
        let digest = self.digest(bytes);
        let (path, status) = match kind {
            "mount missing" => (
                format!(
                    "blobs/uploads/?mount={}&from={}",
                    self.digest(b"nowhere"),
                    other.repository
                ),
                202,
            ),
            "mount anonymous" => (format!("blobs/uploads/?mount={digest}"), 201),
            _ => (
                format!("blobs/uploads/?mount={digest}&from={}", other.repository),
                201,
            ),
        };
        other.post_put(bytes).await?;
        let answer = expect(self.send("POST", &path, &[], b"").await, status).await?;
        if status == 202 {
            let location = text(answer.headers(), "location").to_owned();
            let answer = self
                .send("PUT", &format!("{location}?digest={digest}"), &[], bytes)
                .await;
            return self.created(answer, bytes).await;
        }
        self.pull(bytes).await
    }

    /// A case of the groups `sha256 blobs` and `sha512 blobs`.
    async fn blob(&self, kind: &str, op: &str) -> Outcome {
        let bytes: &[u8] = match kind {
            "empty" => b"",
            "emptyJSON" => b"{}",
            _ => b"the content of this case, long enough for some parts",
        };
        if kind.starts_with("bad digest") {
            return self.wrong_digest(op, kind.ends_with("put chunk")).await;
        }
        match op {
            "blob-post-put" => self.post_put(bytes).await,
            "blob-post-only" => self.post_only(bytes).await,
            "blob-patch-stream" => self.stream(bytes).await,
            "blob-patch-chunked" if bytes.is_empty() => self.stream(bytes).await,
            "blob-patch-chunked" => {
                let parts = if kind == "chunked single" { 1 } else { 4 };
                let disorder = kind.contains("out-of-order");
                self.chunked(bytes, parts, kind.ends_with("put chunk"), disorder)
                    .await
            }
            "blob-get" | "blob-head" | "blob-delete" => {
                self.post_put(bytes).await?;
                self.look_and_delete(op, bytes).await
            }
            "blob-mount" | "blob-mount-anonymous" => self.mount(kind).await,
            "blob-post-cancel" => {
                let location = self.open().await?;
                expect(self.send("DELETE", &location, &[], b"").await, 204).await?;
                let answer = self.send("GET", &location, &[], b"").await;
                let (status, code) = code(answer).await;
                check!(
                    (status, code.as_str()) == (404, "BLOB_UPLOAD_UNKNOWN"),
                    "{status} {code}"
                );
                Ok(())
            }
            op if op.starts_with("range ") => self.ranges(op).await,
            _ => Err("no row for this way".to_owned()),
        }
    }

    async fn look_and_delete(&self, op: &str, bytes: &[u8]) -> Outcome {
        let digest = self.digest(bytes);
        let path = format!("blobs/{digest}");
        match op {
            "blob-get" => self.pull(bytes).await,
            "blob-head" => {
                let answer = expect(self.send("HEAD", &path, &[], b"").await, 200).await?;
                check!(
                    text(answer.headers(), "content-length") == bytes.len().to_string(),
                    "length"
                );
                check!(
                    text(answer.headers(), "docker-content-digest") == digest.to_string(),
                    "digest"
                );
                Ok(())
            }
            _ => {
                expect(self.send("DELETE", &path, &[], b"").await, 202).await?;
                for method in ["GET", "HEAD", "DELETE"] {
                    expect(self.send(method, &path, &[], b"").await, 404).await?;
                }
                Ok(())
            }
        }
    }

    async fn missing(&self) -> Outcome {
        let digest = self.digest(b"never pushed");
        let answer = self.send("GET", &format!("blobs/{digest}"), &[], b"").await;
        let (status, code) = code(answer).await;
        check!(
            (status, code.as_str()) == (404, "BLOB_UNKNOWN"),
            "{status} {code}"
        );
        expect(self.send("HEAD", &format!("blobs/{digest}"), &[], b"").await, 404).await?;
        Ok(())
    }

    /// Pushes data: its blobs, its manifests by digest, the last one by tag as well.
    async fn push(&self, data: &Data) -> Outcome {
        for blob in &data.blobs {
            self.post_put(blob).await?;
        }
        for (media_type, bytes) in &data.manifests {
            let digest = self.digest(bytes);
            let answer = self.put(&digest.to_string(), media_type, bytes).await?;
            check!(
                text(answer.headers(), "docker-content-digest") == digest.to_string(),
                "digest"
            );
        }
        if let (Some((media_type, bytes)), Algorithm::Sha256) = (data.manifests.last(), self.algorithm) {
            self.put("tag", media_type, bytes).await?;
        }
        Ok(())
    }

    async fn put(&self, at: &str, media_type: &str, bytes: &[u8]) -> Result<Response, String> {
        let headers = [("content-type", media_type)];
        let answer = self
            .send("PUT", &format!("manifests/{at}"), &headers, bytes)
            .await;
        let answer = expect(answer, 201).await?;
        let subject: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if let Some(subject) = subject["subject"]["digest"].as_str() {
            check!(text(answer.headers(), "oci-subject") == subject, "no OCI-Subject");
        }
        Ok(answer)
    }

    /// A case about a manifest and what it names.
    async fn data(&self, group: &str, op: &str) -> Outcome {
        let data = Data::of(group).ok_or("no row for this group")?;
        if group == "bad-digest-image" {
            return self.bad_image(&data, op).await;
        }
        self.push(&data).await?;
        let (media_type, bytes) = data.manifests.last().ok_or("no manifest")?;
        let digest = self.digest(bytes);
        match op {
            "push/manifest-by-digest" => Ok(()),
            "push/manifest-by-tag" => self.put("other-tag", media_type, bytes).await.map(|_| ()),
            "head/manifest-head-by-digest" => self.see("HEAD", &digest.to_string(), media_type, bytes).await,
            "head/manifest-head-by-tag" => self.see("HEAD", "tag", media_type, bytes).await,
            "pull/manifest-by-digest" => self.see("GET", &digest.to_string(), media_type, bytes).await,
            "pull/manifest-by-tag" => self.see("GET", "tag", media_type, bytes).await,
            "tag-list" => {
                let expected = match self.algorithm {
                    Algorithm::Sha256 => json!(["tag"]),
                    Algorithm::Sha512 => json!([]),
                };
                self.tags(&expected).await
            }
            "referrers" => self.referrers(&data).await,
            "delete/tag-delete" => {
                expect(self.send("DELETE", "manifests/tag", &[], b"").await, 202).await?;
                expect(self.send("GET", "manifests/tag", &[], b"").await, 404).await?;
                self.see("GET", &digest.to_string(), media_type, bytes).await
            }
            "delete/manifest-delete" => {
                let path = format!("manifests/{digest}");
                expect(self.send("DELETE", &path, &[], b"").await, 202).await?;
                for path in [path.as_str(), "manifests/tag"] {
                    expect(self.send("GET", path, &[], b"").await, 404).await?;
                }
                Ok(())
            }
            _ => {
                // Of its blobs: all ways and questions are those of the groups of blobs.
                let (_, way) = op.rsplit_once('/').ok_or("no row for this")?;
                for blob in data.blobs.iter().take(3) {
                    let one = Case {
                        server: self.server,
                        repository: format!("{}/blobs", self.repository),
                        algorithm: self.algorithm,
                    };
                    match way {
                        "blob-get" | "blob-head" | "blob-delete" => self.look_and_delete(way, blob).await?,
                        "blob-post-put" => one.post_put(blob).await?,
                        "blob-post-only" => one.post_only(blob).await?,
                        "blob-patch-stream" => one.stream(blob).await?,
                        "blob-patch-chunked" => one.chunked(blob, 3, false, false).await?,
                        _ => return Err("no row for this".to_owned()),
                    }
                }
                Ok(())
            }
        }
    }

    async fn see(&self, method: &str, at: &str, media_type: &str, bytes: &[u8]) -> Outcome {
        let headers = [(
            "accept",
            "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
        )];
        let answer = self.send(method, &format!("manifests/{at}"), &headers, b"").await;
        let answer = expect(answer, 200).await?;
        check!(text(answer.headers(), "content-type") == media_type, "media type");
        check!(
            text(answer.headers(), "content-length") == bytes.len().to_string(),
            "length"
        );
        check!(
            text(answer.headers(), "docker-content-digest") == self.digest(bytes).to_string(),
            "digest"
        );
        let found = answer.bytes().await.map_err(|error| error.to_string())?;
        check!(method == "HEAD" || found == bytes, "other bytes");
        Ok(())
    }

    async fn tags(&self, expected: &Value) -> Outcome {
        let answer = expect(self.send("GET", "tags/list", &[], b"").await, 200).await?;
        let found: Value = answer.json().await.map_err(|error| error.to_string())?;
        check!(
            found == json!({"name": self.repository, "tags": expected}),
            "{found}"
        );
        Ok(())
    }

    async fn referrers(&self, data: &Data) -> Outcome {
        let subject = data.subject.ok_or("no subject")?;
        let mut expected: Vec<String> = data
            .manifests
            .iter()
            .filter(|(_, bytes)| {
                serde_json::from_slice::<Value>(bytes).is_ok_and(|value| value["subject"].is_object())
            })
            .map(|(_, bytes)| self.digest(bytes).to_string())
            .collect();
        expected.sort();
        for (query, count, filters) in [
            ("", expected.len(), ""),
            (
                "?artifactType=application/vnd.example.test",
                expected.len(),
                "artifactType",
            ),
            ("?artifactType=application/vnd.example.none", 0, "artifactType"),
        ] {
            let answer = self
                .send("GET", &format!("referrers/{subject}{query}"), &[], b"")
                .await;
            let answer = expect(answer, 200).await?;
            check!(text(answer.headers(), "content-type") == INDEX, "media type");
            check!(
                text(answer.headers(), "oci-filters-applied") == filters,
                "filters"
            );
            let found: Value = answer.json().await.map_err(|error| error.to_string())?;
            let entries = found["manifests"].as_array().ok_or("no manifests")?;
            check!(entries.len() == count, "{} referrers, not {count}", entries.len());
            for (entry, digest) in entries.iter().zip(&expected) {
                check!(entry["digest"] == *digest, "another digest");
                check!(
                    entry["artifactType"] == "application/vnd.example.test",
                    "no artifact type"
                );
            }
        }
        Ok(())
    }

    /// An image that is pushed under the digest of another is refused; its blobs are as any.
    async fn bad_image(&self, data: &Data, op: &str) -> Outcome {
        for blob in &data.blobs {
            self.post_put(blob).await?;
        }
        let (media_type, bytes) = data.manifests.last().ok_or("no manifest")?;
        let wrong = self.digest(b"another manifest").to_string();
        let answer = self
            .send(
                "PUT",
                &format!("manifests/{wrong}"),
                &[("content-type", media_type)],
                bytes,
            )
            .await;
        let (status, code) = code(answer).await;
        check!(
            (status, code.as_str()) == (400, "DIGEST_INVALID"),
            "{status} {code}"
        );
        match op {
            "tag-list" => self.tags(&json!([])).await,
            "push/manifest-by-digest" | "push/blob-post-put" => Ok(()),
            "delete/manifest-delete" => {
                expect(
                    self.send("DELETE", &format!("manifests/{wrong}"), &[], b"").await,
                    404,
                )
                .await?;
                Ok(())
            }
            _ => match op.rsplit_once('/') {
                Some((_, way @ ("blob-get" | "blob-head" | "blob-delete"))) => {
                    self.look_and_delete(way, &data.blobs[1]).await
                }
                _ => Err("no row for this".to_owned()),
            },
        }
    }

    /// Digests that are none, wherever one is given.
    async fn invalid(&self, op: &str) -> Outcome {
        for bad in [
            "sha256:zz",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:ABCDEF",
        ] {
            let answer = match op {
                "blob-post-put" => {
                    let location = self.open().await?;
                    self.send("PUT", &format!("{location}?digest={bad}"), &[], b"x")
                        .await
                }
                "delete/blob-delete" => self.send("DELETE", &format!("blobs/{bad}"), &[], b"").await,
                "delete/manifest-delete" => self.send("DELETE", &format!("manifests/{bad}"), &[], b"").await,
                "manifest-get" => self.send("GET", &format!("manifests/{bad}"), &[], b"").await,
                "manifest-put" => {
                    let headers = [("content-type", IMAGE)];
                    self.send("PUT", &format!("manifests/{bad}"), &headers, b"{}")
                        .await
                }
                _ => return Err("no row for this".to_owned()),
            };
            let (status, code) = code(answer).await;
            check!(
                (status, code.as_str()) == (400, "DIGEST_INVALID"),
                "{bad}: {status} {code}"
            );
        }
        Ok(())
    }

    async fn unknown_manifest(&self, at: &str) -> Outcome {
        for (method, status) in [("GET", 404), ("HEAD", 404), ("DELETE", 404)] {
            expect(
                self.send(method, &format!("manifests/{at}"), &[], b"").await,
                status,
            )
            .await?;
        }
        let (_, code) = code(self.send("GET", &format!("manifests/{at}"), &[], b"").await).await;
        check!(code == "MANIFEST_UNKNOWN", "{code}");
        Ok(())
    }

    /// What is listed where nothing is.
    async fn nothing(&self, op: &str) -> Outcome {
        match op {
            "tag list" => {
                self.post_put(b"{}").await?;
                self.tags(&json!([])).await
            }
            "referrers" => {
                let path = format!("referrers/{}", self.digest(b"nothing refers to this"));
                let answer = expect(self.send("GET", &path, &[], b"").await, 200).await?;
                let found: Value = answer.json().await.map_err(|error| error.to_string())?;
                check!(
                    found["manifests"] == json!([]) && found["schemaVersion"] == 2,
                    "{found}"
                );
                Ok(())
            }
            _ => Err("no row for this".to_owned()),
        }
    }

    /// Runs the case of this name.
    async fn run(&self, name: &str) -> Outcome {
        if name == "ping" {
            expect(self.server.get("/v2/").await, 200).await?;
            return Ok(());
        }
        let (group, op) = name.split_once('/').ok_or("no row for this")?;
        match group {
            "sha256 blobs" | "sha512 blobs" if op == "get-missing" => self.missing().await,
            "sha256 blobs" | "sha512 blobs" => {
                let (kind, op) = op.split_once('/').ok_or("no row for this")?;
                self.blob(kind, op).await
            }
            "empty" => self.nothing(op).await,
            "invalid-digest-format" => self.invalid(op).await,
            "missing-manifest" => match op {
                "by-tag" => self.unknown_manifest("no-such-tag").await,
                "by-digest" => {
                    self.unknown_manifest(&self.digest(b"no such manifest").to_string())
                        .await
                }
                _ => Err("no row for this".to_owned()),
            },
            _ => self.data(group, op).await,
        }
    }
}

fn names() -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the environment says where the vectors are"
    )]
    let folder = std::env::var_os("SAMEBUNDLE_VECTORS").filter(|folder| !folder.is_empty())?;
    let file = std::path::Path::new(&folder).join("security/oci-conformance-case-names.txt");
    Some(std::fs::read_to_string(file).unwrap())
}

#[tokio::test]
async fn every_case_of_the_official_suite_has_a_row_that_holds() {
    let Some(names) = names() else {
        println!("skipped: server conformance: SAMEBUNDLE_VECTORS is not set");
        return;
    };
    let server = start().await;
    let mut failed = Vec::new();
    let mut count = 0;
    for (number, line) in names.lines().filter(|line| !line.is_empty()).enumerate() {
        let name = line.strip_prefix("OCI Conformance Test/").unwrap_or(line);
        let case = Case {
            server: &server,
            repository: format!("case/n{number}"),
            algorithm: match name.starts_with("sha512") {
                true => Algorithm::Sha512,
                false => Algorithm::Sha256,
            },
        };
        count += 1;
        if let Err(why) = case.run(name).await {
            failed.push(format!("{name}: {why}"));
        }
    }
    println!("{count} cases, {} failed", failed.len());
    assert!(count > 300);
    assert_eq!(failed, Vec::<String>::new());
}

#[tokio::test]
async fn a_name_without_a_row_is_a_failure() {
    let server = start().await;
    let case = Case {
        server: &server,
        repository: "case".to_owned(),
        algorithm: Algorithm::Sha256,
    };
    for name in [
        "pong",
        "image/fly",
        "sha256 blobs/post only/fly",
        "sha256 blobs/range requests/range x",
        "newer/tag-list",
    ] {
        assert!(case.run(name).await.unwrap_err().starts_with("no row"), "{name}");
    }
}
