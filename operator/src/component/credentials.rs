//! What a namespace shows to registries: the pull secrets of a function and of its pods' ServiceAccount.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::{Api, Client};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use wisp_api::pod::PodSettings;
use wisp_api::status::Reason;

use super::Refusal;

const KEY: &str = ".dockerconfigjson";
const DEFAULT_ACCOUNT: &str = "default";

/// Who to be, by registry.
#[derive(Debug, Default)]
pub(super) struct Credentials(BTreeMap<String, Login>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

/// The credentials with which a pod with these settings would pull.
pub(super) async fn of(client: &Client, namespace: &str, pod: &PodSettings) -> Result<Credentials, Refusal> {
    let unreadable = |error: kube::Error| {
        Refusal::for_now(Reason::ImageUnauthorized, format!("pull secrets cannot be read: {error}"))
    };
    let mut names: Vec<String> = pod.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect();
    let account = pod.service_account_name.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    if let Some(account) = accounts.get_opt(account).await.map_err(unreadable)? {
        names.extend(account.image_pull_secrets.unwrap_or_default().into_iter().map(|secret| secret.name));
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut credentials = Credentials::default();
    for name in names {
        let Some(secret) = secrets.get_opt(&name).await.map_err(unreadable)? else {
            let message = format!("pull secret {name:?} is not in namespace {namespace:?}; create it, or name another");
            return Err(Refusal::for_now(Reason::SourceMissing, message));
        };
        let text = secret.data.unwrap_or_default().remove(KEY).unwrap_or_default().0;
        credentials.add(&text).map_err(|error| {
            let message = format!("pull secret {name:?} has no usable {KEY}: {error}");
            Refusal::for_now(Reason::ImageUnauthorized, message)
        })?;
    }
    Ok(credentials)
}

impl Credentials {
    fn add(&mut self, text: &[u8]) -> Result<(), serde_json::Error> {
        let config: Config = serde_json::from_slice(text)?;
        for (registry, entry) in config.auths {
            if let Some(login) = entry.login() {
                // The first that is named counts, as it does for a kubelet.
                self.0.entry(host_of(&registry)).or_insert(login);
            }
        }
        Ok(())
    }

    pub(super) fn for_registry(&self, registry: &str) -> RegistryAuth {
        let found = self.0.get(registry);
        found.map_or(RegistryAuth::Anonymous, |login| RegistryAuth::Basic(login.user.clone(), login.password.clone()))
    }
}

impl Entry {
    fn login(self) -> Option<Login> {
        if let (Some(user), Some(password)) = (self.username, self.password) {
            return Some(Login { user, password });
        }
        let text = String::from_utf8(STANDARD.decode(self.auth?).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Login { user: user.to_owned(), password: password.to_owned() })
    }
}

/// Registries are written as hosts and as URLs.
fn host_of(registry: &str) -> String {
    let rest = registry.trim_start_matches("https://").trim_start_matches("http://");
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "docker.io" => "index.docker.io".to_owned(),
        host => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_in_both_forms_and_by_host() {
        let mut credentials = Credentials::default();
        let text = br#"{"auths": {"https://r.example/v1/": {"auth": "bWU6c2VjOnJldA=="},
                        "other:5000": {"username": "u", "password": "p"}, "empty": {}}}"#;
        credentials.add(text).unwrap();
        assert_eq!(credentials.for_registry("r.example"), RegistryAuth::Basic("me".to_owned(), "sec:ret".to_owned()));
        assert_eq!(credentials.for_registry("other:5000"), RegistryAuth::Basic("u".to_owned(), "p".to_owned()));
        assert_eq!(credentials.for_registry("empty"), RegistryAuth::Anonymous);
    }

    #[test]
    fn the_first_secret_wins() {
        let mut credentials = Credentials::default();
        credentials.add(br#"{"auths": {"r": {"username": "a", "password": "1"}}}"#).unwrap();
        credentials.add(br#"{"auths": {"r": {"username": "b", "password": "2"}}}"#).unwrap();
        assert_eq!(credentials.for_registry("r"), RegistryAuth::Basic("a".to_owned(), "1".to_owned()));
    }
}
