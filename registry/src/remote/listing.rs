//! What a registry says of itself: the names of its repositories, and whether it knows a user.

use reqwest::{Method, StatusCode};
use samebundle_spec::limits;
use serde::de::DeserializeOwned;

use super::RemoteRepository;
use super::answer::next;
use super::auth::{Action, Scope};
use super::wire::Call;
use crate::StoreError;

impl RemoteRepository {
    /// A request to the registry as a whole, below `/v2/`.
    fn call_registry(&self, rest: &str, action: Action, operation: &'static str) -> Call {
        let mut call = Call::new(&self.endpoint, Method::GET, "", operation, rest);
        let registry = self.endpoint.repository.registry();
        call.url.set_path(&format!("/v2/{rest}"));
        call.scope = Scope::new(&self.endpoint.repository, action);
        registry.clone_into(&mut call.context.place);
        registry.clone_into(&mut call.context.subject);
        call
    }

    /// Lists the repositories of this repository's registry that the user may see, page by page; none if the registry does
    /// not list them.
    ///
    /// # Errors
    /// If the registry cannot be asked, or denies it.
    pub async fn list_repositories(&self) -> Result<Option<Vec<String>>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Page {
            #[serde(default)]
            repositories: Option<Vec<String>>,
        }
        let call = self.call_registry("_catalog", Action::Catalog, "list the repositories of");
        self.pages(call, "repositories", |page: Page| {
            page.repositories.unwrap_or_default()
        })
        .await
    }

    /// Asks this repository's registry whether it takes the credentials. It returns false if the registry asks for none.
    ///
    /// # Errors
    /// [`StoreError::Denied`] if it does not take them; otherwise why it cannot be asked.
    pub async fn log_in(&self) -> Result<bool, StoreError> {
        let call = self.call_registry("", Action::Login, "log in to");
        let response = self.send(&call).await?;
        match response.status() {
            StatusCode::OK => Ok(self.client.wire.auth.header(&call.scope).await.is_some()),
            _ => Err(call.context.refused(response).await),
        }
    }

    /// Reads a listing page by page, sorted; none if there is no such listing.
    pub(super) async fn pages<P: DeserializeOwned, T: Ord>(
        &self,
        mut call: Call,
        what: &str,
        entries: impl Fn(P) -> Vec<T>,
    ) -> Result<Option<Vec<T>>, StoreError> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let response = self.send(&call).await?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if all.is_empty() => return Ok(None),
                _ => return Err(call.context.refused(response).await),
            }
            let following = next(response.headers())
                .map(|address| self.endpoint.own(&call.url, address, &call.context))
                .transpose()?;
            let body = call.context.read(response, limits::LISTING_BYTES).await?;
            let page: P =
                serde_json::from_slice(&body).map_err(|error| call.context.broken(error.to_string()))?;
            let page = entries(page);
            let empty = page.is_empty();
            all.extend(page);
            if all.len() > limits::TAGS {
                let why = format!("more than {} {what}", limits::TAGS);
                return Err(call.context.invalid(why));
            }
            match following {
                Some(url) if !empty && url != call.url => call.url = url,
                _ => break,
            }
        }
        all.sort_unstable();
        all.dedup();
        Ok(Some(all))
    }
}
