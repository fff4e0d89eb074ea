//! containerd's own services, as far as the shim asks them; generated from `proto/`.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated"
)]

/// Who a container belongs to.
pub(crate) mod containers {
    tonic::include_proto!("containerd.services.containers.v1");
}

/// What an image's name stands for.
pub(crate) mod images {
    tonic::include_proto!("containerd.services.images.v1");
}

/// Bytes by their digest.
pub(crate) mod content {
    tonic::include_proto!("containerd.services.content.v1");
}

/// Which containerd it is.
pub(crate) mod version {
    tonic::include_proto!("containerd.services.version.v1");
}
