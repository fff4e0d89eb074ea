//! A client of the API server.

use std::time::Duration;

use kube::{Client, Config};

/// Calls that are no watches end sooner than this, or something is wrong.
const READ_TIMEOUT: Duration = Duration::from_secs(295);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a pod's own account nor a kubeconfig is there.
    #[error("there is no cluster to talk to: {0}; run in a pod with a ServiceAccount, or set KUBECONFIG")]
    Config(#[from] kube::config::InferConfigError),
    /// The configuration cannot be used.
    #[error("the cluster's configuration cannot be used: {0}")]
    Client(#[from] kube::Error),
}

/// Connects as the pod that this is, or by the kubeconfig that the environment names. Nothing is asked yet.
///
/// # Errors
/// When there is no configuration, or it is broken.
pub async fn client() -> Result<Client, ClientError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(Client::try_from(config)?)
}
