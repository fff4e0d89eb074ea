//! The CustomResourceDefinitions, as `deploy/crds` holds them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::{WarmPool, WasmFunction, WasmRevision};

/// All CustomResourceDefinitions with the names of their files.
#[must_use]
pub fn all() -> [(&'static str, CustomResourceDefinition); 3] {
    [
        ("wasmfunctions.yaml", WasmFunction::crd()),
        ("wasmrevisions.yaml", WasmRevision::crd()),
        ("warmpools.yaml", WarmPool::crd()),
    ]
}
