//! Whose token somebody showed, by the API server's word.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use kube::Client;
use kube::api::{Api, PostParams};

const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// What the API server says of tokens that are bound to a pod; since Kubernetes 1.30.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The owner of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Namespace of the ServiceAccount.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub service_account: String,
    /// The node that runs the pod that the token was made for.
    pub node: Option<String>,
}

/// Why a token is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The API server says no; asking again is no use.
    #[error("the token is refused: {0}")]
    Refused(String),
    /// The API server could not be asked.
    #[error("the token cannot be reviewed: {0}")]
    Unreachable(#[from] kube::Error),
}

/// Asks the API server whose `token` this is. It must have been made for `audience`.
///
/// # Errors
/// When it is not valid for this audience, belongs to no ServiceAccount, or the API server cannot be asked.
pub async fn review_token(client: &Client, token: &str, audience: &str) -> Result<Identity, ReviewError> {
    let audiences = Some(vec![audience.to_owned()]);
    let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: audiences.clone() };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = review.status.unwrap_or_default();
    let refused = |message: &str| ReviewError::Refused(message.to_owned());
    if status.authenticated != Some(true) {
        return Err(refused(status.error.as_deref().unwrap_or("it is not valid, or not for this audience")));
    }
    // A server that knows no audiences leaves them out, and would accept any.
    if status.audiences != audiences {
        return Err(refused("it was made for another audience"));
    }
    identity(status.user.unwrap_or_default()).ok_or_else(|| refused("it belongs to no ServiceAccount"))
}

fn identity(user: UserInfo) -> Option<Identity> {
    let username = user.username?;
    let (namespace, service_account) = username.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    let node = user.extra.and_then(|extra| only(&extra, NODE_NAME));
    Some(Identity { namespace: namespace.to_owned(), service_account: service_account.to_owned(), node })
}

fn only(extra: &BTreeMap<String, Vec<String>>, key: &str) -> Option<String> {
    match extra.get(key)?.as_slice() {
        [value] => Some(value.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, extra: &[(&str, &str)]) -> UserInfo {
        let extra = extra.iter().map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()])).collect();
        UserInfo { username: Some(name.to_owned()), extra: Some(extra), ..UserInfo::default() }
    }

    #[test]
    fn a_pods_token_names_its_node() {
        let found = identity(user("system:serviceaccount:shop:cart", &[(NODE_NAME, "node-a")])).unwrap();
        assert_eq!((found.namespace.as_str(), found.service_account.as_str()), ("shop", "cart"));
        assert_eq!(found.node.as_deref(), Some("node-a"));
    }

    #[test]
    fn people_are_no_accounts() {
        assert_eq!(identity(user("system:serviceaccount:shop:cart", &[])).unwrap().node, None);
        assert_eq!(identity(user("kubernetes-admin", &[])), None);
        assert_eq!(identity(user("system:serviceaccount:shop", &[])), None);
    }
}
