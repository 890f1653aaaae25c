//! What a site holds of a bundle, for the receipt that it signs ([`Receipt`](samebundle_spec::signing::Receipt)).

use samebundle_spec::Descriptor;

use crate::graph::{Follow, Graph};
use crate::store::{Origin, Source, StoreError};

/// Lists the part of a bundle in `origin` that `place` has: index, manifests, layers, signatures.
///
/// # Errors
/// If either store cannot tell.
pub async fn held<O, P>(origin: &O, place: &P, index: &Descriptor) -> Result<Vec<Descriptor>, StoreError>
where
    O: Origin + ?Sized,
    P: Source + ?Sized,
{
    let concurrency = crate::copy::Options::default().concurrency;
    let roots = std::slice::from_ref(index);
    let graph = Graph::walk(origin, roots, Follow::Referrers, concurrency).await?;
    let mut held = Vec::new();
    for node in graph.nodes() {
        if place.contains(&node.descriptor).await? {
            held.push(node.descriptor.clone());
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use samebundle_spec::manifest::Manifest;
    use samebundle_spec::{MediaType, Tag};

    use super::*;
    use crate::copy::{Options, copy};
    use crate::store::{Memory, SinkExt as _, Tags as _};

    #[tokio::test]
    async fn names_what_is_there_and_no_more() {
        let (sender, site) = (Memory::new(), Memory::new());
        let layer = sender
            .push_bytes(MediaType::OCI_LAYER, "layer".into())
            .await
            .unwrap();
        let config = sender
            .push_bytes(MediaType::OCI_EMPTY, "{}".into())
            .await
            .unwrap();
        let push =
            |manifest: Manifest| sender.push_bytes(MediaType::OCI_MANIFEST, manifest.to_bytes().into());
        let image = push(Manifest::new(config.clone(), vec![layer.clone()]))
            .await
            .unwrap();
        let artifact = |name: &str| {
            let kind: MediaType = format!("application/{name}").parse().unwrap();
            Manifest::artifact(kind, vec![config.clone()])
        };
        let signature = push(artifact("signature").with_subject(image.bare()))
            .await
            .unwrap();
        let countersignature = push(artifact("countersignature").with_subject(signature.bare()))
            .await
            .unwrap();
        let tagged = push(artifact("cosign")).await.unwrap();
        sender.tag(&tagged, &Tag::cosign(&image.digest)).await.unwrap();
        let all = held(&sender, &sender, &image).await.unwrap();
        let digests = |held: &[Descriptor]| held.iter().map(|one| one.digest).collect::<Vec<_>>();
        for one in [&layer, &config, &image, &signature, &countersignature, &tagged] {
            assert!(digests(&all).contains(&one.digest), "{one:?}");
        }
        assert_eq!(all.len(), 6);
        assert!(held(&sender, &site, &image).await.unwrap().is_empty());
        site.push_bytes(MediaType::OCI_LAYER, "layer".into())
            .await
            .unwrap();
        assert_eq!(
            digests(&held(&sender, &site, &image).await.unwrap()),
            [layer.digest]
        );
        copy(&sender, &site, &image, &Options::default()).await.unwrap();
        assert_eq!(held(&sender, &site, &image).await.unwrap(), all);
        assert_eq!(held(&site, &site, &image).await.unwrap(), all);
    }
}
