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

/// The label that says which pool a warm instance belongs to, until somebody claims it.
pub const LABEL_POOL: &str = "wisp.dev/pool";

/// The label, with value `true`, of every pod that is an instance.
pub const LABEL_INSTANCE: &str = "wisp.dev/instance";

/// The annotation of an instance that must go, with the cause: the operator deletes it.
pub const ANNOTATION_STOP: &str = "wisp.dev/stop";

/// The annotation of an instance that drains: it ends by itself, and no longer counts as one of its revision's.
pub const ANNOTATION_LEAVING: &str = "wisp.dev/leaving";

/// The annotation by which the operator knows what it has applied.
pub const ANNOTATION_APPLIED: &str = "wisp.dev/applied";

/// Who may read the tokens that instances and activators show to the autoscaler.
pub const CONTROL_AUDIENCE: &str = "wisp.dev/control";

/// The name of the pool that the operator makes in each namespace that needs one.
pub const DEFAULT_POOL: &str = "default";

/// Header by which a host says that it refused a request without touching it, so that it may go elsewhere.
pub const HEADER_REFUSED: &str = "x-wisp-refused";

/// Header by which Wisp marks an answer that did not come from the function, with the cause.
pub const HEADER_ERROR: &str = "x-wisp-error";

/// For whom node agents show their tokens.
pub const ARTIFACTS_AUDIENCE: &str = "wisp.dev/artifacts";

/// Where the pod of an instance has its function's volumes, a folder for each by its name.
pub const VOLUMES_DIR: &str = "/mnt";
