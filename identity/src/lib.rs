//! How an instance proves which pod it is, by the word of the node that it runs on.
//!
//! A projected token would do it too, but a pod with any volume waits for the kubelet's volume manager, which looks every
//! 300 ms; see decision 0008. So the node vouches for its pods: the operator derives a [`NodeKey`] for each node from the
//! [`InstallationKey`] and gives it to the node's agent, which has proven by its own token where it runs; the shim, which
//! makes the container and so knows whose it is, signs a [`Claim`]; the autoscaler [`verify`](InstallationKey::verify)s it,
//! and compares it with what the API server says of the pod. A node can speak for the pods that it runs, and for no others.
//!
//! It does not decide whether a pod is an instance, and knows no API server.

#![forbid(unsafe_code)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde::{Deserialize, Serialize};

/// What a proof begins with; another form of it would have another number.
const VERSION: &str = "wisp1";
/// Of a key, in bytes: as long as what HMAC-SHA256 puts out.
pub const KEY_BYTES: usize = 32;
/// So that no text that is signed for one purpose is a key or a proof for another.
const NODE_PURPOSE: &str = "wisp node key\n";
const CLAIM_PURPOSE: &str = "wisp instance\n";

/// Why a text is no key or no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It has not the form.
    #[error("it is not of the form {VERSION}:node/namespace/pod/uid:signature")]
    Malformed,
    /// It has the form, and nobody with the node's key has signed it.
    #[error("its signature is not that of its node; was the installation's identity key replaced?")]
    Forged,
    /// A key has another length.
    #[error("a key has {KEY_BYTES} bytes")]
    Key,
}

/// Which pod somebody is. All names are Kubernetes' own, so none of them has a slash or a colon in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node that vouches.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its UID.
    pub uid: String,
}

/// The key of an installation, of which those of all nodes are derived.
pub struct InstallationKey(hmac::Key);

/// A node's key, as the operator hands it to the node's agent and the shim finds it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeKey {
    /// Whose it is.
    node: String,
    /// In Base64.
    key: String,
}

impl InstallationKey {
    /// From its [`KEY_BYTES`] bytes.
    ///
    /// # Errors
    /// When there are more or fewer.
    pub fn new(bytes: &[u8]) -> Result<Self, IdentityError> {
        if bytes.len() != KEY_BYTES {
            return Err(IdentityError::Key);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// The key of `node`.
    #[must_use]
    pub fn of_node(&self, node: &str) -> NodeKey {
        let key = hmac::sign(&self.0, format!("{NODE_PURPOSE}{node}").as_bytes());
        NodeKey { node: node.to_owned(), key: STANDARD.encode(key) }
    }

    /// What `proof` claims, if the node that it names has signed it.
    ///
    /// # Errors
    /// When it is no proof.
    pub fn verify(&self, proof: &str) -> Result<Claim, IdentityError> {
        let parts: Vec<&str> = proof.split(':').collect();
        let [VERSION, text, signature] = parts[..] else { return Err(IdentityError::Malformed) };
        let claim = Claim::parse(text).ok_or(IdentityError::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| IdentityError::Malformed)?;
        let key = self.of_node(&claim.node).hmac()?;
        hmac::verify(&key, claim.signed().as_bytes(), &signature).map_err(|_| IdentityError::Forged)?;
        Ok(claim)
    }
}

impl NodeKey {
    /// The name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A proof that `namespace/pod` with this UID runs on this node.
    ///
    /// # Errors
    /// When this is no key, or a name is none of Kubernetes'.
    pub fn sign(&self, namespace: &str, pod: &str, uid: &str) -> Result<String, IdentityError> {
        let owned = str::to_owned;
        let claim = Claim { node: self.node.clone(), namespace: owned(namespace), pod: owned(pod), uid: owned(uid) };
        if Claim::parse(&claim.text()).as_ref() != Some(&claim) {
            return Err(IdentityError::Malformed);
        }
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.hmac()?, claim.signed().as_bytes()));
        Ok(format!("{VERSION}:{}:{signature}", claim.text()))
    }

    fn hmac(&self) -> Result<hmac::Key, IdentityError> {
        let bytes = STANDARD.decode(&self.key).map_err(|_| IdentityError::Key)?;
        if bytes.len() != KEY_BYTES {
            return Err(IdentityError::Key);
        }
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

impl Claim {
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let [node, namespace, pod, uid] = parts[..] else { return None };
        let plain = |name: &str| !name.is_empty() && !name.contains(|c: char| c == ':' || c.is_control());
        if ![node, namespace, pod, uid].into_iter().all(plain) {
            return None;
        }
        let owned = str::to_owned;
        Some(Self { node: owned(node), namespace: owned(namespace), pod: owned(pod), uid: owned(uid) })
    }

    fn text(&self) -> String {
        let Self { node, namespace, pod, uid } = self;
        format!("{node}/{namespace}/{pod}/{uid}")
    }

    fn signed(&self) -> String {
        format!("{CLAIM_PURPOSE}{}", self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(byte: u8) -> InstallationKey {
        InstallationKey::new(&[byte; KEY_BYTES]).unwrap()
    }

    #[test]
    fn what_a_node_has_signed_is_believed() {
        let proof = installation(1).of_node("node-a").sign("shop", "cart-1", "u-1").unwrap();
        let claim = installation(1).verify(&proof).unwrap();
        let words = [&claim.node, &claim.namespace, &claim.pod, &claim.uid];
        assert_eq!(words, ["node-a", "shop", "cart-1", "u-1"]);
        // Over a file, as the agent gives it to the shim.
        let text = serde_json::to_string(&installation(1).of_node("node-a")).unwrap();
        let key: NodeKey = serde_json::from_str(&text).unwrap();
        assert_eq!(key.sign("shop", "cart-1", "u-1").unwrap(), proof);
    }

    #[test]
    fn a_node_speaks_for_itself_only_and_for_one_installation() {
        let proof = installation(1).of_node("node-a").sign("shop", "cart-1", "u-1").unwrap();
        for (from, to) in [("node-a", "node-b"), ("shop", "bank"), ("cart-1", "cart-2"), ("u-1", "u-2")] {
            assert_eq!(installation(1).verify(&proof.replace(from, to)), Err(IdentityError::Forged), "{to}");
        }
        assert_eq!(installation(2).verify(&proof), Err(IdentityError::Forged));
    }

    #[test]
    fn what_has_another_form_is_no_proof() {
        let proof = installation(1).of_node("n").sign("s", "p", "u").unwrap();
        let more = format!("{proof}:x");
        let bad =
            ["", "wisp1::", "a.b.c", &proof[1..], &more, &proof.replace("s/p", "s"), &proof.replace("wisp1", "wisp2")];
        for text in bad {
            assert_eq!(installation(1).verify(text), Err(IdentityError::Malformed), "{text}");
        }
        for (namespace, pod, uid) in [("", "p", "u"), ("a/b", "p", "u"), ("s", "p:q", "u"), ("s", "p", "u\n")] {
            assert_eq!(installation(1).of_node("n").sign(namespace, pod, uid), Err(IdentityError::Malformed));
        }
    }

    #[test]
    fn keys_have_one_length() {
        assert!(matches!(InstallationKey::new(&[1; 31]), Err(IdentityError::Key)));
        let key = NodeKey { node: "n".to_owned(), key: "AAAA".to_owned() };
        assert_eq!(key.sign("s", "p", "u"), Err(IdentityError::Key));
    }
}
