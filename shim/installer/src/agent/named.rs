//! Which artifacts the revisions of the cluster name: an index that changes by apply, delete and reset.

use std::collections::BTreeMap;

use wisp_api::revision::CompiledArtifact;

use super::name::ArtifactName;

/// A revision: its namespace and name.
pub(crate) type RevisionName = (String, String);
/// Artifacts with the sizes of their files.
pub(crate) type Sizes = BTreeMap<ArtifactName, u64>;

/// More is no component that a node should run; the operator compiles none that large.
const ARTIFACT_BYTES_MAX: u64 = 1 << 30;

/// What revisions name, of the architecture of this node.
pub(crate) struct Named {
    architecture: &'static str,
    revisions: BTreeMap<RevisionName, Sizes>,
    /// A list that is being read, which takes the place of all that was known.
    listed: Option<BTreeMap<RevisionName, Sizes>>,
}

impl Named {
    pub(crate) fn new(architecture: &'static str) -> Self {
        Self { architecture, revisions: BTreeMap::new(), listed: None }
    }

    pub(crate) fn apply(&mut self, revision: RevisionName, artifacts: &[CompiledArtifact]) {
        let sizes = self.ours(&revision, artifacts);
        put(&mut self.revisions, revision, sizes);
    }

    pub(crate) fn delete(&mut self, revision: &RevisionName) {
        self.revisions.remove(revision);
    }

    /// A list begins.
    pub(crate) fn reset(&mut self) {
        self.listed = Some(BTreeMap::new());
    }

    /// One of the list.
    pub(crate) fn list(&mut self, revision: RevisionName, artifacts: &[CompiledArtifact]) {
        let sizes = self.ours(&revision, artifacts);
        put(self.listed.get_or_insert_default(), revision, sizes);
    }

    /// The list has ended: what is not in it does not exist.
    pub(crate) fn listed(&mut self) {
        self.revisions = self.listed.take().unwrap_or_default();
    }

    /// All of them. Where revisions share an artifact, it is one file.
    pub(crate) fn files(&self) -> Sizes {
        self.revisions.values().flatten().map(|(name, bytes)| (name.clone(), *bytes)).collect()
    }

    fn ours(&self, revision: &RevisionName, artifacts: &[CompiledArtifact]) -> Sizes {
        let ours = artifacts.iter().filter(|artifact| artifact.architecture == self.architecture);
        let checked = ours.filter_map(|artifact| match ArtifactName::parse(&artifact.file) {
            Ok(name) if artifact.bytes <= ARTIFACT_BYTES_MAX => Some((name, artifact.bytes)),
            Ok(name) => {
                let (namespace, revision) = revision;
                tracing::warn!(namespace, revision, %name, bytes = artifact.bytes, "an artifact this large is not fetched");
                None
            }
            Err(error) => {
                let (namespace, revision) = revision;
                tracing::warn!(namespace, revision, %error, "an artifact is not fetched; who wrote the revision's status?");
                None
            }
        });
        checked.collect()
    }
}

/// A revision that names nothing takes no room.
fn put(revisions: &mut BTreeMap<RevisionName, Sizes>, revision: RevisionName, sizes: Sizes) {
    if sizes.is_empty() {
        revisions.remove(&revision);
    } else {
        revisions.insert(revision, sizes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str) -> RevisionName {
        ("default".to_owned(), name.to_owned())
    }

    fn artifact(architecture: &str, file: &str) -> CompiledArtifact {
        CompiledArtifact { architecture: architecture.to_owned(), file: file.to_owned(), bytes: 7 }
    }

    fn files(named: &Named) -> Vec<String> {
        named.files().keys().map(ToString::to_string).collect()
    }

    #[test]
    fn artifacts_of_this_architecture_with_sane_names_are_named() {
        let mut named = Named::new("amd64");
        let huge = CompiledArtifact { bytes: ARTIFACT_BYTES_MAX + 1, ..artifact("amd64", "huge.wisp") };
        let all = [artifact("amd64", "a.wisp"), artifact("arm64", "b.wisp"), artifact("amd64", "../seal.key"), huge];
        named.apply(revision("one"), &all);
        assert_eq!(files(&named), ["a.wisp"]);
    }

    #[test]
    fn a_shared_artifact_is_named_until_its_last_revision_goes() {
        let mut named = Named::new("amd64");
        named.apply(revision("one"), &[artifact("amd64", "a.wisp")]);
        named.apply(revision("two"), &[artifact("amd64", "a.wisp")]);
        named.delete(&revision("one"));
        assert_eq!(files(&named), ["a.wisp"]);
        named.apply(revision("two"), &[]);
        assert!(files(&named).is_empty());
    }

    #[test]
    fn a_new_list_replaces_what_was_known_when_it_has_ended() {
        let mut named = Named::new("amd64");
        named.apply(revision("old"), &[artifact("amd64", "old.wisp")]);
        named.reset();
        named.list(revision("new"), &[artifact("amd64", "new.wisp")]);
        assert_eq!(files(&named), ["old.wisp"]);
        named.listed();
        assert_eq!(files(&named), ["new.wisp"]);
    }
}
