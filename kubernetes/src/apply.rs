//! Applying objects server-side, under a name of one's own, without taking over what belongs to somebody else.

use std::fmt::Debug;

use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of this name is there, and its owner is another.
    #[error("{kind} {name:?} exists and belongs to somebody else; rename the function, or remove that object")]
    Foreign {
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// It was applied with an owner who must be named, and has none.
    #[error("{0} has no owner to be applied for")]
    Ownerless(String),
    /// The API server refused it, or could not be asked.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Applies `object`, whose first owner reference says whose it is, as `manager`. What `manager` set before and does not
/// set now is taken away; fields of others are left alone. An object that exists without that owner is not touched.
///
/// # Errors
/// [`ApplyError::Foreign`] when it belongs to somebody else.
pub async fn apply<K>(api: &Api<K>, manager: &str, object: &K) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let (kind, name) = (K::kind(&()).into_owned(), object.name_any());
    let owner = object.owner_references().first().ok_or_else(|| ApplyError::Ownerless(name.clone()))?.uid.clone();
    if let Some(found) = api.get_metadata_opt(&name).await?
        && !found.owner_references().iter().any(|reference| reference.uid == owner)
    {
        return Err(ApplyError::Foreign { kind, name });
    }
    // Conflicts are about single fields of an object that is ours: they go back to what we say.
    let parameters = PatchParams::apply(manager).force();
    api.patch(&name, &parameters, &Patch::Apply(object)).await?;
    Ok(())
}
