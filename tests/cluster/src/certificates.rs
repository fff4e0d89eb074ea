//! The keys of a cluster: one authority, a server's certificate for all servers, and who may ask the API server.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

use crate::place::Place;

/// A client of the API server: its file, and the name and group that RBAC knows it by.
struct Client {
    file: &'static str,
    name: String,
    group: Option<&'static str>,
}

impl Client {
    fn new(file: &'static str, name: &str, group: Option<&'static str>) -> Self {
        Self { file, name: name.to_owned(), group }
    }
}

/// A certificate and its key.
struct Identity {
    certificate: String,
    key: String,
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Writes everything into `folder`.
pub(crate) fn write(folder: &Path, place: Place) -> Result<()> {
    let authority = Authority::new()?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
    };
    let write_identity = |name: &str, identity: &Identity| {
        write(&format!("{name}.crt"), &identity.certificate)?;
        write(&format!("{name}.key"), &identity.key)
    };
    write("ca.crt", &authority.issuer.pem())?;
    write("ca.key", &authority.issuer.key().serialize_pem())?;
    write_identity("server", &authority.server(place)?)?;
    for client in [
        Client::new("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters")),
        Client::new("front-proxy", "front-proxy", None),
    ] {
        write_identity(client.file, &authority.client(&client)?)?;
    }
    for client in clients(place) {
        let identity = authority.client(&client)?;
        write(&format!("{}.kubeconfig", client.file), &authority.kubeconfig(&identity, place))?;
    }
    let service_accounts = KeyPair::generate()?;
    write("service-accounts.key", &service_accounts.serialize_pem())?;
    write("service-accounts.pub", &service_accounts.public_key_pem())
}

/// Who gets a kubeconfig.
fn clients(place: Place) -> [Client; 5] {
    [
        Client::new("admin", "admin", Some("system:masters")),
        Client::new("kube-controller-manager", "system:kube-controller-manager", None),
        Client::new("kube-scheduler", "system:kube-scheduler", None),
        Client::new("kube-proxy", "system:kube-proxy", None),
        Client::new("kubelet", &format!("system:node:{}", place.node_name()), Some("system:nodes")),
    ]
}

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("wisp test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// For the API server by all its names, and for the registries.
    fn server(&self, place: Place) -> Result<Identity> {
        let mut params = CertificateParams::new(vec![
            "localhost".to_owned(),
            place.node_name(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            "kubernetes.default.svc.cluster.local".to_owned(),
        ])?;
        let addresses = [[127, 0, 0, 1].into(), place.node_ip(), place.apiserver_service_ip()];
        params.subject_alt_names.extend(addresses.map(|address| SanType::IpAddress(IpAddr::V4(address))));
        params.distinguished_name = common_name("wisp test server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    fn client(&self, client: &Client) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&client.name);
        if let Some(group) = client.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    fn kubeconfig(&self, identity: &Identity, place: Place) -> String {
        let address = place.node_ip();
        let authority = STANDARD.encode(self.issuer.pem());
        let certificate = STANDARD.encode(&identity.certificate);
        let key = STANDARD.encode(&identity.key);
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters: [{{name: wisp, cluster: {{server: \"https://{address}:6443\", certificate-authority-data: {authority}}}}}]\n\
             users: [{{name: wisp, user: {{client-certificate-data: {certificate}, client-key-data: {key}}}}}]\n\
             contexts: [{{name: wisp, context: {{cluster: wisp, user: wisp}}}}]\n\
             current-context: wisp\n"
        )
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}
