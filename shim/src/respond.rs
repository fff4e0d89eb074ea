//! The one map from errors to what containerd is answered.

use std::time::{SystemTime, UNIX_EPOCH};

use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim::protos::ttrpc;
use ttrpc::Code;

use crate::cgroup::CgroupError;
use crate::create::CreateError;
use crate::launch::LaunchError;
use crate::options::OptionsError;
use crate::stdio::StdioError;

/// Why a call is not done, by what containerd does next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// containerd takes what it asked for as done.
    #[error("{0}: not found")]
    NotFound(String),
    #[error("{0} exists")]
    Exists(String),
    /// It may ask again later.
    #[error("{0}")]
    Precondition(String),
    /// The user asks for what cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Nobody gets this here.
    #[error("{0}")]
    Unimplemented(String),
    #[error("{0}")]
    Internal(String),
}

impl From<TaskError> for ttrpc::Error {
    fn from(error: TaskError) -> Self {
        let code = match error {
            TaskError::NotFound(_) => Code::NOT_FOUND,
            TaskError::Exists(_) => Code::ALREADY_EXISTS,
            TaskError::Precondition(_) => Code::FAILED_PRECONDITION,
            TaskError::Invalid(_) => Code::INVALID_ARGUMENT,
            TaskError::Unimplemented(_) => Code::UNIMPLEMENTED,
            TaskError::Internal(_) => Code::UNKNOWN,
        };
        Self::RpcStatus(ttrpc::get_status(code, error.to_string()))
    }
}

impl From<LaunchError> for TaskError {
    fn from(error: LaunchError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<CgroupError> for TaskError {
    fn from(error: CgroupError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<CreateError> for TaskError {
    fn from(error: CreateError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<StdioError> for TaskError {
    fn from(error: StdioError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<OptionsError> for TaskError {
    fn from(error: OptionsError) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<std::io::Error> for TaskError {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

/// A time as messages have it.
pub(crate) fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut timestamp = Timestamp::new();
    timestamp.seconds = since.as_secs().cast_signed();
    timestamp.nanos = since.subsec_nanos().cast_signed();
    timestamp
}
