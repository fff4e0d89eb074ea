//! Names that several parts must agree on: the API group, labels, ports.

/// The API group of all objects.
pub const GROUP: &str = "wisp.dev";

/// The API version of all objects.
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` of all objects.
pub const API_VERSION: &str = "wisp.dev/v1alpha1";

/// The label that says which function an object belongs to.
pub const LABEL_FUNCTION: &str = "wisp.dev/function";

/// The label that says which revision an object belongs to.
pub const LABEL_REVISION: &str = "wisp.dev/revision";

/// The name of the pool that the operator makes in each namespace that needs one.
pub const DEFAULT_POOL: &str = "default";

/// Header by which a host says that it refused a request without touching it, so that it may go elsewhere.
pub const HEADER_REFUSED: &str = "x-wisp-refused";

/// Header by which Wisp marks an answer that did not come from the function, with the cause.
pub const HEADER_ERROR: &str = "x-wisp-error";

/// The label of every pod that is an instance; its value is `true`.
pub const LABEL_INSTANCE: &str = "wisp.dev/instance";

/// The label of a pod that waits in a pool, with the pool's name. A claim takes it away.
pub const LABEL_POOL: &str = "wisp.dev/pool";

/// The annotation of a pod that must go, with the cause.
pub const ANNOTATION_STOP: &str = "wisp.dev/stop";

/// For whom instances and activators show their tokens.
pub const AUDIENCE_CONTROL: &str = "wisp.dev/control";

/// For whom node agents show their tokens.
pub const AUDIENCE_ARTIFACTS: &str = "wisp.dev/artifacts";
