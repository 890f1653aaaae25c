//! Fetches what runs take from outside, with the registries, proxies and credentials of a site.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use samebundle_registry::remote::download::{Downloads, Wanted};
use samebundle_spec::{Classify, Reference, limits};

use super::author::open_reference;
use super::{Site, VerbError};
use crate::meter::Meter;
use crate::outside::{
    Address, ChosenBy, Object, ObjectSettings, Outside, OutsideError, Place, modelcar, object, of_kind,
};

/// What a site reaches.
#[derive(Debug)]
pub(super) struct SiteOutside(pub(super) Site);

#[async_trait]
impl Outside for SiteOutside {
    async fn fetch(&self, address: &Address, by: ChosenBy, to: &Path) -> Result<(), OutsideError> {
        let shown = address.shown();
        let meter = Meter::new(format!("import {shown}"), None, None);
        let work = async {
            match address.place() {
                Place::Web(url) => {
                    let (shown, limit) = (shown.as_str(), limits::IMPORT_BYTES);
                    let wanted = Wanted { url, shown, limit };
                    let downloads = self.downloads()?;
                    downloads
                        .to_file(wanted, to, |bytes| meter.add_bytes(bytes))
                        .await?;
                    Ok(())
                }
                Place::Object { service, bucket, key } => {
                    let (service, shown) = (*service, shown.as_str());
                    let object = Object {
                        service,
                        bucket,
                        key,
                        shown,
                    };
                    object::fetch(&self.downloads()?, &self.objects(by), object, to, &meter).await
                }
                Place::Image(reference) => self.image(reference, by, to, &meter).await,
                Place::Local(_) | Place::Other(_) => Err(OutsideError::Away(
                    "it is fetched from no other machine".to_owned(),
                )),
            }
        };
        meter.watch(&*self.0.context.events, work).await
    }
}

impl SiteOutside {
    fn downloads(&self) -> Result<Downloads, OutsideError> {
        Downloads::new(self.0.web_config()).map_err(|error| of_kind(error.kind(), &error))
    }

    /// How buckets are reached. Only what a person names is asked for with that person's keys.
    fn objects(&self, by: ChosenBy) -> ObjectSettings {
        let variable = |name: &str| {
            let value = self.0.answers().variable(name)?;
            String::from_utf8(value).ok().filter(|value| !value.is_empty())
        };
        let either = |one: &str, other: &str| variable(one).or_else(|| variable(other));
        let key = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let key = key.filter(|_| by == ChosenBy::Person);
        ObjectSettings {
            endpoint: either("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
            region: either("AWS_REGION", "AWS_DEFAULT_REGION"),
            login: key.map(|(key, secret)| (key, secret, variable("AWS_SESSION_TOKEN"))),
        }
    }

    async fn image(
        &self,
        reference: &Reference,
        by: ChosenBy,
        to: &Path,
        meter: &Meter,
    ) -> Result<(), OutsideError> {
        let remote = match by {
            ChosenBy::Person => self.0.remote(&reference.repository),
            ChosenBy::Bundle => self.0.remote_as_nobody(&reference.repository),
        };
        let remote = remote.map_err(|error: VerbError| of_kind(error.kind(), &error))?;
        let image = open_reference(&remote, reference).await?;
        let scratch = self.0.home().scratch();
        modelcar::fetch(Arc::new(remote), &image, &scratch, to, meter).await
    }
}
