use crate::Store;
use crate::store::contract::store_contract;

use super::front::{Fault, Front, answer};
use super::*;

/// Runs the contract over fresh servers.
async fn broken(plan: fn(&axum::http::request::Parts) -> Fault) -> Vec<crate::store::contract::Broken> {
    let fronts = std::sync::Mutex::new(Vec::new());
    store_contract(|| async {
        let front = Front::start(move |parts, _| plan(parts)).await;
        let place = repository_at(&front.address, config());
        fronts.lock().unwrap().push(front);
        Arc::new(place) as Arc<dyn Store>
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    assert_eq!(broken(|_| Fault::None).await, []);
}

/// A registry without the referrers API: it neither lists nor says that it recorded a subject.
#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_without_a_referrers_api() {
    let found = broken(|parts| {
        if parts.uri.path().contains("/referrers/") {
            return answer(404, &[], "404 page not found");
        }
        Fault::Change(Box::new(|mut response| {
            response.headers_mut().remove("oci-subject");
            response
        }))
    })
    .await;
    assert_eq!(found, []);
}
