//! Why requests are our own: what `oci-client` does with what a registry may answer.
//!
//! Each case holds as long as the crate has the fault. When one fails after an update, that call may go back to the crate.

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

use super::front::{Fault, Front, answer};
use super::*;

fn peer() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    })
}

fn reference(front: &Front) -> Reference {
    format!("{}/team/digits:v1", front.address).parse().unwrap()
}

fn login() -> RegistryAuth {
    RegistryAuth::Basic("bird".to_owned(), CANARY.to_owned())
}

#[tokio::test]
async fn it_sends_the_password_to_any_host_that_a_challenge_names() {
    let elsewhere = Front::start(|_, _| answer(200, &[], "{\"token\": \"t\"}")).await;
    let realm = format!("Bearer realm=\"http://{}/token\"", elsewhere.address);
    let front = Front::start(move |_, _| answer(401, &[("www-authenticate", &realm)], "")).await;
    let _ = peer()
        .auth(&reference(&front), &login(), RegistryOperation::Pull)
        .await;
    assert!(
        elsewhere
            .seen()
            .last()
            .unwrap()
            .header("authorization")
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn its_errors_do_not_say_how_long_to_wait() {
    let front = Front::start(|_, _| answer(429, &[("retry-after", "7531")], "{}")).await;
    let error = peer()
        .pull_manifest_raw(&reference(&front), &login(), &["*/*"])
        .await
        .unwrap_err();
    assert!(!format!("{error:?}").contains("7531"), "{error:?}");
}

#[tokio::test]
async fn it_uploads_to_wherever_a_location_points() {
    let elsewhere = Front::start(|_, _| answer(201, &[("location", "/x")], "")).await;
    let location = format!("http://{}/upload", elsewhere.address);
    let front = Front::start(move |_, _| answer(202, &[("location", &location)], "")).await;
    let stream = futures::stream::once(async { Ok(bytes::Bytes::from_static(b"x")) });
    let _ = peer()
        .push_blob_stream(
            &reference(&front),
            stream,
            &layer(b"x").digest.to_string(),
            Some(1),
        )
        .await;
    assert!(elsewhere.lines()[0].contains("/upload"));
}

#[tokio::test]
async fn it_reads_manifests_of_any_size() {
    let size = 4 * samebundle_spec::limits::MANIFEST_BYTES as usize;
    let front = Front::start(move |_, _| answer(200, &[], &" ".repeat(size))).await;
    let (bytes, _) = peer()
        .pull_manifest_raw(&reference(&front), &login(), &["*/*"])
        .await
        .unwrap();
    assert_eq!(bytes.len(), size);
}

#[tokio::test]
async fn it_takes_an_error_for_no_referrers() {
    let denied = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\"}]}";
    let front = Front::start(move |parts, _| {
        let status = if parts.uri.path().contains("/referrers/") {
            404
        } else {
            403
        };
        match parts.uri.path() {
            "/v2/" => Fault::None,
            _ => answer(status, &[], denied),
        }
    })
    .await;
    let image = reference(&front).clone_with_digest(layer(b"x").digest.to_string());
    let found = peer().pull_referrers(&image, None).await.unwrap();
    assert!(found.manifests.is_empty());
}
