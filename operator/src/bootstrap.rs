//! What an installation makes for itself at its first start: a CA, the certificate of its servers, the key that seals
//! compiled code, and the one that the nodes' keys are derived from.
//!
//! Several operators may start at once: each object is created if it is not there, and whoever comes second reads what
//! the first has written.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use ring::rand::{SecureRandom, SystemRandom};

const CA: &str = "wisp-ca";
const TLS: &str = "wisp-tls";
const SEAL: &str = "wisp-seal";
const IDENTITY: &str = "wisp-identity";
const SERVERS: [&str; 2] = ["wisp-autoscaler", "wisp-operator"];
const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
const TLS_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// When the servers' certificate was made, so that its age is known without parsing it.
const MADE: &str = "wisp.dev/made-unix-seconds";

/// The installation's own secrets, as the operator uses them.
#[derive(Clone)]
pub struct Secrets {
    /// The CA's certificate, PEM.
    pub ca_pem: String,
    /// The servers' certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM.
    pub key_pem: String,
    /// The key that seals compiled code.
    pub seal_key: Vec<u8>,
    /// The key of which those of the nodes are derived.
    pub identity_key: Vec<u8>,
}

/// Makes what is not there, renews what is old, and returns all of it.
///
/// # Errors
/// When the API server refuses, or an object is there and broken.
pub async fn bootstrap(client: &Client, namespace: &str) -> Result<Secrets> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let ca = ensure(&secrets, CA, authority).await?;
    let (ca_pem, ca_key) = (text(&ca, "ca.crt")?, text(&ca, "ca.key")?);
    let mut tls = ensure(&secrets, TLS, || servers(&ca_pem, &ca_key, namespace)).await?;
    if is_old(&tls) {
        tls = renew(&secrets, servers(&ca_pem, &ca_key, namespace)?).await?;
    }
    let seal = ensure(&secrets, SEAL, || random(SEAL, "seal.key")).await?;
    let identity = ensure(&secrets, IDENTITY, || random(IDENTITY, "identity.key")).await?;
    publish(client, namespace, &ca_pem).await?;
    let (seal_key, identity_key) = (bytes(&seal, "seal.key")?, bytes(&identity, "identity.key")?);
    let (certificate_pem, key_pem) = (text(&tls, "tls.crt")?, text(&tls, "tls.key")?);
    Ok(Secrets { ca_pem, certificate_pem, key_pem, seal_key, identity_key })
}

async fn ensure(secrets: &Api<Secret>, name: &str, make: impl FnOnce() -> Result<Secret>) -> Result<Secret> {
    let reading = || format!("secret {name} cannot be read");
    if let Some(found) = secrets.get_opt(name).await.with_context(reading)? {
        return Ok(found);
    }
    match secrets.create(&PostParams::default(), &make()?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => secrets.get(name).await.with_context(reading),
        made => made.with_context(|| format!("secret {name} cannot be made")),
    }
}

/// Two that renew at once both write a good one.
async fn renew(secrets: &Api<Secret>, made: Secret) -> Result<Secret> {
    tracing::info!("the servers' certificate is renewed; they read it at their next start");
    let patch = Patch::Merge(&made);
    secrets.patch(TLS, &PatchParams::default(), &patch).await.context("secret wisp-tls cannot be renewed")
}

async fn publish(client: &Client, namespace: &str, ca_pem: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let data = Some(BTreeMap::from([("ca.crt".to_owned(), ca_pem.to_owned())]));
    let map = ConfigMap { metadata: metadata(CA), data, ..ConfigMap::default() };
    match maps.create(&PostParams::default(), &map).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        made => made.map(drop).context("config map wisp-ca cannot be made"),
    }
}

fn authority() -> Result<Secret> {
    let key = KeyPair::generate()?;
    let certificate = authority_parameters()?.self_signed(&key)?;
    Ok(secret(CA, [("ca.crt", certificate.pem()), ("ca.key", key.serialize_pem())]))
}

/// The same each time but for the dates, so that its key is all that is needed to sign as this CA.
fn authority_parameters() -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, "Wisp installation");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lives(&mut parameters, CA_LIFE);
    Ok(parameters)
}

fn servers(ca_pem: &str, ca_key: &str, namespace: &str) -> Result<Secret> {
    let ca_key = KeyPair::from_pem(ca_key).context("ca.key of secret wisp-ca is no key")?;
    let issuer = Issuer::new(authority_parameters()?, ca_key);
    let key = KeyPair::generate()?;
    let names = SERVERS.iter().flat_map(|server| names_of(server, namespace)).collect::<Vec<_>>();
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, "Wisp servers");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    lives(&mut parameters, TLS_LIFE);
    let certificate = parameters.signed_by(&key, &issuer)?;
    let parts = [("ca.crt", ca_pem.to_owned()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())];
    let mut secret = secret(TLS, parts);
    secret.metadata.annotations = Some(BTreeMap::from([(MADE.to_owned(), unix_seconds().to_string())]));
    Ok(secret)
}

fn names_of(server: &str, namespace: &str) -> [String; 4] {
    [
        server.to_owned(),
        format!("{server}.{namespace}"),
        format!("{server}.{namespace}.svc"),
        format!("{server}.{namespace}.svc.cluster.local"),
    ]
}

fn random(name: &str, file: &str) -> Result<Secret> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).ok().context("the system has no random bytes")?;
    let data = BTreeMap::from([(file.to_owned(), ByteString(key.to_vec()))]);
    Ok(Secret { metadata: metadata(name), data: Some(data), ..Secret::default() })
}

fn secret<const N: usize>(name: &str, parts: [(&str, String); N]) -> Secret {
    let data = parts.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value.into_bytes())));
    Secret { metadata: metadata(name), data: Some(data.collect()), ..Secret::default() }
}

fn metadata(name: &str) -> ObjectMeta {
    let labels = BTreeMap::from([("app.kubernetes.io/part-of".to_owned(), "wisp".to_owned())]);
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
}

fn text(secret: &Secret, key: &str) -> Result<String> {
    String::from_utf8(bytes(secret, key)?).with_context(|| format!("{key} of secret {} is no text", secret.name_any()))
}

fn bytes(secret: &Secret, key: &str) -> Result<Vec<u8>> {
    let found = secret.data.as_ref().and_then(|data| data.get(key));
    Ok(found.with_context(|| format!("secret {} has no {key}", secret.name_any()))?.0.clone())
}

/// Valid a day before it is made, since clocks differ.
fn lives(parameters: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    parameters.not_before = (now - DAY).into();
    parameters.not_after = (now + life).into();
}

/// Less than a third of its life is left.
fn is_old(tls: &Secret) -> bool {
    let made = tls.annotations().get(MADE).and_then(|made| made.parse::<u64>().ok()).unwrap_or(0);
    unix_seconds().saturating_sub(made) > TLS_LIFE.as_secs() / 3 * 2
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_certificate_is_signed_by_the_authority_and_has_all_names() {
        let ca = authority().unwrap();
        let tls = servers(&text(&ca, "ca.crt").unwrap(), &text(&ca, "ca.key").unwrap(), "wisp-system").unwrap();
        assert_eq!(text(&tls, "ca.crt").unwrap(), text(&ca, "ca.crt").unwrap());
        assert!(!is_old(&tls));
        assert!(names_of("wisp-operator", "w").contains(&"wisp-operator.w.svc".to_owned()));
    }

    #[test]
    fn a_certificate_of_unknown_age_is_old() {
        assert!(is_old(&secret(TLS, [("tls.crt", String::new())])));
    }
}
