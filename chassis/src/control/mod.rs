//! The control streams: what activators and hosts say to the autoscaler, and what it says back.
//!
//! Both sides work on channels of messages and never see the transport. An activator or host holds a [`Link`], which
//! reconnects by itself; the autoscaler holds one [`Peer`] for each of them. Over the wire it is gRPC, on a Unix socket
//! or on TCP with TLS; inside one program it is [`pair`].

mod client;
mod endpoint;
mod link;
mod server;

pub use client::{demand_link, instance_link};
pub use endpoint::{ClientTls, ControlEndpoint, EndpointError};
pub use link::{Link, LinkEvent, Peer, local_demand_link, pair};
pub use server::{Incoming, ServerTls, serve_tcp, serve_unix};

/// Messages that may wait in each direction of a stream. A reader that falls this far behind slows the writer down;
/// 256 reports are more than a minute of an instance's, and a message is small.
pub const CHANNEL_MESSAGES: usize = 256;

mod proto {
    #![allow(
        missing_docs,
        unused_qualifications,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        clippy::too_many_lines,
        reason = "generated code"
    )]
    tonic::include_proto!("wisp.v1");
}
