//! Who to be at a registry: what `docker login` and its like have written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a helper says where it has no credentials, with exit code 1.
const NO_CREDENTIALS: &str = "credentials not found";
/// The user of an identity token, which is no password.
const TOKEN_USER: &str = "<token>";
const IS_TOKEN: &str = "it has an identity token; log in with a password or an access token";
/// Some ask their user first.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// `config.json` of docker, as far as it is about credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: BTreeMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    username: String,
    secret: String,
}

/// Where credentials are.
#[derive(Debug, PartialEq, Eq)]
enum Login {
    Nowhere,
    Here(RegistryAuth),
    /// A program, `docker-credential-<name>`, has them for this server.
    Helper {
        name: String,
        server: String,
    },
}

/// The credentials for a registry, `host` or `host:port`; anonymous when there are none.
///
/// # Errors
/// When the configuration cannot be read, or its helper fails.
pub(crate) async fn login(registry: &str) -> anyhow::Result<RegistryAuth> {
    let Some(file) = file() else { return Ok(RegistryAuth::Anonymous) };
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(RegistryAuth::Anonymous),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let config: Config =
        serde_json::from_slice(&text).with_context(|| format!("{} is no docker configuration", file.display()))?;
    match config.login(registry).with_context(|| format!("{}, {registry}", file.display()))? {
        Login::Nowhere => Ok(RegistryAuth::Anonymous),
        Login::Here(auth) => Ok(auth),
        Login::Helper { name, server } => ask(&format!("docker-credential-{name}"), &server).await,
    }
}

fn file() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

impl Config {
    fn login(&self, registry: &str) -> anyhow::Result<Login> {
        let names = |known: &&String| host_of(known) == host_of(registry);
        if let Some((server, name)) = self.cred_helpers.iter().find(|(known, _)| names(known)) {
            return Ok(Login::Helper { name: name.clone(), server: server.clone() });
        }
        let entry = self.auths.iter().find(|(known, _)| names(known));
        Ok(match (entry, &self.creds_store) {
            (entry, Some(store)) => {
                let server = entry.map_or(registry, |(server, _)| server);
                Login::Helper { name: store.clone(), server: server.to_owned() }
            }
            (Some((_, entry)), None) => entry.login()?.map_or(Login::Nowhere, Login::Here),
            (None, None) => Login::Nowhere,
        })
    }
}

impl Entry {
    fn login(&self) -> anyhow::Result<Option<RegistryAuth>> {
        ensure!(self.identity_token.is_none(), IS_TOKEN);
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(RegistryAuth::Basic(user.clone(), password.clone())));
        }
        let Some(auth) = &self.auth else { return Ok(None) };
        let text = STANDARD.decode(auth).ok().and_then(|text| String::from_utf8(text).ok());
        let text = text.context("its `auth` is no base64 of a user and a password")?;
        let (user, password) = text.split_once(':').context("its `auth` has no password")?;
        Ok(Some(RegistryAuth::Basic(user.to_owned(), password.to_owned())))
    }
}

/// Registries are written as hosts and as URLs.
fn host_of(registry: &str) -> &str {
    let rest = registry.trim_start_matches("https://").trim_start_matches("http://");
    match rest.split('/').next().unwrap_or_default() {
        "docker.io" => "index.docker.io",
        host => host,
    }
}

/// Asks a helper by the protocol of docker-credential-helpers.
async fn ask(helper: &str, server: &str) -> anyhow::Result<RegistryAuth> {
    let asked = async {
        let mut command = Command::new(helper);
        command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let mut input = child.stdin.take().context("it has no standard input")?;
        // One that does not read says why by its end.
        let _unread = input.write_all(server.as_bytes()).await;
        drop(input);
        let ended = tokio::time::timeout(HELPER_TIMEOUT, child.wait_with_output()).await;
        let output = ended.with_context(|| format!("it has not ended for {HELPER_TIMEOUT:?}"))??;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() && said.contains(NO_CREDENTIALS) {
            return Ok(RegistryAuth::Anonymous);
        }
        let also = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {} {}", output.status, said.trim(), also.trim());
        let found: Found = serde_json::from_slice(&output.stdout).context("its answer is none")?;
        ensure!(found.username != TOKEN_USER, IS_TOKEN);
        Ok(RegistryAuth::Basic(found.username, found.secret))
    };
    asked.await.with_context(|| format!("{helper} does not give the credentials of {server}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    fn basic(user: &str, password: &str) -> RegistryAuth {
        RegistryAuth::Basic(user.to_owned(), password.to_owned())
    }

    #[test]
    fn logins_are_found_by_host_in_each_of_their_forms() {
        let config = config(
            r#"{"auths": {"https://r.example/v1/": {"auth": "bWU6c2VjOnJldA=="}, "empty": {},
                "other:5000": {"username": "u", "password": "p"}},
                "credHelpers": {"cloud.example": "cloud"}}"#,
        );
        let helper = Login::Helper { name: "cloud".to_owned(), server: "cloud.example".to_owned() };
        let table = [
            ("r.example", Login::Here(basic("me", "sec:ret"))),
            ("other:5000", Login::Here(basic("u", "p"))),
            ("other", Login::Nowhere),
            ("empty", Login::Nowhere),
            ("cloud.example", helper),
        ];
        for (registry, login) in table {
            assert_eq!(config.login(registry).unwrap(), login, "{registry}");
        }
    }

    #[test]
    fn a_login_that_cannot_be_used_is_not_taken_for_none() {
        for (entry, words) in [
            (r#"{"auth": "%%"}"#, "no base64"),
            (r#"{"auth": "bWU="}"#, "no password"),
            (r#"{"auth": "bWU6", "identitytoken": "t"}"#, "an identity token"),
        ] {
            let error = config(&format!(r#"{{"auths": {{"r.example": {entry}}}}}"#)).login("r.example").unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn a_store_is_asked_for_every_registry() {
        let config = config(r#"{"auths": {"https://r.example": {}}, "credsStore": "desktop"}"#);
        for (registry, server) in [("r.example", "https://r.example"), ("other", "other")] {
            let helper = Login::Helper { name: "desktop".to_owned(), server: server.to_owned() };
            assert_eq!(config.login(registry).unwrap(), helper);
        }
    }

    #[tokio::test]
    async fn a_helper_is_asked_by_its_protocol() {
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-x");
        let text = "#!/bin/sh\nread -r server\n[ \"$1 $server\" = 'get r.example' ] || { echo 'credentials not found in \
                    native keychain'; exit 1; }\necho '{\"ServerURL\":\"r\",\"Username\":\"u\",\"Secret\":\"p\"}'\n";
        std::fs::write(&helper, text).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let helper = helper.to_str().unwrap();
        assert_eq!(ask(helper, "r.example\n").await.unwrap(), basic("u", "p"));
        assert_eq!(ask(helper, "other\n").await.unwrap(), RegistryAuth::Anonymous);
        std::fs::write(helper, "#!/bin/sh\nexec <&-\necho locked >&2\nexit 3\n").unwrap();
        let error = format!("{:#}", ask(helper, &"r".repeat(1 << 20)).await.unwrap_err());
        assert!(error.contains("exit status: 3") && error.contains("locked"), "{error}");
        let error = ask("/nonexistent/helper", "r").await.unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/helper does not give"), "{error}");
    }
}
