//! A client of the API server.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::{Client, Config};
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;

/// Calls that are no watches end sooner than this, or something is wrong.
const READ_TIMEOUT: Duration = Duration::from_secs(295);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The API server gives up its own work on a call after this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Each is a connection, which holds some 60 KiB for a minute and a half after it.
const CALLS_MAX: usize = 16;

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
    Ok(Client::try_from(config().await?)?)
}

/// The same for whoever asks much at once: what exceeds a number of calls waits for those before it, instead of each
/// opening a connection of its own. A watch is a call until it begins.
///
/// # Errors
/// When there is no configuration, or it is broken.
pub async fn bounded_client() -> Result<Client, ClientError> {
    let (answers, calls) = (TimeoutLayer::new(ANSWER_TIMEOUT), ConcurrencyLimitLayer::new(CALLS_MAX));
    Ok(ClientBuilder::try_from(config().await?)?.with_layer(&answers).with_layer(&calls).build())
}

async fn config() -> Result<Config, ClientError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(config)
}
